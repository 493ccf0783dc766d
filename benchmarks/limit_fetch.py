"""The limit, first half: libcurl's multi interface on epoll, reused handles, bodies thrown away as they come."""

import select
import sys
from collections import deque
from pathlib import Path

import pycurl

WANTED = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


def main() -> None:
    """Fetch every object of the list once."""
    lines, base, connections = Path(sys.argv[1]).read_text().splitlines(), sys.argv[2], int(sys.argv[4])
    waiting = [f"{base}/{line.partition(' ')[2]}" for line in reversed(lines)]
    poller, watched = select.epoll(), set[int]()
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, connections)

    def watch(what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            watched.discard(fd)
            poller.unregister(fd)
        elif fd in watched:
            poller.modify(fd, WANTED[what])
        else:
            watched.add(fd)
            poller.register(fd, WANTED[what])

    multi.setopt(pycurl.M_SOCKETFUNCTION, watch)
    multi.setopt(pycurl.M_TIMERFUNCTION, lambda _milliseconds: None)
    handles = [_handle() for _ in range(min(connections, len(waiting)))]
    for handle in handles:
        handle.setopt(pycurl.URL, waiting.pop())
        multi.add_handle(handle)
    running = len(handles)
    act, take = multi.socket_action, multi.info_read
    act(pycurl.SOCKET_TIMEOUT, 0)
    while running:
        events = poller.poll(0.1)
        for fd, event in events:
            act(fd, pycurl.CSELECT_IN if event & select.EPOLLIN else pycurl.CSELECT_OUT)
        _, finished, failed = take(connections)
        if failed or any(handle.getinfo(pycurl.RESPONSE_CODE) != 200 for handle in finished):
            sys.exit(f"could not be fetched: {failed or finished}")
        for handle in finished:
            multi.remove_handle(handle)
            running -= 1
            if waiting:
                handle.setopt(pycurl.URL, waiting.pop())
                multi.add_handle(handle)
                running += 1
        if finished or not events:
            act(pycurl.SOCKET_TIMEOUT, 0)


def _handle() -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.SSL_VERIFYPEER, 0)
    handle.setopt(pycurl.SSL_VERIFYHOST, 0)
    # The cheapest callable that takes a chunk, keeps nothing and returns None.
    handle.setopt(pycurl.WRITEFUNCTION, deque[bytes](maxlen=0).append)
    return handle


main()
