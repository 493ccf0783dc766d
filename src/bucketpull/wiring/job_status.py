"""Where a job stands: as its coordinator says if one runs, else as its journal and its disks say."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from bucketpull.domain.budget import Prices
from bucketpull.domain.errors import BucketpullError, VolumeError
from bucketpull.domain.eta import Forecast
from bucketpull.domain.messages import Limits
from bucketpull.domain.model import Outstanding, VolumeStatus
from bucketpull.domain.progress import CUT_SHORT, JobState, Rates, Snapshot
from bucketpull.domain.values import parse_reserve
from bucketpull.journal.job_settings import PRICE
from bucketpull.journal.journal_reader import JournalReader, RunNote
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.volumes.packs.folder import usage
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.room import measured
from bucketpull.wiring.absent_volumes import Held, as_absent, held_last, place
from bucketpull.wiring.coordinator_client import local_client

_ANSWER_SECONDS = 3.0


class JobStatus(msgspec.Struct):
    """A job's snapshot, whether it runs now, and its last run (None before the first)."""

    snapshot: Snapshot
    running: bool
    last_run: RunNote | None


def job_status(reader: JournalReader, folder: Path, reserve: str) -> JobStatus:
    """Return where the job stands; a coordinator that does not answer is left out. `reserve` is what volumes keep free, as set."""
    runs = reader.runs(1)
    last = runs[0] if runs else None
    with suppress(BucketpullError):
        client = local_client(folder, _ANSWER_SECONDS)
        if client is not None:
            return JobStatus(client.get("/api/job", Snapshot), True, last)
    return JobStatus(_snapshot(reader, last, reserve), False, last)


def measure(volume: KnownVolume, held: Mapping[str, Held], reserve: str) -> VolumeStatus:
    """Measure one volume, its free bytes above the reserve, as a worker does; where it cannot be read from this machine, see `as_absent`."""
    try:
        reader = open_reader(volume.path or ".", volume.id)
    except VolumeError as error:
        here = volume.machine == socket.gethostname()
        return as_absent(
            volume,
            held,
            error.detail if here else f"it is on {volume.machine or 'a machine that is not known'}",
        )
    status = as_absent(volume, {}, "")
    status.state = volume.state
    try:
        free = os.fstatvfs(reader.root)
        kept = parse_reserve(reserve, free.f_blocks * free.f_frsize)
        status.total_bytes, status.free_bytes, _ = measured(free, kept)
        status.free_inodes, status.total_inodes = free.f_favail, free.f_files
        status.stored_objects, status.stored_bytes = reader.ledger.objects, reader.ledger.size
        status.packs, status.open_packs, status.pack_bytes = usage(reader.root, reader.id)
    finally:
        reader.close()
    return status


def _snapshot(reader: JournalReader, last: RunNote | None, reserve: str) -> Snapshot:
    counters, outstanding = reader.counters(), reader.outstanding()
    outstanding.scans_sent = outstanding.batches_sent = 0
    now = time.time()
    started = last.started if last else now
    ended = last.ended if last and last.ended else now
    configuration = reader.configuration()
    source, prefix = configuration.get("source", ""), configuration.get("prefix", "")
    seconds = _seconds(last)
    listing_done = outstanding.scans == 0 and last is not None
    held = held_last(reader)
    return Snapshot(
        job=reader.job,
        source=f"{source}/{prefix}" if prefix else source,
        state=_state(last, outstanding),
        at=ended,
        started=started,
        seconds=seconds,
        listing_done=listing_done,
        counters=counters,
        outstanding=outstanding,
        rates=_rates(last),
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
    """Return the prices that the last session was given."""
    given = {name: configuration.get(PRICE + name) for name in Prices.__struct_fields__}
    return Prices(**{name: float(price) for name, price in given.items() if price})


def _state(last: RunNote | None, outstanding: Outstanding) -> JobState:
    """Name the state of a job of which no coordinator runs; one that was killed is interrupted too."""
    if last is None:
        return JobState.WAITING
    state = JobState.INTERRUPTED if last.state == "running" else JobState(last.state)
    left = outstanding.scans or outstanding.batches
    return state if not left or state in CUT_SHORT else JobState.INTERRUPTED


def _rates(last: RunNote | None) -> Rates:
    """Return the mean speeds of the last session, as its summary says: the books are those of all sessions."""
    if last is None or not last.summary:
        return Rates()
    rates = msgspec.json.decode(last.summary).get("rates", {})
    return Rates(objects_mean=rates.get("objects_mean", 0.0), bytes_mean=rates.get("bytes_mean", 0.0))


def _seconds(last: RunNote | None) -> float:
    """Return how long the last session took, as its summary says."""
    if last is None or not last.summary:
        return 0.0
    return float(msgspec.json.decode(last.summary).get("seconds", 0.0))
