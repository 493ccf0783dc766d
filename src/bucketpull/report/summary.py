"""A job as lines of text: the one that says where it stands, the summary at its end, and what `status` and `volumes` print. Their texts are in `report/words.py`."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Final

from bucketpull.domain.progress import ENDED, STANDING, Estimate, JobState, Rates, Snapshot
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.report import figures, times
from bucketpull.report.document import (
    endpoints_of,
    endpoints_waited_for,
    exit_code_of,
    exit_words_of,
    waited_for,
)
from bucketpull.report.events import state_of
from bucketpull.report.printable import columns, fitted, label, printable, table
from bucketpull.report.words import Words

_NO_BREAK: Final = "\xa0"
_KEY_COLUMNS = 48
WIDEST = 139  # columns; a Chinese character takes two, and a time before the line 20


def progress_line(snapshot: Snapshot, words: Words) -> str:
    """Say where the job stands in one line below 140 columns; the least important parts give way."""
    books, rates, estimate = snapshot.counters, snapshot.rates, snapshot.estimate
    parts = [words("state." + snapshot.state)]
    if snapshot.state == JobState.STARTING:
        return parts[0]  # the books have not been opened yet
    if estimate.knows_share:
        parts[0] += f" {figures.percent(estimate.share)}"
    parts.append(
        f"{words('stored')} {figures.count(books.stored)}"
        f" ({figures.speed(rates.objects_now)}, {figures.size(rates.bytes_now)}/s)"
    )
    parts.extend(
        f"{words(name)} {figures.count(number)}"
        for name, number in (("failed", books.failed), ("skipped", books.skipped))
        if number
    )
    waiting = waiting_text(snapshot, words)
    if waiting:
        parts.append(waiting)
    # Why the job stands still gives way to nothing.
    parts.insert(1 if endpoints_waited_for(snapshot) else len(parts), time_left(snapshot, words))
    if not snapshot.listing_done:
        parts.append(words("more", figures.count(books.listed)))
    if snapshot.limited_by:
        parts.append(limit_text(snapshot, words))
    if any(snapshot.retries.values()):
        parts.append(f"{words('retries')} {by_reason(snapshot.retries)}")
    between = words("semicolon")
    while len(parts) > 2 and columns(between.join(parts)) > WIDEST:
        parts.pop()
    return between.join(parts)


def summary_lines(snapshot: Snapshot, words: Words) -> list[str]:
    """Return the summary as plain lines of at most 110 columns, unless a path is longer."""
    code = exit_code_of(snapshot)
    state = words("state." + snapshot.state)
    lines = [words("state_of", state, snapshot.source), *books_lines(snapshot, words)]
    lines += [time_line(snapshot, words), *spent_lines(snapshot, words), *_volumes(snapshot, words)]
    if snapshot.counters.duplicates:
        lines.append(f"  {label(words('duplicates'))}{figures.count(snapshot.counters.duplicates)}")
    counted = (
        ("retries", snapshot.retries),
        ("doubts", snapshot.counters.doubts),
        ("failures", snapshot.failures),
    )
    for name, counts in counted:
        lines += _reason_lines(name, counts, words)
    return lines + _before_remedy("  " + words("exit", int(code), words(exit_words_of(snapshot))), words)


def _before_remedy(text: str, words: Words) -> list[str]:
    """Break a line before what is to be done where it is wider than 80 columns."""
    what, mark, remedy = text.partition(words("semicolon"))
    return [what + mark.rstrip(), f"    {remedy}"] if remedy and columns(text) > 80 else [text]


def by_reason(counts: dict[str, int], form: Callable[[float], str] = figures.count) -> str:
    """Write counts by reason, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {form(number)}" for reason, number in ordered if number)


def _reason_lines(
    name: str, counts: dict[str, int], words: Words, form: Callable[[float], str] = figures.count
) -> list[str]:
    """Write counts by reason behind their name, in lines of at most 80 columns; none where nothing is counted."""
    together = by_reason(counts, form).replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")
    lines = textwrap.wrap(together, 64, break_long_words=False, break_on_hyphens=False)
    return [
        f"  {label(words(name) if number == 0 else '')}{line.replace(_NO_BREAK, ' ')}"
        for number, line in enumerate(lines)
    ]


