"""The end of a job in words: the books, reconciled, and what the exit code means."""

from collections.abc import Callable

from bucketpull.domain.progress import Snapshot
from bucketpull.report import figures
from bucketpull.report.document import exit_code_of
from bucketpull.report.words import Words


def summary_lines(snapshot: Snapshot, words: Words) -> list[str]:
    """Return the summary as plain lines of at most 110 columns, unless a path is longer."""
    code = exit_code_of(snapshot)
    lines = [f"{words('state.' + snapshot.state)}: {snapshot.source}", *books_lines(snapshot, words)]
    lines += [time_line(snapshot, words), *spent_lines(snapshot, words), *_volumes(snapshot, words)]
    if snapshot.counters.duplicates:
        lines.append(f"  {label(words('duplicates'))}{figures.count(snapshot.counters.duplicates)}")
    counted = (
        ("retries", snapshot.retries),
        ("doubts", snapshot.counters.doubts),
        ("failures", snapshot.failures),
    )
    for name, counts in counted:
        if any(counts.values()):
            lines.append(f"  {label(words(name))}{by_reason(counts)}")
    lines.append("  " + words("exit", int(code), words(f"exit.{int(code)}")))
    return lines


def by_reason(counts: dict[str, int], form: Callable[[float], str] = figures.count) -> str:
    """Write counts by reason, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {form(number)}" for reason, number in ordered if number)


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
    return lines


def time_line(snapshot: Snapshot, words: Words) -> str:
    """Return the time that the session took, and its mean speeds."""
    books, rates = snapshot.counters, snapshot.rates
    parts = [figures.elapsed(snapshot.seconds, words.language)] if snapshot.seconds else []
    if rates.objects_mean:
        parts += [figures.speed(rates.objects_mean), f"{figures.size(rates.bytes_mean)}/s"]
    parts += [
        f"{figures.count(books.directories)} {words('directories')}",
        f"{figures.count(books.pages)} {words('pages')}",
    ]
    return f"  {label(words('time'))}{', '.join(parts)}"


def spent_lines(snapshot: Snapshot, words: Words) -> list[str]:
    """Return what all runs of the job used: traffic, what of it was for nothing, and money where it has a price."""
    spent, cost = snapshot.spent, snapshot.cost
    if not spent.requests:
        return []
    traffic = words("spent", figures.size(spent.bytes), figures.count(spent.requests))
    lines = [f"  {label(words('traffic'))}{traffic}"]
    if any(spent.wasted.values()):
        lines.append(f"  {label(words('wasted'))}{by_reason(spent.wasted, figures.size)}")
    if cost is not None:
        lines.append(f"  {label(words('cost'))}{figures.money(cost)}")
    return lines


def _volumes(snapshot: Snapshot, words: Words) -> list[str]:
    lines = []
    for index, volume in enumerate(snapshot.volumes):
        where = f"{volume.machine}:{volume.path}" if len(snapshot.machines) > 1 else volume.path
        text = (
            f"{where}  {words('volume.' + volume.state)}  {words('free')} {figures.size(volume.free_bytes)}"
            f"  {words('holds')} {figures.count(volume.stored_objects)} ({figures.size(volume.stored_bytes)})"
        )
        lines.append(f"  {label(words('volumes') if index == 0 else '')}{text}")
    return lines


def label(text: str, width: int = 14) -> str:
    """Pad to a width in columns; a Chinese character takes two."""
    columns = sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)
    return text + " " * max(1, width - columns)
