"""How far the names of a listing go, found by a dozen questions "what is the first name after this one?".

S3 lists forwards only. So the first column in which names still differ is looked for, by halving; then the largest character of
that column. What is found need not be the last name: it is a border behind which nothing lies.
"""

from itertools import chain

import msgspec

from bucketpull.domain.key_ranges import shared_length

TOP = chr(0x10FFFF).encode()
"""Sorts after every other character."""

_ASCII_END = 0x7E


class Search(msgspec.Struct, array_like=True, frozen=True):
    """A search in progress. `low` is the largest name known.

    Nothing lies behind `low[:column] + TOP`, and names are known to differ in the byte before `varying`. When both meet, that
    column's characters are searched: one after code point `least` is not known to occur, none after `most` does.
    """

    low: bytes
    column: int
    varying: int
    least: int = -1
    most: int = 0x10FFFF
    is_ascii_asked: bool = False

    @property
    def question(self) -> bytes:
        """The name after which the next one is asked for."""
        if self._is_column_known:
            return self._with(self._middle)
        return self.low[: _between(self.low, self.column, self.varying)] + TOP

    @property
    def is_done(self) -> bool:
        """Whether `end` is found."""
        return self._is_column_known and self.least >= self.most

    @property
    def end(self) -> bytes:
        """A border behind which nothing lies."""
        return self._with(self.most)

    def answered(self, name: bytes | None) -> "Search":
        """Take the first name after the question; None if there is none."""
        search = self._character(name) if self._is_column_known else self._narrowed(name)
        return search._with_column()

    @property
    def _is_column_known(self) -> bool:
        return self.column >= self.varying - 1

    @property
    def _middle(self) -> int:
        if not self.is_ascii_asked and self.least < _ASCII_END:
            return _ASCII_END
        return (self.least + self.most) // 2

    def _with(self, point: int) -> bytes:
        # Surrogates are no characters of their own: what sorts before them will do.
        point = 0xD7FF if 0xD800 <= point <= 0xDFFF else point
        return self.low[: self.column] + chr(point).encode() + TOP

    def _narrowed(self, name: bytes | None) -> "Search":
        if name is None:
            return msgspec.structs.replace(self, column=_between(self.low, self.column, self.varying))
        return Search(name, self.column, shared_length(self.low, name) + 1)

    def _with_column(self) -> "Search":
        """Begin with the characters of a column when no other is left to be asked about."""
        if self.least >= 0 or _between(self.low, self.column, self.varying):
            return self
        return msgspec.structs.replace(self, varying=self.column + 1, least=_point(self.low, self.column))

    def _character(self, name: bytes | None) -> "Search":
        if name is None:
            return msgspec.structs.replace(self, most=self._middle, is_ascii_asked=True)
        return msgspec.structs.replace(self, low=name, least=_point(name, self.column), is_ascii_asked=True)


def search_from(first: bytes, last: bytes) -> Search:
    """Begin, given the first and the last name of a page."""
    return Search(last, 0, shared_length(first, last) + 1)._with_column()


def _between(name: bytes, column: int, varying: int) -> int:
    """Return where a character begins behind `column` and before `varying`, near the middle; 0 if none does."""
    middle = (column + varying) // 2
    for place in chain(range(middle, column, -1), range(middle + 1, varying)):
        if place >= len(name) or name[place] & 0xC0 != 0x80:
            return place
    return 0


def _point(name: bytes, column: int) -> int:
    """Return the code point of the character that begins at a column; 0 at the end of the name."""
    text = name[column : column + 4].decode("utf-8", "ignore")
    return ord(text[0]) if text else 0