def books_lines(snapshot: Snapshot, words: Words) -> list[str]:
    """Return the books as an addition, one term a line."""
    books = snapshot.counters
    rows = [
        ("  ", "listed", books.listed, books.listed_bytes),
        ("= ", "stored", books.stored, books.bytes),
        ("+ ", "skipped", books.skipped, books.skipped_bytes),
        *([("+ ", "excluded", books.excluded, None)] if books.excluded else []),
        ("+ ", "failed", books.failed, None),
        ("+ ", "vanished", books.vanished, None),
    ]
    if snapshot.outstanding.objects:
        rows.append(("+ ", "outstanding", snapshot.outstanding.objects, snapshot.outstanding.bytes))
    lines = [
        f"  {sign}{label(words(name), 12)}{figures.count(objects):>15}"
        + (f"{figures.size(amount):>12}" if amount is not None else "")
        for sign, name, objects, amount in rows
    ]
    accounted = sum(row[2] for row in rows[1:])
    if accounted != books.listed:
        lines.append("  ! " + words("unbalanced", figures.count(books.listed), figures.count(accounted)))
    # Before the end there are those of earlier runs.
    if snapshot.state is JobState.INCOMPLETE and books.unlisted > 0:
        lines.append("  ! " + words("unlisted", figures.count(books.unlisted)))
    return lines


def time_line(snapshot: Snapshot, words: Words) -> str:
    """Return the time that the session took, and its mean speeds."""
    books, rates = snapshot.counters, snapshot.rates
    parts = [times.elapsed(snapshot.seconds, words.language)] if snapshot.seconds else []
    if rates.objects_mean:
        parts += [figures.speed(rates.objects_mean), f"{figures.size(rates.bytes_mean)}/s"]
    parts += [
        words("directories", figures.count(books.directories)),
        words("pages", figures.count(books.pages)),
    ]
    return f"  {label(words('time'))}{words('comma').join(parts)}"


def spent_lines(snapshot: Snapshot, words: Words) -> list[str]:
    """Return what all runs of the job used: traffic, how much of it was wasted, and the cost if there is a price."""
    spent, cost = snapshot.spent, snapshot.cost
    if not spent.requests:
        return []
    traffic = words("spent", figures.size(spent.bytes), figures.count(spent.requests))
    lines = [f"  {label(words('traffic'))}{traffic}"]
    lines += _reason_lines("wasted", spent.wasted, words, figures.size)
    if cost is not None:
        lines.append(f"  {label(words('cost'))}{figures.money(cost)}")
    return lines


def _volumes(snapshot: Snapshot, words: Words) -> list[str]:
    lines = []
    several = len({volume.machine for volume in snapshot.volumes}) > 1  # the machines themselves have left
    for index, volume in enumerate(snapshot.volumes):
        where = f"{volume.machine}:{volume.path}" if several else volume.path
        state = words("volume." + volume.state)
        if volume.total_bytes:
            state += (
                f"  {words('free')} {figures.size(volume.free_bytes)}"
                f"  {words('holds')} {figures.count(volume.stored_objects)} ({figures.size(volume.stored_bytes)})"
            )
        line = f"  {label(words('volumes') if index == 0 else '')}{where}"
        together = f"{line}  {state}"
        lines += [together] if columns(together) <= 80 else [line, f"  {label('')}{state}"]
    return lines


def waiting_text(snapshot: Snapshot, words: Words) -> str:
    """Say which object is waited for, its key shortened, for how long, and for how long at most; "" where objects end."""
    key, *seconds = waited_for(snapshot)
    if not key:
        return ""
    key = fitted(printable(key), _KEY_COLUMNS)
    still, most = (times.duration(each, words.language) for each in seconds)
    return words("waiting_for.most", key, still, most) if seconds[1] else words("waiting_for", key, still)


def time_left(snapshot: Snapshot, words: Words) -> str:
    """Say how long the job will take, with its band where that is wider than a tenth; or what it waits for."""
    if snapshot.state in ENDED:
        return words("left.ending")
    if snapshot.state in STANDING:
        if snapshot.state is JobState.NO_BROKER:
            return words("left.no_broker", times.duration(snapshot.unheard_seconds, words.language))
        return words("left.standing")
    if snapshot.waits_for:
        return words("left.machine", words("comma").join(snapshot.waits_for))
    if snapshot.outstanding.again_at > snapshot.at:
        wait = snapshot.outstanding.again_at - snapshot.at
        return words("left.again", times.duration(wait, words.language))
    return _source_waited_for(snapshot, words) or _estimated(snapshot.estimate, words)


def _source_waited_for(snapshot: Snapshot, words: Words) -> str:
    """Say for which endpoints the job waits, and since when; "" for none."""
    waited = [
        f"{name}{state_of(name, status, snapshot.machines, words)}"
        for name, status in sorted(endpoints_waited_for(snapshot).items())
    ]
    return words("left.source", words("comma").join(waited)) if waited else ""


def _estimated(estimate: Estimate, words: Words) -> str:
    if estimate.seconds is None:
        return words("left.unknown")
    text = times.duration(estimate.seconds, words.language)
    if estimate.low is None or estimate.high is None:
        return words("left.least", text)
    if estimate.high - estimate.low <= 0.1 * estimate.seconds:
        return words("left", text)
    low, high = (times.duration(value, words.language) for value in (estimate.low, estimate.high))
    return words("left", words("left.band", text, low, high) if low != high else text)


