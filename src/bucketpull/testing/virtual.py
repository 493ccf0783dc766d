"""A clock and a fetcher in virtual time: an hour of back-off takes no time, and runs are the same each time."""

import heapq
import select
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request, Response

PAUSE_SECONDS = 0.05


class VirtualClock:
    """See `ports.Clock`. Stands still until somebody moves it."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._start = start
        self.seconds = 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return self._start + self.seconds

    def monotonic(self) -> float:
        """Return seconds since the start."""
        return self.seconds

    def today(self) -> str:
        """Return the date in UTC."""
        return datetime.fromtimestamp(self.now(), UTC).date().isoformat()


class Answer(msgspec.Struct):
    """What the other side is to say: `seconds` after the request, `status` with `body`, or `failure` after `body`."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    failure: Reason | None = None
    seconds: float = 0.01


class VirtualFetcher:
    """See `ports.Fetcher`. Each request is answered by a function; file descriptors that are watched are real.

    `most` is the largest number of transfers that were in transfer, `requests` all that were made.
    """

    def __init__(self, clock: VirtualClock, answer: Callable[[Request], Answer]) -> None:
        self._clock = clock
        self._answer = answer
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._watched: dict[int, Callable[[], None]] = {}
        self._closed = False
        self.in_flight = 0
        self.arriving = 0
        self.most = 0
        self.requests: list[Request] = []
        self._flying: dict[int, tuple[Request, float, Callable[[Response], None]]] = {}
        self.bandwidth: float | None = None
        self.names: dict[str, list[str]] = {}

    def submit(
        self,
        request: Request,
        done: Callable[[Response], None],
        sink: Callable[[bytes], object] | None = None,
        begun: Callable[[Response], object] | None = None,
    ) -> None:
        """Start a transfer."""
        self.requests.append(request)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        answer, number = self._answer(request), next(self._order)
        self._flying[number] = (request, self._clock.seconds, done)
        self.call_later(answer.seconds, lambda: self._end(number, answer, sink, begun))

    def waits(self, site: str, address: str = "") -> tuple[float, int]:
        """Tell since when a site has been silent."""
        begun = [at for request, at, _ in self._flying.values() if _is_of(request, site, address)]
        return (self._clock.seconds - max(begun) if begun else 0.0), len(begun)

    def resolve(self, site: str, found: Callable[[list[str]], None]) -> None:
        """Tell the addresses of `names`."""
        found(self.names.get(site, []))

    def abandon(self, site: str, reason: Reason, detail: str, address: str = "") -> None:
        """End what is under way to a site."""
        for number, (request, at, done) in list(self._flying.items()):
            if _is_of(request, site, address):
                del self._flying[number]
                self.in_flight -= 1
                done(Response(0, [], [], 0, self._clock.seconds - at, reason, detail))

    def _end(
        self,
        number: int,
        answer: Answer,
        sink: Callable[[bytes], object] | None,
        begun: Callable[[Response], object] | None,
        taken: int = 0,
    ) -> None:
        if number not in self._flying:
            return
        request, _, done = self._flying[number]
        failure, body = answer.failure, answer.body
        received = len(body)
        lines = [f"HTTP/1.1 {answer.status} X\r\n".encode()]
        lines += [f"{name}: {value}\r\n".encode() for name, value in answer.headers]
        if sink is not None and answer.status in {200, 206}:
            head = Response(answer.status, lines, [], 0, 0.0, Reason.INTERRUPTED)
            if taken or begun is None or not body or _is_welcome(head, begun):
                failure, received = _pour(body, sink, failure, taken)
            else:
                failure, received = Reason.INTERRUPTED, 0
            if failure is None and received < len(body):
                self.call_later(PAUSE_SECONDS, lambda: self._end(number, answer, sink, begun, received))
                return
            body = b""
        elif received > request.max_bytes:
            failure, body, received = Reason.SIZE, b"", request.max_bytes
        del self._flying[number]
        self.in_flight -= 1
        chunks = [body] if body else []
        done(Response(answer.status, lines, chunks, received, answer.seconds, failure))

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call back whenever a file descriptor is readable."""
        self._watched[fd] = readable

    def unwatch(self, fd: int) -> None:
        """Watch a file descriptor no more."""
        self._watched.pop(fd, None)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back after so many virtual seconds."""
        heapq.heappush(self._due, (self._clock.seconds + seconds, next(self._order), callback))

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """Remember the cap."""
        self.bandwidth = bytes_per_second

    def run_once(self, timeout_seconds: float) -> None:
        """Serve the descriptors that are readable; if there are none, go on to the next thing that is due."""
        poll = select.poll()
        for fd in self._watched:
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(0)]
        for fd in ready:
            self._watched[fd]()
        if ready:
            return
        until = self._clock.seconds + timeout_seconds
        if not self._due or self._due[0][0] > until:
            self._clock.seconds = until
            return
        self._clock.seconds = max(self._clock.seconds, self._due[0][0])
        while self._due and self._due[0][0] <= self._clock.seconds and not self._closed:
            heapq.heappop(self._due)[2]()

    def close(self) -> None:
        """Abandon everything."""
        self._closed = True
        self._due.clear()
        self._watched.clear()


def _is_of(request: Request, site: str, address: str) -> bool:
    return request.url.startswith(site) and address in {"", request.address}


def _is_welcome(head: Response, begun: Callable[[Response], object]) -> bool:
    try:
        begun(head)
    except Exception:  # noqa: BLE001 - whatever it raises ends its transfer
        return False
    return True


def _pour(
    body: bytes, sink: Callable[[bytes], object], failure: Reason | None, taken: int
) -> tuple[Reason | None, int]:
    """Give a body to a sink in pieces of 16 KiB, from some byte on; return the failure and how much was taken."""
    for start in range(taken, len(body), 1 << 14):
        try:
            if sink(body[start : start + (1 << 14)]) is False:
                return None, start
        except Exception:  # noqa: BLE001 - whatever a sink raises ends its transfer
            return Reason.INTERRUPTED, start
    return failure, len(body)
