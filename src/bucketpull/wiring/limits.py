"""How fast a job may go: what was asked for, checked before anything is made, and followed through the day."""

import asyncio
import time

import msgspec

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.domain.bandwidth_schedule import parse_timetable
from bucketpull.domain.model import Limits
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
