"""In which order a job fetches what is listed: prefixes first, then by date or size. A rank is a number; the least goes first.

Only what is listed can be put in order. Nothing is sorted as a whole: a batch has a rank, and the journal finds the batches of the
least rank by an index, however many there are.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import Part, bytes_of, key_of

WORDS: Final = ("newest", "oldest", "smallest", "largest")
_BY_DATE: Final = frozenset({"newest", "oldest"})
_HOUR: Final = 3600
_MOST: Final = 1 << 40  # hours and sizes are below


class Order(msgspec.Struct, array_like=True, frozen=True):
    """`by` is one of `WORDS`, or ""; keys of the first of the `prefixes` go before those of the second, and so on."""

    by: str = ""
    prefixes: tuple[bytes, ...] = ()

    @property
    def is_any(self) -> bool:
        """Whether all orders will do."""
        return not self.by and not self.prefixes

    def of_directory(self, directory: bytes) -> int:
        """Return the rank of listing a directory: prefixes lie below it, or it lies below a prefix."""
        return self._of_prefix(lambda prefix: _leads(directory, prefix)) * _MOST

    def of_batch(self, parts: Sequence[Part]) -> int:
        """Return the rank of a batch: that of its foremost object."""
        if self.is_any:
            return 0
        within = self._of_prefix(lambda prefix: any(_holds(part, prefix) for part in parts))
        return within * _MOST + min((self._of_part(part) for part in parts if part.names), default=0)

    def place_of(self, rank: int) -> int:
        """Return which prefix a rank stands for, counted from 0; that of everything else is their number."""
        return rank // _MOST

    def leading(self, parts: Sequence[Part]) -> tuple[int, list[Part], int]:
        """Return the place of a batch's foremost prefix, the batch with this prefix's objects first, and how many these are."""
        places = [[self._of_key(key_of(part.directory, name)) for name in part.names] for part in parts]
        least = min((place for of_part in places for place in of_part), default=len(self.prefixes))
        first: list[Part] = []
        rest: list[Part] = []
        for part, of_part in zip(parts, places, strict=True):
            indexes = [index for index, place in enumerate(of_part) if place == least]
            others = [index for index, place in enumerate(of_part) if place != least]
            first += [part.take(indexes)] if indexes else []
            rest += [part.take(others)] if others else []
        return least, first + rest, sum(len(part.names) for part in first)

    def arranged(self, part: Part) -> list[int]:
        """Return the indexes of a part's objects, the foremost first, so that they share batches."""
        indexes = list(range(len(part.names)))
        if self.by:
            column, sign = self._column(part), _sign(self.by)
            indexes.sort(key=lambda index: _place(column[index], sign))
        inside = key_of(part.directory, b"")
        if any(len(prefix) > len(inside) and prefix.startswith(inside) for prefix in self.prefixes):
            indexes.sort(key=lambda index: self._of_key(inside + part.names[index]))
        return indexes

    def _column(self, part: Part) -> Sequence[int]:
        return part.mtimes if self.by in _BY_DATE else part.sizes

    def _of_key(self, key: bytes) -> int:
        return self._of_prefix(key.startswith)

    def _of_prefix(self, fits: Callable[[bytes], bool]) -> int:
        return next((rank for rank, prefix in enumerate(self.prefixes) if fits(prefix)), len(self.prefixes))

    def _of_part(self, part: Part) -> int:
        if not self.by:
            return 0
        values: Iterable[int] = self._column(part)
        if self.by in _BY_DATE:
            values = (value // _HOUR for value in values)
        else:
            values = (max(value, 0).bit_length() if value >= 0 else -1 for value in values)
        return min(_place(value, _sign(self.by)) for value in values)


ANY: Final = Order()


def parse_order(text: str) -> Order:
    """Read `newest`, `2024/,2023/` or `2024/,newest`. A prefix has a slash, so that a misspelt word is not taken for one.

    Raises ConfigError at two words, an unknown one, or nothing between two commas.
    """
    items = [item.strip() for item in text.split(",")]
    words = [item for item in items if item in WORDS]
    if len(words) > 1 or "" in items:
        raise ConfigError(
            f"--first {text!r}: write one of {', '.join(WORDS)}, or prefixes such as 2024/,2023/"
        )
    unknown = next((item for item in items if item not in WORDS and "/" not in item), None)
    if unknown is not None:
        raise ConfigError(
            f"--first {unknown!r}: is none of {', '.join(WORDS)}, and has no slash as a prefix has; "
            f"write {unknown}/, or /{unknown} for all keys that begin so"
        )
    prefixes = tuple(bytes_of(item.lstrip("/")) for item in items if item not in WORDS)
    return Order(words[0] if words else "", prefixes)


def _leads(directory: bytes, prefix: bytes) -> bool:
    inside = directory + b"/" if directory else b""
    return inside.startswith(prefix) or prefix.startswith(inside)


def _holds(part: Part, prefix: bytes) -> bool:
    if not _leads(part.directory, prefix):
        return False
    inside = key_of(part.directory, b"")
    return inside.startswith(prefix) or any(
        key_of(part.directory, name).startswith(prefix) for name in part.names
    )


def _sign(by: str) -> int:
    return -1 if by in {"newest", "largest"} else 1


def _place(value: int, sign: int) -> int:
    """Return a place from 0 on; what is not known (-1) comes last."""
    if value < 0:
        return _MOST - 1
    return min(max(value if sign > 0 else (_MOST >> 1) - value, 0), _MOST - 2)
