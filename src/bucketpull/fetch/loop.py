"""The fetch loop of one process: an epoll for libcurl's sockets, direct connections, and the process's own descriptors; and timers.

Where the time of a transfer goes, and what was tried in vain, is in docs/decisions/; what is ugly for speed has its
measurement beside it.
"""

import heapq
import select
import time
from collections.abc import Callable
from itertools import count
from typing import Final
from urllib.parse import urlsplit

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request
from bucketpull.domain.user_input import is_ip_address
from bucketpull.fetch.certificates import authorities
from bucketpull.fetch.curl import Curl
from bucketpull.fetch.curl_handle import BUFFER_BYTES, COUNTED_BUFFER_BYTES, LEAST_BUFFER_BYTES
from bucketpull.fetch.direct import RECV_BYTES, Direct
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.resolver import Found, Resolver
from bucketpull.fetch.running_request import Begun, Done, RunningRequest, Sink

_IN: Final = select.EPOLLIN
_MOST_EVENTS: Final = 256
# At each call libcurl reads all of its transfers that have more, and fills the buffer some twenty times for each. Two things keep
# that from taking a whole cap, for which direct connections would wait: a small buffer under a low cap, so that so many reads
# make a second's bytes; and a turn for so many sockets although little is left, as far as what may be saved up is enough for them.
_READS_A_SECOND: Final = 8_000
_LEAST_EVENTS: Final = 8
_LOOKS_A_WINDOW: Final = 4
_SLOWEST_LOOK_SECONDS: Final = 1.0
# What epoll returns sooner than that was there before it was asked.
_PROMPT_SECONDS: Final = 0.0002
# Whoever has not looked for so long was not at work.
_ABSENT_SECONDS: Final = 1.0


