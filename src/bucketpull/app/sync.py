"""`sync`: coordinator, worker and reporters in one process, with worker processes beside it."""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from bucketpull.app.clock import SystemClock
from bucketpull.app.job import check_limits, conclude, run_together, watched
from bucketpull.app.monitor import Monitor
from bucketpull.app.panel import JobPanel, Watcher
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
from bucketpull.app.steering import Steering
from bucketpull.app.volumes import check_paths, open_all, open_one, with_known
from bucketpull.domain.errors import ExitCode, VolumeSick
from bucketpull.engine.coordinator import Coordinator, CoordinatorPolicy
from bucketpull.engine.worker import Worker
from bucketpull.fetch.loop import CurlLoop
from bucketpull.journal.shelf import KnownVolume
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.report.choice import open_reporter
from bucketpull.sources.upyun import UpyunSource
from bucketpull.transport.direct import DirectTransport
from bucketpull.transport.processes import Nursery, ProcessCrew
from bucketpull.volumes.volume import DiskVolume


def run_sync(settings: Settings, watchers: Sequence[Watcher] = (), *, alone: bool = False) -> ExitCode:
    """Pull the bucket; return how it ended. `alone`: onto the given volumes only, not the job's others too.

    Raises:
        BucketpullError: It could not begin, and nothing was written.

    """
    paths = check_paths(settings.volumes)
    check_summary(settings)
    config = source_config(settings)
    check_limits(settings)
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
        machine = machine_name(settings)
        paths, away = (paths, []) if alone else with_known(paths, journal.volumes(), machine)
        sick: list[VolumeSick] = []
        volumes = open_all(paths, known_paths(journal, machine), settings, sick.append)
        job = SyncJob(settings, journal, volumes, nursery, findings)
        for error in sick:
            job.warn_of_sick(error)
        for volume in away:
            job.warn_of(volume)
        return asyncio.run(job.run(watchers))
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
            # A disk that failed may come back, after others have done what it had begun.
            msgspec.structs.replace(worker_policy(settings, journal.id, machine), asks=True),
            transport.inbox,
            self._crew,
            volumes,
            clock,
            partial(open_one, expected=None, settings=settings),
        )
        _, prefix = settings.source_parts()
        self._monitor = Monitor(
            self._coordinator,
            clock,
            settings.job_name(),
            settings.source,
            None if prefix else findings.usage_bytes,
            [open_reporter(json=settings.json, quiet=settings.quiet)],
        )
        self._steering = Steering(settings, journal, self._coordinator, self._monitor, machine)
        self._root = UpyunSource(source_config(settings)).root()

    def warn_of(self, volume: KnownVolume) -> None:
        """Tell of a volume of the job that is not there."""
        text = (
            f"volume {volume.id} is not at {volume.path}: what it holds counts as stored; mount it, name its new path, "
            f"or give it up with `bucketpull volumes lost {volume.id}`"
        )
        self._monitor.note("warning", "volume.away", text)

    def warn_of_sick(self, error: VolumeSick) -> None:
        """Tell of a volume of the job that cannot be used."""
        self._monitor.note("warning", "volume.sick", f"{error}; until then what it holds counts as stored")

    async def run(self, watchers: Sequence[Watcher]) -> ExitCode:
        """Pull, report, and say how it ended."""
        self._crew.start()
        await self._steering.start()
        try:
            async with watched(watchers, JobPanel(self._coordinator, self._journal, self._monitor)):
                await run_together(self._coordinator, self._worker, self._monitor, self._root, self._settings)
        finally:
            await self._steering.close()
        return conclude(self._settings, self._journal, self._coordinator, self._monitor)
