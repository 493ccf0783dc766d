"""The fetch loop of one process: libcurl's multi interface driven by epoll, with the process's other descriptors and timers.

`socket_action` tells libcurl which socket has something, so that a thousand connections cost no more a transfer than
sixty-four do. Where the time of the 20 µs goes that a transfer of 20 KiB takes, and what was tried in vain, is in
docs/decisions/; what is ugly here for speed has its measurement beside it.
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
from bucketpull.fetch.allowance import Allowance
from bucketpull.fetch.certificates import authorities
from bucketpull.fetch.failures import reason_of
from bucketpull.fetch.options import FetchOptions
from bucketpull.fetch.slot import COUNTED_BUFFER_BYTES, Done, Sink, Slot

_IN: Final = select.EPOLLIN
_EVENTS: Final = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE: Final = pycurl.CSELECT_IN
_MOST_EVENTS: Final = 256
_END_OF_HEADERS: Final = [b"\r\n"]
_LOOKS_A_WINDOW: Final = 4
_SLOWEST_LOOK_SECONDS: Final = 1.0


class CurlLoop:
    """See `ports.Fetcher`. Use it in the thread that made it; nothing may be submitted from inside a sink.

    Raises:
        ConfigError: The CA file cannot be read.

    """

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        self._authorities = authorities(options.ca_file)
        # While the cap holds reading back, only the descriptors that are not libcurl's are waited for.
        self._everything = select.epoll()
        self._own = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._sockets: set[int] = set()
        self._masks: dict[int, int] = {}
        self._idle: set[int] = set()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._free: list[Slot] = []
        self._busy: dict[Slot, None] = {}
        self._good: deque[pycurl.Curl] = deque()
        self._bad: deque[tuple[pycurl.Curl, int, str]] = deque()
        self._now = time.monotonic()
        self._held_back = 0.0
        self._allowance: Allowance | None = None
        self._curl_due: float | None = None
        # libcurl's word on when it wants to be called: only the last counts. A deque's method costs less than one of ours.
        self._word: deque[int] = deque(maxlen=1)
        self._multi = self._new_multi()
        shortest = min(options.first_byte_seconds, options.stall_seconds)
        self._look_seconds = min(_SLOWEST_LOOK_SECONDS, shortest / _LOOKS_A_WINDOW)
        self.call_later(self._look_seconds, self._look)

    @property
    def in_flight(self) -> int:
        """See `ports.Fetcher`."""
        return len(self._busy)

    def submit(self, request: Request, done: Done, sink: Sink | None = None) -> None:
        """See `ports.Fetcher`."""
        slot = self._free.pop() if self._free else Slot(self._options, self._authorities, self._on_open)
        slot.prepare(request, done, sink, None if self._allowance is None else self._allowance.spend)
        slot.started = time.monotonic()
        slot.marked_at = slot.started - self._held_back
        self._busy[slot] = None
        self._multi.add_handle(slot.easy)

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """See `ports.Fetcher`."""
        if fd not in self._watched:
            self._everything.register(fd, _IN)
            self._own.register(fd, _IN)
        self._watched[fd] = readable

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """See `ports.Fetcher`."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), callback))

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """See `ports.Fetcher`. While there is a cap, each piece of a body costs a call of Python more."""
        now = time.monotonic()
        self._allowance = None if bytes_per_second is None else Allowance(bytes_per_second, now)
        counted = None if self._allowance is None else self._allowance.spend
        for slot in self._busy:
            slot.count(counted)

    def run_once(self, timeout_seconds: float) -> None:
        """See `ports.Fetcher`."""
        self._now = time.monotonic()
        left = _MOST_EVENTS if self._allowance is None else self._allowance.refill(self._now)
        if left > 0:
            self._heed_curl()
            if self._collect():
                timeout_seconds = 0.0
            self._wait(timeout_seconds, left)
        else:
            self._hold_back(timeout_seconds)
        self._collect()
        self._ring()

    def close(self) -> None:
        """See `ports.Fetcher`."""
        for slot in self._busy:
            self._multi.remove_handle(slot.easy)
        for slot in (*self._busy, *self._free):
            slot.easy.close()
        self._busy.clear()
        self._free.clear()
        self._multi.close()
        self._everything.close()
        self._own.close()

    # --- waiting

    def _wait(self, timeout: float, left: float) -> None:
        """Wait for all descriptors; under a cap, serve only about as many sockets as may be read."""
        due = self._timers[0][0]
        if self._curl_due is not None and self._curl_due < due:
            due = self._curl_due
        most = _MOST_EVENTS
        if self._allowance is not None:
            most = max(1, min(most, int(left) // COUNTED_BUFFER_BYTES))
        self._dispatch(self._everything.poll(max(0.0, min(timeout, due - self._now)), most))

    def _hold_back(self, timeout: float) -> None:
        """Wait for what is not libcurl's: it would read, also when called only because of a timer."""
        assert self._allowance is not None
        before = self._now
        patience = min(timeout, self._allowance.delay(), self._timers[0][0] - before)
        self._dispatch(self._own.poll(max(0.0, patience), _MOST_EVENTS))
        self._held_back += self._now - before

    def _heed_curl(self) -> None:
        """Call libcurl if it wants to be: to send what was submitted, and for timeouts of its own."""
        self._hear_curl()
        if self._curl_due is not None and self._now >= self._curl_due:
            self._curl_due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._hear_curl()

    def _hear_curl(self) -> None:
        if self._word:
            milliseconds = self._word.pop()
            self._curl_due = None if milliseconds < 0 else self._now + milliseconds / 1000

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        self._now = time.monotonic()
        watched, idle, action = self._watched, self._idle, self._multi.socket_action
        for fd, event in events:
            if fd in watched:
                watched[fd]()
            elif fd in idle:
                self._unregister(fd)
            else:
                action(fd, _READABLE if event == _IN else _curl_event(event))

    def _ring(self) -> None:
        now = time.monotonic()
        while self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    # --- what libcurl says

    def _new_multi(self) -> pycurl.CurlMulti:
        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, self._options.connections)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._word.append)
        return multi

    def _on_open(self, fd: int, _purpose: int) -> int:
        """Take note of a new socket: its number belonged perhaps to another that was closed without a word."""
        self._masks.pop(fd, None)
        self._watched.pop(fd, None)
        self._idle.discard(fd)
        self._sockets.add(fd)
        return int(pycurl.SOCKOPT_OK)

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """Register what libcurl waits for.

        Between two transfers a socket stays registered, for else each would cost two system calls, 2.5 µs. If it
        becomes readable while idle, which is mostly its end, it is unregistered then. libcurl closes sockets without a
        word; so what is believed to be registered is made sure of now and then (`_reassert`).
        """
        if what != pycurl.POLL_REMOVE:
            self._idle.discard(fd)
            mask = _EVENTS[what]
            if self._masks.get(fd) != mask:
                self._register(fd, mask)
        elif fd in self._sockets:
            self._idle.add(fd)
        else:
            self._unregister(fd)  # the pipe of its resolver

    def _register(self, fd: int, mask: int) -> None:
        try:
            self._everything.modify(fd, mask)
        except FileNotFoundError:
            self._everything.register(fd, mask)
        self._masks[fd] = mask

    def _unregister(self, fd: int) -> None:
        self._masks.pop(fd, None)
        self._idle.discard(fd)
        self._sockets.discard(fd)
        try:
            self._everything.unregister(fd)
        except OSError:
            return  # it is closed, and with that unregistered

    def _reassert(self) -> None:
        """Register anew what libcurl waits for, as a number taken for a socket's may be its resolver's now: 0.6 µs each."""
        for fd, mask in list(self._masks.items()):
            if fd not in self._idle:
                try:
                    self._register(fd, mask)
                except OSError:
                    self._unregister(fd)

    # --- transfers that end

    def _collect(self) -> int:
        """Hand the ended transfers back; return how many there were. Should a callback raise, the others keep their turn."""
        more, good, bad = self._multi.info_read()
        while more:
            self._good += good
            self._bad += bad
            more, good, bad = self._multi.info_read()
        self._good += good
        self._bad += bad
        ended = len(self._good) + len(self._bad)
        while self._good:
            self._finish(self._good.popleft().slot, None, "")
        while self._bad:
            easy, code, text = self._bad.popleft()
            self._finish(easy.slot, reason_of(code, easy.getinfo(pycurl.CONNECT_TIME) > 0), text)
        return ended

    def _finish(self, slot: Slot, failure: Reason | None, detail: str) -> None:
        easy = slot.easy
        self._multi.remove_handle(easy)
        del self._busy[slot]
        chunks, header_lines = slot.chunks[:], slot.header_lines[:]
        if failure is None and header_lines[-1:] != _END_OF_HEADERS and not _is_head_whole(header_lines):
            failure, detail = Reason.RESET, "the connection ended within the answer's headers"
        response = Response(
            easy.getinfo(pycurl.RESPONSE_CODE),
            header_lines,
            chunks,
            # One piece is the rule; asking libcurl would cost 0.5 µs.
            (len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))) + slot.poured,
            easy.getinfo(pycurl.CONTENT_LENGTH_DOWNLOAD_T),
            self._now - slot.started,
            failure,
            detail,
        )
        done = slot.done
        slot.release()
        self._free.append(slot)
        done(response)

    # --- transfers that do not

    def _look(self) -> None:
        """End the transfers that wait in vain. The time in which the cap forbade reading is nobody's fault."""
        self.call_later(self._look_seconds, self._look)
        self._reassert()
        youngest = self._now - min(self._options.first_byte_seconds, self._options.stall_seconds)
        vain: list[tuple[Slot, Reason, str]] = []
        for slot in self._busy:  # in order of their starts
            if slot.started > youngest:
                break
            judged = self._judge(slot, self._now - self._held_back)
            if judged is not None:
                vain.append((slot, *judged))
        for slot, reason, detail in vain:
            if slot in self._busy:
                self._finish(slot, reason, detail)

    def _judge(self, slot: Slot, now: float) -> tuple[Reason, str] | None:
        options = self._options
        got: int = slot.easy.getinfo(pycurl.SIZE_DOWNLOAD_T)
        if slot.marked < 0:
            if not got and not slot.header_lines:
                waited = now - slot.marked_at
                over = waited >= options.first_byte_seconds
                return (Reason.TIMEOUT, f"no answer within {waited:.0f} s") if over else None
            slot.marked, slot.marked_at = got, now
        elif now - slot.marked_at >= options.stall_seconds:
            came, seconds = got - slot.marked, now - slot.marked_at
            if came < options.stall_bytes_per_second * seconds:
                return Reason.STALLED, f"{came} bytes in {seconds:.0f} s, {got} in all"
            slot.marked, slot.marked_at = got, now
        return None


def _is_head_whole(header_lines: list[bytes]) -> bool:
    """Tell whether the headers came to an end, which libcurl does not mind; trailers may follow it."""
    return b"\r\n" in header_lines or b"\n" in header_lines


def _curl_event(event: int) -> int:
    mask = 0
    if event & (select.EPOLLIN | select.EPOLLHUP):
        mask |= pycurl.CSELECT_IN
    if event & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if event & select.EPOLLERR:
        mask |= pycurl.CSELECT_ERR
    return mask
