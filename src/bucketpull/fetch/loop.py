"""The fetch loop of one process: libcurl's multi interface driven by epoll, with the process's other file descriptors and timers.

`socket_action` tells libcurl which socket has something, so that a thousand connections cost no more a transfer than
sixty-four. Easy handles are used again with what they were set to: a transfer changes its URL, and little else.
"""

import heapq
import select
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

import pycurl

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Request, Response
from bucketpull.fetch.failures import reason_of
from bucketpull.fetch.options import FetchOptions

_EVENTS: Final = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_MOST_EVENTS: Final = 256
# A transfer under a shared cap gets its share anew at its start; below this libcurl's own pacing becomes jerky.
_LEAST_SHARE_BYTES: Final = 1024

Done = Callable[[Response], None]
Sink = Callable[[bytes], object]


class _Slot:
    """An easy handle, what it is set to, and the transfer that it makes."""

    __slots__ = (
        "body",
        "chunks",
        "done",
        "easy",
        "follow",
        "header_lines",
        "headers",
        "max_bytes",
        "method",
        "sink",
        "speed",
    )

    def __init__(self, easy: pycurl.Curl) -> None:
        self.easy = easy
        self.chunks: list[bytes] = []
        self.header_lines: list[bytes] = []
        self.headers: tuple[str, ...] = ()
        self.method = "GET"
        self.max_bytes = 0
        self.follow = 0
        self.speed = 0
        self.sink: Sink | None = None
        self.done: Done = _nobody
        self.body = self.chunks.append


def _nobody(_: Response) -> None:
    """Take the place of the callback of a slot that is free."""


