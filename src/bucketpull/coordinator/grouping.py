"""Receipts in groups of which each is one transaction of the journal."""

from collections.abc import Iterable

from bucketpull.domain.messages import BatchReceipt, Handback, ScanReceipt

Entry = ScanReceipt | BatchReceipt | Handback


def once_each(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Group messages, in their order, so that none names work that another of its group names: one may count and the other not."""
    groups: list[list[Entry]] = []
    seen: set[int] = set()
    for entry in entries:
        works = set(entry.works) if isinstance(entry, Handback) else {entry.work}
        if not groups or works & seen:
            groups.append([])
            seen = set()
        groups[-1].append(entry)
        seen |= works
    return groups
