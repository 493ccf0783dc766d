"""What the commands that run a coordinator have in common: starting it, stopping it, and its end."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec

from bucketpull.app.monitor import Monitor
from bucketpull.app.panel import JobPanel, Watcher
from bucketpull.app.settings import Settings
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.model import Limits, Position
from bucketpull.domain.sizes import parse_reserve
from bucketpull.domain.timetable import parse_timetable
from bucketpull.engine.coordinator import Coordinator
from bucketpull.engine.worker import Worker
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.report.document import exit_code_of, summary_dict


def on_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], object]) -> None:
    """Stop in order at the first SIGINT or SIGTERM; at the second leave at once: everything is resumable at any time."""
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        if heard > 1:
            os._exit(ExitCode.INTERRUPTED)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear)


async def run_together(
    coordinator: Coordinator, worker: Worker, monitor: Monitor, root: Position, settings: Settings
) -> None:
    """Run a coordinator, the worker in its process, and the monitor, until the job ends or a signal stops it."""
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        monitor.note("info", "job.interrupted", "stopping; once more to leave at once")
        tasks.append(loop.create_task(coordinator.stop(), name="stop"))

    tasks: list[asyncio.Task[None]] = []
    on_signals(loop, interrupt)
    coordinator.limits = Limits(
        concurrency=settings.fixed_concurrency(),
        requests_per_second=settings.rate,
        bytes_per_second=bandwidth_now(settings),
    )
    watching = asyncio.create_task(monitor.run(), name="monitor")
    timing = asyncio.create_task(follow_timetable(coordinator, settings), name="timetable")
    working = asyncio.create_task(worker.run(), name="worker")
    booking = asyncio.create_task(coordinator.run(root), name="coordinator")
    try:
        await asyncio.wait({working, booking, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, watching):
            if task.done() and task.exception() is not None:
                await task
        await booking
    finally:
        for task in (booking, working, watching, timing):
            task.cancel()
        await asyncio.gather(booking, working, watching, timing, return_exceptions=True)
        await coordinator.close()
    coordinator.conclude()
    monitor.latest = monitor.snapshot()  # for those who still look


def check_limits(settings: Settings) -> None:
    """Make sure that what is given as text or number can be used, before anything is made.

    Raises:
        ConfigError: It cannot.

    """
    settings.process_count(), settings.fixed_concurrency(), bandwidth_now(settings), settings.job_name()
    parse_reserve(settings.reserve, 0)
    if settings.rate is not None and settings.rate <= 0:
        raise ConfigError(f"--rate {settings.rate:g}: more than 0")


def bandwidth_now(settings: Settings) -> float | None:
    """Return the bytes a second that may be received at this time of day; None is no limit.

    Raises:
        ConfigError: `--bandwidth` is neither a size nor a timetable.

    """
    if settings.bandwidth is None:
        return None
    return parse_timetable(settings.bandwidth).at(_second_of_day())


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


@contextlib.asynccontextmanager
async def watched(watchers: Sequence[Watcher], panel: JobPanel) -> AsyncIterator[None]:
    """Let watchers, such as the dashboard, look at the job while it runs."""
    watching = [await watcher(panel) for watcher in watchers]
    try:
        yield
    finally:
        for watch in watching:
            await watch.close()


def conclude(
    settings: Settings, journal: SqliteJournal, coordinator: Coordinator, monitor: Monitor
) -> ExitCode:
    """Show and write the end of a job; return how it ended.

    Raises:
        SourceRefused: That is why it ended.

    """
    snapshot = monitor.close()
    summary = msgspec.json.encode(summary_dict(snapshot))
    journal.end(snapshot.state, snapshot.at, summary.decode())
    if settings.summary is not None:
        Path(settings.summary).write_bytes(msgspec.json.format(summary) + b"\n")
    coordinator.raise_refusal()
    return exit_code_of(snapshot)
