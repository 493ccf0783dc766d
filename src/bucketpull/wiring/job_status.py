"""Where a job stands: as its coordinator says if one runs, else as its journal and its disks say; and its volumes that no worker has.

The journal knows those; what they held is what the last session told at its end.
"""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Final, Self

import msgspec

from bucketpull.domain.budget import Prices
from bucketpull.domain.errors import BucketpullError, VolumeError
from bucketpull.domain.eta import Forecast
from bucketpull.domain.model import Outstanding
from bucketpull.domain.progress import CUT_SHORT, JobState, Rates, Snapshot
from bucketpull.domain.reserve import DEFAULT_RESERVE, parse_reserve
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits
from bucketpull.journal.database import PRICE, RESERVE
from bucketpull.journal.journal_reader import JournalReader, RunNote
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.volumes.free_space import measured
from bucketpull.volumes.packs.folder import usage
from bucketpull.wiring.journals import source_in

_ANSWER_SECONDS: Final = 3.0
_UNUSED: Final = "no worker uses it: it is not there, or was not named to one"


class JobStatus(msgspec.Struct):
    """A job's snapshot, whether it runs now, its last run (None before the first), and why its coordinator was not heard although there is one."""

    snapshot: Snapshot
    running: bool
    last_run: RunNote | None
    silent: BucketpullError | None = None


class Held(msgspec.Struct):
    """What a volume held, as a summary has it. Sizes in bytes; all is 0 where nobody ever told."""

    id: str = ""
    free_bytes: int = 0
    total_bytes: int = 0
    free_inodes: int = 0
    total_inodes: int = 0
    stored_objects: int = 0
    stored_bytes: int = 0
    packs: int = 0
    open_packs: int = 0
    pack_bytes: int = 0
    kept_bytes: int = 0


class _Summary(msgspec.Struct):
    """What a session left at its end; nothing where it left none, or that was damaged."""

    seconds: float = 0.0
    rates: dict[str, float] = {}
    volumes: list[Held] = []

    @classmethod
    def of(cls, text: str) -> Self:
        try:
            return msgspec.json.decode(text or "{}", type=cls)
        except msgspec.MsgspecError:
            return cls()


def job_status(reader: JournalReader, folder: str) -> JobStatus:
    """Return where the job stands: as its journal has it where its coordinator does not answer."""
    from bucketpull.wiring.coordinator_client import local_client  # not for a job, which asks nobody

    runs = reader.runs(1)
    last = runs[0] if runs else None
    silent = None
    try:
        client = local_client(folder, _ANSWER_SECONDS)
        if client is not None:
            return JobStatus(client.get("/api/job", Snapshot), True, last)
    except BucketpullError as error:
        silent = error
    return JobStatus(_snapshot(reader, last), silent is not None, last, silent)


def measure(volume: KnownVolume, held: Mapping[str, Held], reserve: str) -> VolumeStatus:
    """Measure one volume, its free bytes above the reserve, as a worker does; where it cannot be read from this machine, see `as_absent`.

    `reserve` is that of the job; "" where each worker has its own: what it kept free is known as what it held is.
    """
    from bucketpull.volumes.reader import open_reader  # a job's workers measure their own volumes

    try:
        reader = open_reader(volume.path or ".", volume.id)
    except VolumeError as error:
        elsewhere = f"it is on {volume.machine or 'a machine that is not known'}"
        is_here = volume.machine == socket.gethostname()
        return as_absent(volume, held, error.detail if is_here else elsewhere)
    status = as_absent(volume, {}, "")
    status.state = volume.state
    with closing(reader):
        free = os.fstatvfs(reader.root)
        total = free.f_blocks * free.f_frsize
        is_told = not reserve and volume.id in held
        kept = held[volume.id].kept_bytes if is_told else parse_reserve(reserve or DEFAULT_RESERVE, total)
        space = measured(free, kept)
        status.total_bytes, status.free_bytes = space.total_bytes, space.spare_bytes
        status.kept_bytes = kept
        status.free_inodes, status.total_inodes = free.f_favail, free.f_files
        status.stored_objects, status.stored_bytes = reader.ledger.objects, reader.ledger.size
        packs = usage(reader.root, reader.id)
        status.packs, status.open_packs, status.pack_bytes = packs.packs, packs.open, packs.size
    return status


def _snapshot(reader: JournalReader, last: RunNote | None) -> Snapshot:
    counters, outstanding = reader.counters(), reader.outstanding()
    outstanding.scans_sent = outstanding.batches_sent = 0
    now = time.time()
    started = last.started if last else now
    ended = last.ended if last and last.ended else now
    configuration = reader.configuration()
    summary = _Summary.of(last.summary if last else "")
    listing_done = outstanding.scans == 0 and last is not None
    held, reserve = held_last(reader), configuration.get(RESERVE, "")
    return Snapshot(
        job=reader.job,
        source=source_in(configuration),
        state=_state(last, outstanding),
        at=ended,
        started=started,
        seconds=summary.seconds,
        listing_done=listing_done,
        counters=counters,
        outstanding=outstanding,
        # The mean speeds of that session, and not from the counters: those are of all sessions.
        rates=Rates(
            objects_mean=summary.rates.get("objects_mean", 0.0),
            bytes_mean=summary.rates.get("bytes_mean", 0.0),
        ),
        estimate=Forecast(None).estimate(counters, outstanding, listing_done),
        machines=[],
        volumes=sorted((measure(volume, held, reserve) for volume in reader.volumes()), key=place),
        retries=counters.retries,
        failures=counters.failures,
        limits=Limits(),
        limited_by="",
        notes=[],
        spent=reader.spending(),
        prices=_prices(configuration),
    )


def _prices(configuration: Mapping[str, str]) -> Prices:
    given = {name: configuration.get(PRICE + name) for name in Prices.__struct_fields__}
    return Prices(**{name: float(price) for name, price in given.items() if price})


def _state(last: RunNote | None, outstanding: Outstanding) -> JobState:
    """Name the state of a job of which no coordinator runs; one that was killed is interrupted, one that got work since its end incomplete."""
    if last is None:
        return JobState.WAITING
    state = JobState.INTERRUPTED if last.state == "running" else JobState(last.state)
    return state if not outstanding.is_some or state in CUT_SHORT else JobState.INCOMPLETE


# --- volumes that no worker has


def place(volume: VolumeStatus) -> tuple[str, str]:
    """Return by what volumes are put in order: machine and path."""
    return volume.machine, volume.path


def absent_volumes(reader: JournalReader) -> list[VolumeStatus]:
    """Return all volumes of a job, each as it is shown while no worker has it."""
    volumes = reader.volumes()
    held = held_last(reader) if volumes else {}
    return [as_absent(volume, held, _UNUSED) for volume in volumes]


def held_last(reader: JournalReader) -> dict[str, Held]:
    """Return what the volumes held, by id, as the last session that ended in order told."""
    summary = _Summary.of(next((run.summary for run in reader.runs() if run.summary), ""))
    return {held.id: held for held in summary.volumes}


def as_absent(volume: KnownVolume, held: Mapping[str, Held], detail: str) -> VolumeStatus:
    """Return a volume as away, unless it is lost or was sick, with what it held; `detail` says why nobody has it."""
    stays = volume.state in {VolumeState.LOST, VolumeState.SICK}
    return VolumeStatus(
        **msgspec.structs.asdict(held.get(volume.id) or Held(volume.id)),
        machine=volume.machine,
        path=volume.path,
        state=volume.state if stays else VolumeState.AWAY,
        detail="" if volume.state is VolumeState.LOST else detail,
    )