class FetchLoop:
    """See `ports.Fetcher`. Use it in the thread that made it; nothing may be submitted from inside a sink.

    Raises ConfigError where the CA file cannot be read.
    """

    def __init__(self, options: FetchOptions) -> None:
        self._options = options
        trusted = authorities(options.ca_file)
        # While the cap holds reading back, only the process's own descriptors are waited for.
        self._everything = select.epoll()
        self._own = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._busy: dict[RunningRequest, None] = {}  # in order of their starts
        self._now = self._looked = time.monotonic()
        self._allowance: BandwidthLimit | None = None
        self._names: Resolver | None = None
        self.direct = Direct(
            options, trusted, self._everything, self._busy, self._submit_to_curl, self.call_later
        )
        self.submit = self.direct.submit
        """See `ports.Fetcher`."""
        self._curl = Curl(
            options,
            trusted,
            self._everything,
            self._busy,
            self.direct.is_unknown,
            self._learn,
            self.call_later,
        )
        shortest = min(options.connect_seconds, options.first_byte_seconds, options.stall_seconds)
        self._look_seconds = min(_SLOWEST_LOOK_SECONDS, shortest / _LOOKS_A_WINDOW)
        self.call_later(self._look_seconds, self._look)

    @property
    def in_flight(self) -> int:
        """See `ports.Fetcher`."""
        return len(self._busy) + self.direct.waiting

    @property
    def arriving(self) -> int:
        """See `ports.Fetcher`."""
        return sum(transfer.got() for transfer in self._busy)

    def _submit_to_curl(
        self, request: Request, done: Done, sink: Sink | None = None, begun: Begun | None = None
    ) -> None:
        now = time.monotonic()
        self._curl.submit(request, done, now, now - self.direct.held_back, sink, begun)

    def _learn(self, request: Request, ip: str) -> None:
        self.direct.learn(request, ip, time.monotonic())

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """See `ports.Fetcher`."""
        if fd not in self._watched:
            self._everything.register(fd, _IN)
            self._own.register(fd, _IN)
        self._watched[fd] = readable

    def unwatch(self, fd: int) -> None:
        """See `ports.Fetcher`."""
        if self._watched.pop(fd, None) is not None:
            self._everything.unregister(fd)
            self._own.unregister(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """See `ports.Fetcher`."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), callback))

    def resolve(self, site: str, found: Found) -> None:
        """See `ports.Fetcher`."""
        if self.direct.is_proxied or is_ip_address(urlsplit(site).hostname or ""):
            return
        if self._names is None:
            self._names = Resolver()
            self.watch(self._names.wake_fd, self._names.deliver)
        self._names.ask(site, found)

    def waits(self, site: str, address: str = "") -> tuple[float, int]:
        """See `ports.Fetcher`."""
        started, waiting = 0.0, 0
        for transfer in self._busy:
            if _is_of(transfer, site, address):
                if transfer.is_answered():
                    return 0.0, 0
                started, waiting = max(started, transfer.marked_at), waiting + 1
        return (time.monotonic() - self.direct.held_back - started if waiting else 0.0), waiting

    def abandon(self, site: str, reason: Reason, detail: str, address: str = "") -> None:
        """See `ports.Fetcher`."""
        self._set_now()
        for transfer in [each for each in self._busy if _is_of(each, site, address)]:
            if transfer in self._busy and not transfer.is_answered():
                transfer.end(reason, detail)

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """See `ports.Fetcher`. While there is a cap, each read costs a call of Python more."""
        allowance, now = self._allowance, time.monotonic()
        if bytes_per_second is None:
            allowance = None
        elif allowance is None:
            allowance = BandwidthLimit(bytes_per_second, now)
        else:
            allowance.change(bytes_per_second, now)
        self._allowance = allowance
        self.direct.counted = None if allowance is None else allowance.spend
        self.direct.recv_bytes = RECV_BYTES if allowance is None else COUNTED_BUFFER_BYTES
        self._curl.count(self.direct.counted, _buffer_bytes(bytes_per_second))

    def run_once(self, timeout_seconds: float) -> None:
        """See `ports.Fetcher`."""
        self._catch_up()
        left = _MOST_EVENTS if self._allowance is None else self._allowance.refill(self._now)
        if left > 0:
            self.direct.send()
            self._curl.serve()
            if self._curl.collect():
                timeout_seconds = 0.0
            self._wait(timeout_seconds, left)
            self._curl.collect()
        else:
            self._hold_back(timeout_seconds)
        self._catch_up()  # before a timer judges silence: what was called may have been held
        now = self._now
        while self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        """See `ports.Fetcher`."""
        if self._names is not None:
            self._names.close()
        self._curl.close()
        self.direct.close()
        self._busy.clear()
        self._everything.close()
        self._own.close()

    def _catch_up(self) -> None:
        before = self._now
        self._set_now()
        self._note_absence(self._now - before)

    def _note_absence(self, seconds: float) -> None:
        """Count time in which nobody looked as no server's silence: the process was stopped, or held by a disk."""
        if seconds > _ABSENT_SECONDS:
            self.direct.held_back += seconds

    def _set_now(self) -> None:
        self._now = self.direct.now = self._curl.now = time.monotonic()

    def _wait(self, timeout: float, left: float) -> None:
        """Wait for all descriptors; under a cap, serve only about as many sockets as may be read."""
        due = self._timers[0][0]
        if self._curl.due is not None and self._curl.due < due:
            due = self._curl.due
        most = _MOST_EVENTS
        if self._allowance is not None:
            least = min(_LEAST_EVENTS, int(self._allowance.most) // COUNTED_BUFFER_BYTES)
            most = max(1, least, min(most, int(left) // COUNTED_BUFFER_BYTES))
        patience = max(0.0, min(timeout, due - self._now))
        asked = time.monotonic()
        events = self._everything.poll(patience, most)
        now = time.monotonic()
        self._note_absence(now - asked - patience)
        self.direct.came = now if now - asked > _PROMPT_SECONDS else self._looked
        self._looked = now
        self._dispatch(events)

    def _hold_back(self, timeout: float) -> None:
        """Wait for the process's own descriptors only: libcurl reads even if it is called for a timer."""
        assert self._allowance is not None
        before = self._now
        patience = min(timeout, self._allowance.delay(), self._timers[0][0] - before)
        self._dispatch(self._own.poll(max(0.0, patience), _MOST_EVENTS))
        self.direct.held_back += self._now - before

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        self._set_now()
        connections, watched = self.direct.connections, self._watched
        for fd, event in events:
            connection = connections.get(fd)
            if connection is not None:
                connection.ready()
            elif fd in watched:
                watched[fd]()
            else:
                self._curl.ready(fd, event)

    def _look(self) -> None:
        """End transfers that have stalled, and close connections that nobody needs. Time in which the bandwidth limit forbade reading does not count."""
        self.call_later(self._look_seconds, self._look)
        self._set_now()
        self.direct.close_unused(self._now)
        self._curl.close_unused(self._now)
        now = self._now - self.direct.held_back
        vain: list[tuple[RunningRequest, Reason, str]] = []
        for transfer in self._busy:
            judged = transfer.judge(now, self._options)
            if judged is not None:
                vain.append((transfer, *judged))
        for transfer, reason, detail in vain:
            if transfer in self._busy:
                transfer.end(reason, detail)


def _buffer_bytes(bytes_per_second: float | None) -> int:
    if bytes_per_second is None:
        return BUFFER_BYTES
    return max(LEAST_BUFFER_BYTES, int(min(COUNTED_BUFFER_BYTES, bytes_per_second / _READS_A_SECOND)))


def _is_of(transfer: RunningRequest, site: str, address: str) -> bool:
    request = transfer.request
    return (not site or request.url.startswith(site + "/")) and address in {"", request.address}


class BandwidthLimit:
    """A cap on what all transfers together receive: bytes that may be read, refilled evenly; times are monotonic seconds.

    Sockets are read only while there is something left. Debt is made by a socket that had more than was left, and
    is waited off, so that the mean is right however large a read is. What is saved up is bounded by `BURST_SECONDS`, `most` bytes.
    """

    BURST_SECONDS = 0.1

    __slots__ = ("_at", "_left", "_rate", "most")

    def __init__(self, bytes_per_second: float, now: float) -> None:
        self._rate = max(1.0, bytes_per_second)
        self.most = self._rate * self.BURST_SECONDS
        self._left = self.most
        self._at = now

    def change(self, bytes_per_second: float, now: float) -> None:
        """Refill at another rate from now on; a debt stays."""
        self.refill(now)
        self._rate = max(1.0, bytes_per_second)
        self.most = self._rate * self.BURST_SECONDS

    def spend(self, size: int) -> None:
        """Count bytes that came."""
        self._left -= size

    def refill(self, now: float) -> float:
        """Add what became due and return the bytes that are left; 0 or less means wait."""
        self._left = min(self.most, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left

    def delay(self) -> float:
        """Return in how many seconds from the last refill there is something left; 0 is now."""
        return 0.0 if self._left > 0 else (1.0 - self._left) / self._rate
