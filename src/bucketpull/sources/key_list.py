"""A bucket of which only the keys of a list are wanted: nothing is listed, and sizes and dates are not known."""

import re
from pathlib import Path
from typing import Final

from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.domain.exchange import Response, Verdict, Wanted
from bucketpull.domain.model import Page, Part, Position
from bucketpull.ports import Source
from bucketpull.sources.derived import DerivedSource
from bucketpull.sources.http import note_date
from bucketpull.sources.list_files import (
    CORRECT_IT,
    ListPosition,
    check_text,
    check_unchanged,
    read_lines,
)

# The words in place of a key for a line that is none: they come back when what failed is tried again.
_TOO_LONG: Final = rb"line [0-9]+: longer than [0-9]+ bytes"
_LOOKED_AT_BYTES: Final = 4096


def check_lines(path: str) -> None:
    """Make sure that a list is one of keys in UTF-8 that end with a line feed: of another each line would be a failure. Raises ConfigError."""
    check_text(path)
    with Path(path).open("rb") as file:
        if b"\0" in file.read(_LOOKED_AT_BYTES):
            raise ConfigError(
                f"list {path}: has NUL bytes; write what is UTF-16 as UTF-8, and give keys that each end with NUL by --keys0"
            )


class KeyedSource(DerivedSource):
    """A bucket that is asked for objects alone.

    Args:
        source: The bucket.
        path: The list.
        separator: What ends a key in it.
        state: Its `fingerprint`; "" for any.
        before: What may stand before a key and is not part of it.

    """

    def __init__(self, source: Source, path: str, separator: bytes, state: str, before: bytes = b"") -> None:
        super().__init__(source)
        self._path = path
        self._separator = separator
        self._state = state
        self._before = before
        self.routes = self._route

    def root(self) -> Position:
        """Begin at the list's first line."""
        return Position(b"")

    def page_here(self, position: Position) -> Page:
        """Read some keys; a key that stands there again is wanted once."""
        check_unchanged(self._path, self._state)
        found = read_lines(self._path, ListPosition.of(position.cursor), self._separator)
        keys = list(dict.fromkeys(line.removeprefix(self._before) for line in found.lines))
        unknown = [-1] * len(keys)
        following = [Position(b"", found.following.text())] if found.following else []
        part = Part(b"", position.cursor, keys, unknown, unknown)
        return Page(part, [], following, unreadable=found.odd)

    def _route(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:
        if re.fullmatch(_TOO_LONG, name):
            raise AnswerError(Reason.REJECTED, CORRECT_IT)
        return self._source.routes(directory, name, size)

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Judge as the bucket does; but a key that is not there has not vanished: it should be."""
        verdict = self._source.judge(wanted, endpoint, response, now, start, version)
        if verdict.reason is Reason.GONE:
            verdict.reason = Reason.NOT_FOUND
        note_date(verdict, wanted, response)
        return verdict