def status_lines(snapshot: Snapshot, words: Words, *, running: bool) -> list[str]:
    """Return where a job stands, as plain lines."""
    state = words("state." + snapshot.state)
    lines = [f"{snapshot.job}  {snapshot.source}  {state}", *books_lines(snapshot, words)]
    lines += _speeds(snapshot, words) if running else [time_line(snapshot, words)]
    lines += spent_lines(snapshot, words)
    for name, counts in (("retries", snapshot.retries), ("failures", snapshot.failures)):
        lines += _reason_lines(name, counts, words)
    if snapshot.volumes:
        lines += ["", *volume_lines(snapshot.volumes, words)]
    if not running:
        lines += ["", *_before_remedy(words(_rest_words(snapshot)), words)]
    return lines


def _rest_words(snapshot: Snapshot) -> str:
    """Return by which name `words` tells why a job does not run."""
    if snapshot.state is JobState.WAITING:
        return "never_run"
    if snapshot.state is JobState.INCOMPLETE and snapshot.outstanding.is_some:
        return "work_left"
    return exit_words_of(snapshot)


def speed_texts(rates: Rates, words: Words) -> tuple[str, str]:
    """Return the speeds now, and the mean ones."""
    now = f"{figures.speed(rates.objects_now)}  {figures.size(rates.bytes_now)}/s"
    return now, f"{words('mean')} {figures.speed(rates.objects_mean)}  {figures.size(rates.bytes_mean)}/s"


def limit_text(snapshot: Snapshot, words: Words) -> str:
    """Say what holds the job back; "" where nothing does."""
    return words("limited", words("limit." + snapshot.limited_by)) if snapshot.limited_by else ""


def _speeds(snapshot: Snapshot, words: Words) -> list[str]:
    lines = [f"  {label(words('speed'))}{'  '.join(speed_texts(snapshot.rates, words))}"]
    if snapshot.stages:
        rows = [
            tuple(words(f"stage.{name}") for name in snapshot.stages),
            tuple(figures.count(stage.objects) for stage in snapshot.stages.values()),
            tuple(figures.speed(stage.per_second) for stage in snapshot.stages.values()),
        ]
        head, *rest = table(rows, numbers=range(len(snapshot.stages)))
        lines += [f"  {label(words('stages'))}{head}", *(f"  {label('')}{line}" for line in rest)]
    endpoints = "  ".join(
        f"{name} {endpoint.in_flight}{state_of(name, endpoint, snapshot.machines, words)}"
        for name, endpoint in sorted(endpoints_of(snapshot).items())
    )
    if endpoints:
        lines.append(f"  {label(words('in_flight'))}{endpoints}  {limit_text(snapshot, words)}".rstrip())
    share = f"{figures.percent(snapshot.estimate.share)}  " if snapshot.estimate.total_bytes else ""
    waiting = waiting_text(snapshot, words)
    lines += [f"  {label('')}{waiting}"] if waiting else []
    return [*lines, f"  {label(words('time'))}{share}{time_left(snapshot, words)}"]


def volume_lines(volumes: Sequence[VolumeStatus], words: Words) -> list[str]:
    """Return the volumes as a table."""
    head = ("id", "state", "free", "inodes", "objects", "bytes", "volume")
    rows = [tuple(words(name) for name in head)]
    machines = {volume.machine for volume in volumes}
    unseen = [volume for volume in volumes if not volume.total_bytes and volume.state is not VolumeState.LOST]
    for volume in volumes:
        seen = volume.total_bytes > 0
        none = "?" if volume in unseen else "-"
        where = f"{volume.machine}:{volume.path}" if len(machines) > 1 else volume.path
        rows.append(
            (
                volume.id,
                words("volume." + volume.state),
                figures.size(volume.free_bytes) if seen else none,
                figures.short(volume.free_inodes) if volume.total_inodes else none,
                figures.count(volume.stored_objects) if seen else none,
                figures.size(volume.stored_bytes) if seen else none,
                where or "-",
            )
        )
    lines = table(rows, numbers={2, 3, 4, 5})
    details = [f"  {volume.id}: {words.message(volume.detail)}" for volume in volumes if volume.detail]
    if unseen:
        details.append(f"  {words('volumes.unknown')}")
    return [*lines, *(_packs(volume, words) for volume in volumes if volume.packs), *details]


def _packs(volume: VolumeStatus, words: Words) -> str:
    packs, still_open = figures.count(volume.packs), figures.count(volume.open_packs)
    return f"  {volume.id}: {words('packs', packs, figures.size(volume.pack_bytes), still_open)}"
