"""The line that says where a job stands: on a terminal without a live display, in a log file, and in `systemctl status`."""

from bucketpull.domain.progress import Snapshot
from bucketpull.report import figures
from bucketpull.report.document import waited_for
from bucketpull.report.summary import by_reason, time_left
from bucketpull.report.text_tables import columns
from bucketpull.report.words import Words

WIDEST = 139  # columns; a Chinese character takes two, and a time before the line 20


def progress_line(snapshot: Snapshot, words: Words) -> str:
    """Say where the job stands in one line below 140 columns; the least important parts give way."""
    books, rates, estimate = snapshot.counters, snapshot.rates, snapshot.estimate
    parts = [words("state." + snapshot.state)]
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
    key, still = waited_for(snapshot)
    if key:
        parts.append(words("waiting_for", key, figures.duration(still, words.language)))
    parts.append(time_left(snapshot, words))
    if not snapshot.listing_done:
        parts.append(words("more", figures.count(books.listed)))
    if snapshot.limited_by:
        parts.append(words("limited", words("limit." + snapshot.limited_by)))
    if any(snapshot.retries.values()):
        parts.append(f"{words('retries')} {by_reason(snapshot.retries)}")
    while len(parts) > 2 and columns("; ".join(parts)) > WIDEST:
        parts.pop()
    return "; ".join(parts)
