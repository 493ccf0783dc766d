"""A bucket of which only the keys of a list are wanted: nothing is listed, and sizes and dates are not known."""

import re
from pathlib import Path
from typing import ClassVar, Final, Self

import msgspec

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
    content_of,
    fingerprint,
    read_lines,
)
from bucketpull.sources.source_settings import Option, SourceSettings

# The words in place of a key for a line that is none: they come back when what failed is tried again.
_TOO_LONG: Final = rb"line [0-9]+: longer than [0-9]+ bytes"
_LOOKED_AT_BYTES: Final = 4096

KEY_OPTIONS = (
    Option("keys", "Only the keys in this file, one a line; nothing is listed.", "FILE"),
    Option("keys0", "The same, each key ended by a NUL byte.", "FILE"),
)


class BucketSettings(SourceSettings, frozen=True, kw_only=True):
    """Settings of a bucket: `SCHEME://BUCKET[/PREFIX]`, or of the keys of a list in it, whose `fingerprint` is `key_list`.

    `prefix` is a folder at which the listing starts; keys stay whole.
    """

    bucket: str
    begins_keys_with_slash: ClassVar[bool] = False
    """Whether people write keys of such a bucket as paths, with a slash before them that is not theirs."""
    prefix: str = ""
    keys: str = ""
    keys0: str = ""
    key_list: str = ""

    @classmethod
    def located(cls, place: str) -> dict[str, str]:
        """Return bucket and prefix."""
        bucket, _, prefix = place.removeprefix("//").partition("/")
        if not place.startswith("//") or not bucket:
            raise ConfigError(f"source {f'{cls.scheme()}:{place}'!r}: write {cls.USAGE}")
        return {"bucket": bucket, "prefix": prefix.strip("/")}

    def place(self) -> str:
        """Return bucket and prefix as in SOURCE."""
        return f"//{self.bucket}/{self.prefix}".rstrip("/")

    def identity(self) -> dict[str, str]:
        """Return bucket, prefix and list: the same bucket may be had from several endpoints."""
        own = {"source": f"{self.scheme()}://{self.bucket}", "prefix": self.prefix}
        path = self.keys or self.keys0
        return own | ({"keys": content_of(self.key_list or fingerprint(path))} if path else {})

    def prepared(self) -> Self:
        """Return the same with the list's state. Raises ConfigError where the list cannot be read, or does not go with the rest."""
        if self.keys and self.keys0:
            raise ConfigError("--keys and --keys0: name one list of keys")
        path = self.keys or self.keys0
        if not path:
            return self
        if self.prefix:
            raise ConfigError("--keys: the list has whole keys; name the bucket without a prefix")
        if self.keys:
            _check_lines(path)
        return msgspec.structs.replace(self, key_list=fingerprint(path))

    @property
    def tells_all(self) -> bool:
        """Not where a list of keys was given."""
        return not (self.keys or self.keys0)

    def open(self) -> Source:
        """Make the source: the bucket, or the part of it that the list names."""
        source = super().open()
        path = self.keys or self.keys0
        if not path:
            return source
        before = b"/" if self.begins_keys_with_slash and self.keys else b""
        return KeyedSource(source, path, b"\0" if self.keys0 else b"\n", self.key_list, before)


def _check_lines(path: str) -> None:
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
