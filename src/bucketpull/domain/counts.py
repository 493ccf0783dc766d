"""Counts by reason."""

from collections import Counter
from collections.abc import Iterable, Mapping


def merge(mine: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts to those that are there."""
    for reason, count in more.items():
        mine[reason] = mine.get(reason, 0) + count


def summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts."""
    total = Counter[str]()
    for part in counts:
        total.update(part)
    return total
