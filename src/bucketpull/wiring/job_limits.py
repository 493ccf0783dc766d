"""The limits of a job: as asked for, checked before any side effect, and by time of day."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bucketpull.coordinator.shell import CoordinatorShell
from bucketpull.domain.bandwidth_schedule import parse_bandwidth
from bucketpull.domain.budget import Budget
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import parse_count, parse_size
from bucketpull.domain.user_limits import Limits
from bucketpull.wiring.settings import Settings

_LOOKS_AGAIN_SECONDS: Final = 60.0  # a wait does not notice that the clock was set, or the machine slept


def limits_now(settings: Settings) -> Limits:
    """Return the limits that were asked for, as they are at this time of day.

    Raises ConfigError where `--concurrency` is no number, or `--bandwidth` is neither a size nor a timetable.
    """
    bandwidth = settings.bandwidth
    return Limits(
        concurrency=settings.fixed_concurrency(),
        requests_per_second=settings.rate,
        bytes_per_second=None if bandwidth is None else parse_bandwidth(bandwidth).at(_second_of_day()),
    )


def budget_of(settings: Settings) -> Budget:
    """Return what the job may use up. Raises ConfigError where a bound is not understood, or is nothing."""
    size, size_a_day = _bound("--max-bytes", settings.max_bytes, parse_size)
    requests, requests_a_day = _bound("--max-requests", settings.max_requests, parse_count)
    if settings.limit is not None and settings.limit < 1:
        raise ConfigError(f"--limit {settings.limit}: write a number of at least 1")
    return Budget(settings.limit, size, size_a_day, requests, requests_a_day)


def _bound(name: str, text: str | None, parse: Callable[[str, str], int]) -> tuple[int | None, int | None]:
    """Return a bound in all and one a day."""
    if text is None:
        return None, None
    number, slash, unit = text.partition("/")
    if slash and unit.strip() != "day":
        raise ConfigError(f"{name}: {text!r}: write a number, or a number and '/day'")
    bound = parse(name, number)
    if bound < 1:
        raise ConfigError(f"{name} {text}: would allow nothing; write more, or leave it out")
    return (None, bound) if slash else (bound, None)


def limit_options(settings: Settings) -> dict[str, str]:
    """Return the limits as they were written."""
    given = {name: getattr(settings, name) for name in ("concurrency", "rate", "bandwidth")}
    return {name: str(value) for name, value in given.items() if value is not None}


class Bandwidth:
    """The bandwidth by time of day, as asked for at the start, or by a command since. `schedule` is how that was written, None for none."""

    def __init__(self, settings: Settings) -> None:
        self.schedule = settings.bandwidth
        self._table = None if settings.bandwidth is None else parse_bandwidth(settings.bandwidth)
        self._changed = asyncio.Event()

    def follow(self, text: str) -> float | None:
        """Follow another schedule or limit; return the limit that holds now. Raises ConfigError where it is neither."""
        self._table, self.schedule = parse_bandwidth(text), text
        self._changed.set()
        return self._table.at(_second_of_day())

    def leave(self) -> None:
        """Stop following the schedule."""
        self._table = self.schedule = None
        self._changed.set()

    def has_timetable(self) -> bool:
        """Whether the limit will be another at another time of day."""
        return self._table is not None and self._table.next_change(0) is not None

    async def run(self, shell: CoordinatorShell) -> None:
        """Change the job's limit whenever the schedule says so, until cancelled."""
        while True:
            self._changed.clear()
            change = None if self._table is None else self._table.next_change(_second_of_day())
            wait = None if change is None else min(change, _LOOKS_AGAIN_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)
                continue
            if self._table is not None:
                now = self._table.at(_second_of_day())
                limits = shell.coordinator.limits
                if now != limits.bytes_per_second:
                    await shell.set_limits(msgspec.structs.replace(limits, bytes_per_second=now))


def _second_of_day() -> float:
    now = time.localtime()
    return now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec
