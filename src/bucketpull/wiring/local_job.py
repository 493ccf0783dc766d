"""`sync`: coordinator, worker and reporters in one process, with downloaders beside it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ExitCode, VolumeSick
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.transport.local import DirectTransport
from bucketpull.volumes.volume import DiskVolume
from bucketpull.wiring.job import (
    DashboardOpener,
    Job,
    Opening,
    agent_parameters,
    check_job,
    coordinator_parameters,
    opened,
)
from bucketpull.wiring.notifier import Notifier
from bucketpull.wiring.selected_source import selection_digest
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import (
    check_owners,
    check_paths,
    known_paths,
    open_all,
    owner_of,
    with_known,
)

_UNCOMPARED: Final = (
    "files that are there already are taken over by size and date alone: nobody has compared their content"
)


def run_sync(
    settings: Settings,
    open_dashboard: DashboardOpener | None = None,
    notifier: Notifier | None = None,
    *,
    alone: bool = False,
    linger: Callable[[ExitCode], Awaitable[None]] | None = None,
) -> ExitCode:
    """Pull the bucket; return how it ended. `alone`: onto the given volumes only, not the job's others too.

    `linger` is waited for when all has been told, before the dashboard and the journal are closed.

    Raises BucketpullError where it could not begin, and nothing was written.
    """
    paths = check_paths(settings.volumes)
    check_job(settings, paths)
    check_owners(settings, paths)
    with opened(settings) as opening:
        known, machine = opening.journal.volumes(), settings.machine_name()
        paths, away = (paths, []) if alone else with_known(paths, known, machine)
        sick: list[VolumeSick] = []
        owner = owner_of(opening.journal.id, opening.source)
        volumes = open_all(paths, known_paths(known, machine), settings, owner, sick.append)
        warnings = [*_of_absent(sick, away), *_of_new(volumes, known, opening.journal.counters().stored)]
        if settings.adopt == "date":
            warnings.append(("adopt.date", _UNCOMPARED))
        # What was lost is wanted, whatever was chosen.
        selection = None if alone else selection_digest(settings)
        return asyncio.run(
            _sync(settings, opening, volumes, warnings, selection, open_dashboard, notifier, linger)
        )


async def _sync(
    settings: Settings,
    opening: Opening,
    volumes: Sequence[DiskVolume],
    warnings: Sequence[tuple[str, str]],
    selection: str | None,
    open_dashboard: DashboardOpener | None,
    notifier: Notifier | None,
    linger: Callable[[ExitCode], Awaitable[None]] | None,
) -> ExitCode:
    machine = settings.machine_name()
    transport = DirectTransport()
    job = Job(
        settings, opening, transport, coordinator_parameters(settings, machine, selection), machine, notifier
    )
    for event, text in warnings:
        job.monitor.note("warning", event, text)
    parameters = agent_parameters(
        settings, opening.journal.id, machine, opening.endpoints, is_last_resort=True
    )
    async with job.with_dashboard(open_dashboard):
        await job.run(transport.inbox, parameters, volumes)
        code = job.conclude()
        if linger is not None:
            await linger(code)
    return code


def _of_new(
    volumes: Sequence[DiskVolume], known: Sequence[KnownVolume], stored: int
) -> list[tuple[str, str]]:
    """Say of new disks that stored objects are not moved to them: a full disk stays full."""
    ids = {each.id for each in known}
    others = ", ".join(each.path or each.id for each in known)
    there = f"is new to this job: {counted(stored, 'objects')} are on {others} already and stay there"
    return [
        ("volume.new", f"volume {volume.path} {there}, so only what is not stored yet comes here")
        for volume in volumes
        if stored and ids and volume.id not in ids
    ]


def _of_absent(sick: Sequence[VolumeSick], away: Sequence[KnownVolume]) -> Iterator[tuple[str, str]]:
    for error in sick:
        yield "volume.sick", f"{error}; until then what it holds counts as stored"
    for volume in away:
        text = (
            f"volume {volume.id} is not at {volume.path}: what it holds counts as stored, and is fetched again where listed pages "
            f"changed; mount it, name its new path, or give it up with `bucketpull volumes lost {volume.id}`"
        )
        yield "volume.away", text
