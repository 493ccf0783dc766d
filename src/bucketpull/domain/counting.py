"""Counts: in words (`1 object`, `1,234 objects`), and by name, added up and compared."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

_ONE: Final = {"are": "is", "were": "was", "have": "has", "come": "comes"}
_PLURAL: Final = r"(?i)(?<=[a-z]{2})(?:ies|(?<!s)s|(?<=ss)es)$"


def counted(number: int, things: str) -> str:
    """Write a number and what it counts, which is given in the plural, with its verb where it has one: `1 file was`, `2,000 files were`."""
    return f"{number:,} {one(things) if number == 1 else things}"


def one(things: str) -> str:
    """Return the singular of regular nouns, and of the verbs that follow them."""
    return " ".join(_ONE.get(word) or re.sub(_PLURAL, _singular, word) for word in things.split(" "))


def _singular(end: re.Match[str]) -> str:
    return "y" if end[0].lower() == "ies" else ""


# --- by name


def add_counts(mine: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counts to those that are there."""
    for name, count in more.items():
        mine[name] = mine.get(name, 0) + count


def summed_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Return the sum of counts."""
    total = Counter[str]()
    for part in counts:
        total.update(part)
    return total


def growth(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return what counts have grown by since they were looked at before, of those that have."""
    return {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
