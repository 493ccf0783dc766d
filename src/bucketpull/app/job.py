"""What the commands that run a coordinator have in common: starting it, stopping it, and its end."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from bucketpull.app.monitor import Monitor
from bucketpull.app.settings import Settings
from bucketpull.domain.errors import ExitCode
from bucketpull.domain.model import Limits, Position
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
    coordinator.limits = Limits(concurrency=settings.fixed_concurrency(), requests_per_second=settings.rate)
    watching = asyncio.create_task(monitor.run(), name="monitor")
    working = asyncio.create_task(worker.run(), name="worker")
    booking = asyncio.create_task(coordinator.run(root), name="coordinator")
    try:
        await asyncio.wait({working, booking, watching}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, watching):
            if task.done() and task.exception() is not None:
                await task
        await booking
    finally:
        for task in (booking, working, watching):
            task.cancel()
        await asyncio.gather(booking, working, watching, return_exceptions=True)
        await coordinator.close()
    coordinator.conclude()


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
