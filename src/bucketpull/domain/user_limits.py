"""What the user limits of a job (`--rate`, `--bandwidth`, `--concurrency`, a pause): the values, and what commands changed of them while it runs. Pure."""

import math
from collections.abc import Mapping

import msgspec

from bucketpull.domain.decoding import Float, Int, Text

NEAR = 0.9  # of a cap: transfers end in lumps, so that the cap itself is not reached in each half second
BURST_SECONDS = 0.02  # so early a request may start that is evenly spaced from others


class Limits(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What one worker may use. None is no cap; `concurrency` None is automatic.

    Rates are per second, bandwidth in bytes per second, for all processes of the worker together.
    """

    concurrency: Int | None = None
    requests_per_second: Float | None = None
    bytes_per_second: Float | None = None
    paused: bool = False


def near(cap: float | None, speed: float) -> bool:
    """Tell whether a speed is about what a cap allows."""
    return cap is not None and speed >= NEAR * cap


class TokenBucket:
    """At most so many requests a second, evenly; None is no limit. May be shared by several limiters."""

    __slots__ = ("_interval", "_next", "_taken", "per_second")

    def __init__(self, per_second: float | None) -> None:
        self._taken = self._next = -math.inf
        self.set_rate(per_second)

    def set_rate(self, per_second: float | None) -> None:
        """Change the rate from now on, for the time since the last request too."""
        self.per_second = per_second
        self._interval = 0.0 if per_second is None else 1.0 / per_second if per_second > 0 else math.inf
        if self._taken > -math.inf:
            self._next = self._taken + self._interval

    def delay(self, now: float) -> float:
        """Return in how many seconds a request may start; 0 is now."""
        wait = self._next - BURST_SECONDS - now
        return wait if self._interval and wait > 0.0 else 0.0

    def take(self, now: float) -> None:
        """Count a request that starts."""
        self._taken = max(self._next, now)
        self._next = self._taken + self._interval


class Steering(msgspec.Struct, frozen=True):
    """What commands changed of the limits: the next coordinator of the same run goes by it.

    `limits` are those of the whole job, `schedule` the bandwidth by time of day that they follow, None for none.
    `options` are the limits as they stood on the command line, by name: where the next one says others, these hold.
    """

    options: dict[Text, Text]
    limits: Limits
    schedule: Text | None = None

    def resumed(self) -> "Steering":
        """Return the same without a pause."""
        return msgspec.structs.replace(self, limits=msgspec.structs.replace(self.limits, paused=False))

    def under(self, options: Mapping[str, str], asked: Limits) -> "Steering":
        """Return what holds for a coordinator with these options, which ask for these limits: a pause stays in any case."""
        if options == self.options:
            return self
        limits = msgspec.structs.replace(asked, paused=self.limits.paused)
        return Steering(dict(options), limits, options.get("bandwidth"))
