"""The limit, first half: libcurl's multi interface, reused handles, bodies thrown away as they come.

`perform` looks at every handle. That is the cheapest way where all of them always have something to say, as here with
64 connections to a server without latency; with a thousand connections it costs twice what an epoll loop does.
"""

import sys
from collections import deque
from pathlib import Path

import pycurl


def main() -> None:
    """Fetch every object of the list once."""
    lines, base, connections = Path(sys.argv[1]).read_text().splitlines(), sys.argv[2], int(sys.argv[4])
    waiting = [f"{base}/{line.partition(' ')[2]}" for line in reversed(lines)]
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, connections)
    handles = [_handle() for _ in range(min(connections, len(waiting)))]
    for handle in handles:
        handle.setopt(pycurl.URL, waiting.pop())
        multi.add_handle(handle)
    running = len(handles)
    while running:
        multi.perform()
        _, finished, failed = multi.info_read(connections)
        if failed or any(handle.getinfo(pycurl.RESPONSE_CODE) != 200 for handle in finished):
            sys.exit(f"could not be fetched: {failed or finished}")
        for handle in finished:
            multi.remove_handle(handle)
            running -= 1
            if waiting:
                handle.setopt(pycurl.URL, waiting.pop())
                multi.add_handle(handle)
                running += 1
        if not finished:
            multi.select(1.0)


def _handle() -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.SSL_VERIFYPEER, 0)
    handle.setopt(pycurl.SSL_VERIFYHOST, 0)
    # The cheapest callable that takes a chunk, keeps nothing and returns None.
    handle.setopt(pycurl.WRITEFUNCTION, deque[bytes](maxlen=0).append)
    return handle


main()
