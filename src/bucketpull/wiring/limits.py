"""How fast a job may go: what was asked for, checked before anything is made, and followed through the day."""

import asyncio
import time
from collections.abc import Callable

import msgspec

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.domain.bandwidth_schedule import parse_timetable
from bucketpull.domain.budget import Budget
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import Limits
from bucketpull.domain.sizes import parse_count, parse_size
from bucketpull.wiring.settings import Settings


def limits_now(settings: Settings) -> Limits:
    """Return the limits that were asked for, as they are at this time of day.

    Raises:
        ConfigError: `--concurrency` is no number, or `--bandwidth` is neither a size nor a timetable.

    """
    bandwidth = settings.bandwidth
    return Limits(
        concurrency=settings.fixed_concurrency(),
        requests_per_second=settings.rate,
        bytes_per_second=None if bandwidth is None else parse_timetable(bandwidth).at(_second_of_day()),
    )


def budget_of(settings: Settings) -> Budget:
    """Return what the job may use up.

    Raises:
        ConfigError: A bound is not understood, or is nothing.

    """
    size, size_a_day = _bound("--max-bytes", settings.max_bytes, parse_size)
    requests, requests_a_day = _bound("--max-requests", settings.max_requests, parse_count)
    if settings.limit is not None and settings.limit < 1:
        raise ConfigError(f"--limit {settings.limit}: at least 1")
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


async def follow_timetable(coordinator: Coordinator, settings: Settings) -> None:
    """Change the bandwidth whenever the timetable says so, until cancelled."""
    if settings.bandwidth is None:
        return
    table = parse_timetable(settings.bandwidth)
    while (wait := table.next_change(_second_of_day())) is not None:
        await asyncio.sleep(wait)
        limits = msgspec.structs.replace(coordinator.limits, bytes_per_second=table.at(_second_of_day()))
        await coordinator.set_limits(limits)


def _second_of_day() -> float:
    now = time.localtime()
    return now.tm_hour * 3600 + now.tm_min * 60 + now.tm_sec