class CurlLoop:
    """See `ports.Fetcher`. Use it in the thread that made it."""

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._curl_fds: set[int] = set()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._free: list[_Slot] = []
        self._busy: set[_Slot] = set()
        self._late: deque[tuple[_Slot, Reason, str]] = deque()
        self._curl_due: float | None = None
        self._cap: float | None = None
        self._multi = self._new_multi()

    @property
    def in_flight(self) -> int:
        """See `ports.Fetcher`."""
        return len(self._busy)

    def submit(self, request: Request, done: Done, sink: Sink | None = None) -> None:
        """See `ports.Fetcher`."""
        slot = self._free.pop() if self._free else self._new_slot()
        self._prepare(slot, request, sink)
        slot.done = done
        self._busy.add(slot)
        self._multi.add_handle(slot.easy)

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """See `ports.Fetcher`."""
        if fd not in self._watched:
            self._epoll.register(fd, select.EPOLLIN)
        self._watched[fd] = readable

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """See `ports.Fetcher`."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), callback))

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """See `ports.Fetcher`: each transfer gets an equal share; it is dealt out anew when the cap changes."""
        self._cap = bytes_per_second
        for slot in self._busy:
            self._throttle(slot)

    def run_once(self, timeout_seconds: float) -> None:
        """See `ports.Fetcher`."""
        events = self._epoll.poll(self._patience(timeout_seconds), _MOST_EVENTS)
        action = self._multi.socket_action
        for fd, event in events:
            readable = self._watched.get(fd)
            if readable is not None:
                readable()
            elif fd in self._curl_fds:
                action(fd, _curl_event(event))
        if self._curl_due is not None and time.monotonic() >= self._curl_due:
            self._curl_due = None
            action(pycurl.SOCKET_TIMEOUT, 0)
        self._collect()
        self._ring()

    def close(self) -> None:
        """See `ports.Fetcher`."""
        for slot in self._busy:
            self._multi.remove_handle(slot.easy)
            slot.easy.close()
        self._busy.clear()
        for slot in self._free:
            slot.easy.close()
        self._free.clear()
        self._multi.close()
        self._epoll.close()

    def _patience(self, timeout: float) -> float:
        due = [
            when
            for when in (self._curl_due, self._timers[0][0] if self._timers else None)
            if when is not None
        ]
        return max(0.0, min([timeout, min(due) - time.monotonic()])) if due else timeout

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _collect(self) -> None:
        """Hand the ended transfers back; what their callbacks submit may end here too."""
        more = 1
        while more:
            more, good, bad = self._multi.info_read(_MOST_EVENTS)
            for easy in good:
                self._finish(easy.slot, None, "")
            for easy, code, text in bad:
                slot = easy.slot
                received = int(easy.getinfo(pycurl.SIZE_DOWNLOAD_T))
                self._finish(slot, reason_of(code, received), text)

    def _finish(self, slot: _Slot, failure: Reason | None, detail: str) -> None:
        easy = slot.easy
        self._multi.remove_handle(easy)
        self._busy.discard(slot)
        response = Response(
            status=easy.getinfo(pycurl.RESPONSE_CODE),
            header_lines=slot.header_lines[:],
            chunks=slot.chunks[:],
            received=int(easy.getinfo(pycurl.SIZE_DOWNLOAD_T)),
            declared=int(easy.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T)),
            seconds=easy.getinfo(pycurl.TOTAL_TIME),
            failure=failure,
            detail=detail,
        )
        slot.header_lines.clear()
        slot.chunks.clear()
        done, slot.done = slot.done, _nobody
        self._free.append(slot)
        done(response)

    def _prepare(self, slot: _Slot, request: Request, sink: Sink | None) -> None:
        easy = slot.easy
        easy.setopt(pycurl.URL, request.url)
        if request.headers is not slot.headers:
            easy.setopt(pycurl.HTTPHEADER, request.headers)
            slot.headers = request.headers
        if request.max_bytes != slot.max_bytes:
            easy.setopt(pycurl.MAXFILESIZE_LARGE, request.max_bytes)
            slot.max_bytes = request.max_bytes
        if request.follow != slot.follow:
            easy.setopt(pycurl.FOLLOWLOCATION, request.follow > 0)
            easy.setopt(pycurl.MAXREDIRS, request.follow)
            slot.follow = request.follow
        if request.method != slot.method:
            easy.setopt(pycurl.NOBODY, request.method == "HEAD")
            slot.method = request.method
        if sink is not slot.sink:
            easy.setopt(pycurl.WRITEFUNCTION, slot.body if sink is None else _poured(slot, sink))
            slot.sink = sink
        self._throttle(slot)

    def _throttle(self, slot: _Slot) -> None:
        speed = 0 if self._cap is None else max(_LEAST_SHARE_BYTES, int(self._cap / max(1, len(self._busy))))
        if speed != slot.speed:
            slot.easy.setopt(pycurl.MAX_RECV_SPEED_LARGE, speed)
            slot.speed = speed

    def _new_slot(self) -> _Slot:
        options, easy = self._options, pycurl.Curl()
        slot = _Slot(easy)
        easy.slot = slot
        for name, value in (
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.NOPROGRESS, 1),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.CONNECTTIMEOUT_MS, int(options.connect_seconds * 1000)),
            (pycurl.LOW_SPEED_LIMIT, options.stall_bytes_per_second),
            (pycurl.LOW_SPEED_TIME, max(1, int(options.stall_seconds))),
            (pycurl.BUFFERSIZE, options.buffer_bytes),
            (pycurl.MAXREDIRS, 0),
            (pycurl.UNRESTRICTED_AUTH, 0),
            (pycurl.SSL_VERIFYPEER, 0 if options.insecure else 1),
            (pycurl.SSL_VERIFYHOST, 0 if options.insecure else 2),
            (pycurl.WRITEFUNCTION, slot.body),
            (pycurl.HEADERFUNCTION, slot.header_lines.append),
        ):
            easy.setopt(name, value)
        if options.ca_file is not None:
            easy.setopt(pycurl.CAINFO, options.ca_file)
        return slot

    def _new_multi(self) -> pycurl.CurlMulti:
        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, self._options.connections)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        return multi

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            if fd in self._curl_fds:
                self._curl_fds.discard(fd)
                # The socket may be closed by now, and its number belong to nobody.
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    return
            return
        if fd in self._curl_fds:
            self._epoll.modify(fd, _EVENTS[what])
        else:
            self._curl_fds.add(fd)
            self._epoll.register(fd, _EVENTS[what])

    def _on_timer(self, milliseconds: int) -> None:
        self._curl_due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000


def _curl_event(event: int) -> int:
    mask = 0
    if event & (select.EPOLLIN | select.EPOLLHUP):
        mask |= pycurl.CSELECT_IN
    if event & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if event & select.EPOLLERR:
        mask |= pycurl.CSELECT_ERR
    return mask


def _poured(slot: _Slot, sink: Sink) -> Callable[[bytes], int | None]:
    easy, aside = slot.easy, slot.chunks

    def pour(chunk: bytes) -> int | None:
        if easy.getinfo(pycurl.RESPONSE_CODE) // 100 != 2:
            aside.append(chunk)
            return None
        try:
            sink(chunk)
        except Exception:  # noqa: BLE001 - libcurl ends the transfer; the sink's owner knows why
            return 0
        return None

    return pour
