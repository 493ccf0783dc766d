"""`sync`: coordinator, worker and reporters in one process, with worker processes beside it."""

import asyncio
import os
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from bucketpull.app.clock import SystemClock
from bucketpull.app.monitor import Monitor
from bucketpull.app.parts import (
    check_summary,
    fetch_options,
    machine_name,
    open_journal,
    source_config,
    worker_policy,
)
from bucketpull.app.probe import Findings, probe
from bucketpull.app.process import process_main
from bucketpull.app.settings import Settings
from bucketpull.app.volumes import check_paths, open_all, open_one
from bucketpull.domain.errors import ExitCode
from bucketpull.domain.progress import Snapshot
from bucketpull.engine.coordinator import Coordinator, CoordinatorPolicy
from bucketpull.engine.worker import Worker
from bucketpull.fetch.loop import CurlLoop
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.report.choice import open_reporter
from bucketpull.report.document import exit_code_of, summary_dict
from bucketpull.sources.upyun import UpyunSource
from bucketpull.transport.direct import DirectTransport
from bucketpull.transport.processes import Nursery, ProcessCrew
from bucketpull.volumes.volume import DiskVolume

def run_sync(settings: Settings) -> ExitCode:
    """Pull the bucket; return how it ended.

    Raises:
        BucketpullError: It could not begin, and nothing was written.

    """
    paths = check_paths(settings.volumes)
    check_summary(settings)
    config = source_config(settings)
    settings.process_count(), settings.fixed_concurrency()
    fetch = fetch_options(settings)
    loop = CurlLoop(fetch)
    findings = probe(UpyunSource(config), loop)
    loop.close()
    nursery = Nursery(partial(process_main, source=config, fetch=fetch))
    try:
        journal = open_journal(settings, SystemClock().now())
    except BaseException:
        nursery.close()
        raise
    try:
        volumes = open_all(paths, known_paths(journal, machine_name(settings)), settings)
        job = SyncJob(settings, journal, volumes, nursery, findings)
        return asyncio.run(job.run())
    finally:
        journal.close()


def known_paths(journal: SqliteJournal, machine: str) -> dict[str, str]:
    """Return the ids of the job's volumes on a machine, by the path at which each was seen last."""
    return {
        volume.path: volume.id
        for volume in journal.volumes()
        if volume.machine == machine and volume.path and volume.state != "lost"
    }


class SyncJob:
    """One run of `sync`, from open journal and volumes to the exit code."""

    def __init__(
        self,
        settings: Settings,
        journal: SqliteJournal,
        volumes: Sequence[DiskVolume],
        nursery: Nursery,
        findings: Findings,
    ) -> None:
        machine = machine_name(settings)
        clock = SystemClock()
        self._settings = settings
        self._journal = journal
        self._crew = ProcessCrew(nursery, settings.process_count())
        transport = DirectTransport()
        policy = CoordinatorPolicy(
            exits_when_full=settings.when_full == "exit", local_machines=frozenset({machine})
        )
        self._coordinator = Coordinator(journal, transport, clock, policy)
        self._worker = Worker(
            worker_policy(settings, journal.id, machine),
            transport.inbox,
            self._crew,
            volumes,
            clock,
            partial(open_one, expected=None, settings=settings),
        )
        bucket, prefix = settings.source_parts()
        self._monitor = Monitor(
            self._coordinator,
            clock,
            settings.job_name(),
            settings.source,
            None if prefix else findings.usage_bytes,
            [open_reporter(json=settings.json, quiet=settings.quiet)],
        )
        self._root = UpyunSource(source_config(settings)).root()
        self._interrupts = 0

    async def run(self) -> ExitCode:
        """Pull, report, and say how it ended."""
        self._crew.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        monitor = asyncio.create_task(self._monitor.run(), name="monitor")
        try:
            await self._pull()
        finally:
            monitor.cancel()
        return self._conclude(self._monitor.close())

    async def _pull(self) -> None:
        worker = asyncio.create_task(self._worker.run(), name="worker")
        books = asyncio.create_task(self._coordinator.run(self._root), name="coordinator")
        done, _ = await asyncio.wait({worker, books}, return_when=asyncio.FIRST_COMPLETED)
        if worker in done and worker.exception() is not None:
            books.cancel()
            await worker
        try:
            await books
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            await self._coordinator.close()
        self._coordinator.conclude()

    def _interrupt(self) -> None:
        """Stop in order at the first signal; at the second leave at once: the journal is always resumable."""
        self._interrupts += 1
        if self._interrupts > 1:
            os._exit(ExitCode.INTERRUPTED)
        self._monitor.note("info", "job.interrupted", "stopping; once more to leave at once")
        asyncio.get_running_loop().create_task(self._coordinator.stop(), name="stop")

    def _conclude(self, snapshot: Snapshot) -> ExitCode:
        summary = msgspec.json.encode(summary_dict(snapshot))
        self._journal.end(snapshot.state, snapshot.at, summary.decode())
        if self._settings.summary is not None:
            Path(self._settings.summary).write_bytes(msgspec.json.format(summary) + b"\n")
        self._coordinator.raise_refusal()
        return exit_code_of(snapshot)
