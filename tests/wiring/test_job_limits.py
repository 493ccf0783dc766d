"""The bandwidth by time of day, followed while the clock of the machine does what it likes."""

import asyncio
from types import SimpleNamespace

import pytest

from bucketpull.domain.user_limits import Limits
from bucketpull.wiring import job_limits
from bucketpull.wiring.settings import Settings

_HOUR = 3600.0


class Shell:
    """Stands for the coordinator's: keeps the limits, and counts how often they are set."""

    def __init__(self, limits):
        self.coordinator = SimpleNamespace(limits=limits)
        self.set = []

    async def set_limits(self, limits):
        self.coordinator.limits = limits
        self.set.append(limits.bytes_per_second)


@pytest.mark.parametrize("shown", [8.5 * _HOUR, 9 * _HOUR])
def test_a_schedule_is_followed_though_the_clock_is_set_or_the_machine_slept(monkeypatch, shown):
    clock = [7 * _HOUR]
    waits = []

    async def waited(awaitable, seconds):
        awaitable.close()
        waits.append(seconds)
        if len(waits) == 2:
            clock[0] = shown
        if len(waits) == 4:
            raise asyncio.CancelledError
        raise TimeoutError

    monkeypatch.setattr(job_limits, "_second_of_day", lambda: clock[0])
    monkeypatch.setattr(job_limits.asyncio, "wait_for", waited)
    shell = Shell(Limits())

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(job_limits.Bandwidth(Settings(bandwidth="08:00,1M 20:00,off")).run(shell))

    assert max(waits) <= 60
    assert shell.set == [1024**2]
