"""`status` and `volumes` in words: a snapshot of a job that runs or does not, at 80 columns."""

from collections.abc import Sequence

from bucketpull.domain.model import VolumeStatus
from bucketpull.domain.progress import JobState, Snapshot
from bucketpull.report import figures
from bucketpull.report.document import endpoints_of, exit_code_of
from bucketpull.report.endpoints import state_of
from bucketpull.report.lines import time_left
from bucketpull.report.summary import books_lines, by_reason, label, spent_lines, time_line
from bucketpull.report.tables import short, table
from bucketpull.report.words import Words


def status_lines(snapshot: Snapshot, words: Words, *, running: bool) -> list[str]:
    """Return where a job stands, as plain lines."""
    state = words("state." + snapshot.state)
    lines = [f"{snapshot.job}  {snapshot.source}  {state}", *books_lines(snapshot, words)]
    lines += _speeds(snapshot, words) if running else [time_line(snapshot, words)]
    lines += spent_lines(snapshot, words)
    for name, counts in (("retries", snapshot.retries), ("failures", snapshot.failures)):
        if any(counts.values()):
            lines.append(f"  {label(words(name))}{by_reason(counts)}")
    if snapshot.volumes:
        lines += ["", *volume_lines(snapshot.volumes, words)]
    if not running:
        code = int(exit_code_of(snapshot))
        lines += ["", words(f"exit.{code}") if snapshot.state != JobState.WAITING else words("never_run")]
    return lines


def _speeds(snapshot: Snapshot, words: Words) -> list[str]:
    rates = snapshot.rates
    now = f"{figures.speed(rates.objects_now)}  {figures.size(rates.bytes_now)}/s"
    mean = f"{words('mean')} {figures.speed(rates.objects_mean)}  {figures.size(rates.bytes_mean)}/s"
    lines = [f"  {label(words('speed'))}{now}  {mean}"]
    if snapshot.stages:
        rows = [
            tuple(words(f"stage.{name}") for name in snapshot.stages),
            tuple(figures.count(stage.objects) for stage in snapshot.stages.values()),
            tuple(figures.speed(stage.per_second) for stage in snapshot.stages.values()),
        ]
        head, *rest = table(rows, numbers=range(len(snapshot.stages)))
        lines += [f"  {label(words('stages'))}{head}", *(f"  {label('')}{line}" for line in rest)]
    endpoints = "  ".join(
        f"{name} {endpoint.in_flight}{state_of(endpoint, words)}"
        for name, endpoint in sorted(endpoints_of(snapshot).items())
    )
    limit = words("limited", words("limit." + snapshot.limited_by)) if snapshot.limited_by else ""
    if endpoints:
        lines.append(f"  {label(words('in_flight'))}{endpoints}  {limit}".rstrip())
    share = f"{figures.percent(snapshot.estimate.share)}  " if snapshot.estimate.total_bytes else ""
    return [*lines, f"  {label(words('time'))}{share}{time_left(snapshot, words)}"]


def volume_lines(volumes: Sequence[VolumeStatus], words: Words) -> list[str]:
    """Return the volumes as a table."""
    head = ("id", "state", "free", "inodes", "objects", "bytes", "volume")
    rows = [tuple(words(name) for name in head)]
    machines = {volume.machine for volume in volumes}
    for volume in volumes:
        seen = volume.total_bytes > 0
        where = f"{volume.machine}:{volume.path}" if len(machines) > 1 else volume.path
        rows.append(
            (
                volume.id,
                words("volume." + volume.state),
                figures.size(volume.free_bytes) if seen else "?",
                short(volume.free_inodes) if volume.total_inodes else "-",
                figures.count(volume.stored_objects) if seen else "?",
                figures.size(volume.stored_bytes) if seen else "?",
                where or "?",
            )
        )
    lines = table(rows, numbers={2, 3, 4, 5})
    details = [f"  {volume.id}: {volume.detail}" for volume in volumes if volume.detail]
    return [*lines, *(_packs(volume, words) for volume in volumes if volume.packs), *details]


def _packs(volume: VolumeStatus, words: Words) -> str:
    packs, still_open = figures.count(volume.packs), figures.count(volume.open_packs)
    return f"  {volume.id}: {words('packs', packs, figures.size(volume.pack_bytes), still_open)}"
