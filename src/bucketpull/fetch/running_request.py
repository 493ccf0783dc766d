"""What both kinds of transfers, by libcurl and by direct connections, have in common: when one is given up.

What is asked, the headers among it, is a `Request` that its source made (`sources/http.py`).
"""

from collections.abc import Callable

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request, Response
from bucketpull.fetch.fetch_options import FetchOptions

Done = Callable[[Response], None]
Sink = Callable[[bytes], object]
Begun = Callable[[Response], object]
Count = Callable[[int], None]
NO_REQUEST = Request("", (), 0)


class RunningRequest:
    """One transfer. `started` is when it was submitted (monotonic seconds).

    `answered` is when something of the answer was first seen, counted like `marked_at`.
    `marked` and `marked_at` are bytes and time at the start of its window for stalls, `marked` -1 before the first byte. That
    time is counted without what the bandwidth's cap forbade to read.
    """

    def __init__(self) -> None:
        self.request = NO_REQUEST
        self.done: Done = nobody
        self.started = self.marked_at = self.answered = 0.0
        self.marked = -1

    def is_answered(self) -> bool:
        """Tell whether anything has come."""
        raise NotImplementedError

    def got(self) -> int:
        """Return the bytes of the body that have come."""
        raise NotImplementedError

    def is_connecting(self) -> bool:
        """Tell whether it waits for a connection without a time limit of its own."""
        raise NotImplementedError

    def end(self, reason: Reason, detail: str) -> None:
        """Give it up."""
        raise NotImplementedError

    def judge(self, now: float, options: FetchOptions) -> tuple[Reason, str] | None:
        """Return why and in what words the transfer is to be given up, or None."""
        if self.marked < 0 and not self.is_answered():
            return self._judge_wait(now - self.marked_at, options)
        got = self.got()
        if self.marked < 0:
            self.marked, self.marked_at, self.answered = got, now, now
        elif now - self.answered >= self.request.most_seconds:
            return Reason.STALLED, f"{got} bytes in {_seconds(now - self.answered)}, and no end"
        elif now - self.marked_at >= options.stall_seconds:
            came, seconds = got - self.marked, now - self.marked_at
            if came < options.stall_bytes_per_second * seconds:
                return Reason.STALLED, f"{came} bytes in {_seconds(seconds)}, {got} in all"
            self.marked, self.marked_at = got, now
        return None

    def _judge_wait(self, waited: float, options: FetchOptions) -> tuple[Reason, str] | None:
        if waited >= options.connect_seconds and self.is_connecting():
            return Reason.CONNECT, f"no connection within {_seconds(waited)}"
        if waited >= options.first_byte_seconds:
            return Reason.TIMEOUT, f"no answer within {_seconds(waited)}"
        return None


def nobody(_: Response) -> None:
    """The callback of a handle without a transfer."""


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.2g} s"
