"""The vocabulary as values: what is listed, sent, stored and recorded.

All messages between processes and machines are made of these, encoded by msgspec as MessagePack arrays; `messages` has the
messages themselves.
Objects travel by column (`Objects`), because a Python value an object costs more than the transfer of its name.
Names and keys are bytes: the service says UTF-8, but a listing may hold anything, and what was listed must be
stored and found again exactly.
"""

import re
from collections.abc import Container, Iterator, Sequence
from enum import IntEnum
from itertools import repeat
from typing import Final

import msgspec

from bucketpull.domain.decoding import Count, Float, Int, Text
from bucketpull.domain.endpoints import SUSPECT_ANSWERS
from bucketpull.domain.errors import Reason

Id = tuple[bytes, bytes]
"""An object's directory and name."""

_MD5: Final = r'"?([0-9a-fA-F]{32})"?'


class Value(msgspec.Struct, array_like=True, gc=False):
    """Base of all values; they form no cycles, so the garbage collector need not track them."""


class WorkKind(IntEnum):
    """The two kinds of work."""

    SCAN = 0
    BATCH = 1


class Objects(Value):
    """Objects of one directory, by column: `names[i]`, `sizes[i]` (bytes), `mtimes[i]` (Unix seconds).

    `directory` is the key prefix without a trailing slash, b"" for the root; an object's key is
    `directory + b"/" + name`, or the name alone in the root. `cursor` names the listed page it came from.
    An object is known by its directory and name (`Id`) where its key need not be made.
    """

    directory: bytes
    cursor: Text
    names: list[bytes]
    sizes: list[Int]
    mtimes: list[Int]

    def ids(self) -> Iterator[Id]:
        """Give directory and name of each object."""
        return zip(repeat(self.directory), self.names, strict=False)

    def id_at(self, index: int) -> Id:
        """Return directory and name of one object."""
        return self.directory, self.names[index]

    def matching(self, wanted: Container[Id]) -> list[int]:
        """Return the indexes of the objects that are wanted."""
        return [index for index, each in enumerate(self.ids()) if each in wanted]


class Part(Objects):
    """Objects as they were listed. `versions` and `urls` are as in `http_exchange.Wanted`, or empty where no object has one.

    `tried` counts the requests for each in earlier passes; it is empty before the second one.
    """

    versions: list[Text] = []
    urls: list[Text] = []
    tried: list[Count] = []

    def rows(self) -> Iterator[tuple[bytes, int, int, str, str]]:
        """Give name, size, mtime, version and URL of each object."""
        nothing = [""] * len(self.names)
        versions, urls = self.versions or nothing, self.urls or nothing
        return zip(self.names, self.sizes, self.mtimes, versions, urls, strict=True)

    def stated_md5(self, index: int) -> str:
        """Return the MD5 that the listing states of an object, in hex; "" where it states none."""
        stated = re.fullmatch(_MD5, self.versions[index]) if self.versions else None
        return stated[1].lower() if stated else ""

    def failures(self, reason: Reason, attempts: int, detail: str) -> "list[Failure]":
        """Return a failure for each object, all for one reason that is not an HTTP status."""
        return [
            Failure(self.directory, name, size, mtime, self.cursor, reason, attempts, 0, detail, *more)
            for name, size, mtime, *more in self.rows()
        ]

    def slice(self, start: int, end: int) -> "Part":
        """Return the objects from `start` up to `end`."""
        if start == 0 and end == len(self.names):
            return self
        return Part(
            self.directory,
            self.cursor,
            self.names[start:end],
            self.sizes[start:end],
            self.mtimes[start:end],
            self.versions[start:end],
            self.urls[start:end],
            self.tried[start:end],
        )

    def take(self, indexes: Sequence[int]) -> "Part":
        """Return some of the objects, by index."""
        return Part(
            self.directory,
            self.cursor,
            [self.names[index] for index in indexes],
            [self.sizes[index] for index in indexes],
            [self.mtimes[index] for index in indexes],
            [self.versions[index] for index in indexes] if self.versions else [],
            [self.urls[index] for index in indexes] if self.urls else [],
            [self.tried[index] for index in indexes] if self.tried else [],
        )


class Position(Value):
    """Where a listing goes on: a directory and a cursor ("" is its beginning).

    `until` ends a range of a directory that is listed in parallel (the source's own marker, "" is the end).
    `digest` is that of the page as it was last listed and settled, b"" if never: an equal page yields no work.
    `passes` says in how many passes this position has failed, `tried` how many requests they took.
    """

    directory: bytes
    cursor: Text = ""
    until: Text = ""
    digest: bytes = b""
    passes: Int = 0
    tried: Count = 0


class Page(Value):
    """One page of a directory as the source gave it: files by column, names of sub-directories, what is next.

    `following` is where the same directory goes on: nowhere at its end, in one place if it is listed page by page, in several if it is
    split into ranges. `excluded` counts objects that the job does not want; they are not in `part`. `odd` describes entries that cannot
    be used: they fail together. Each of `unreadable` stands for an object that fails, with this text in place of a key. `broken` says
    why the directory cannot be listed beyond this page, "" if it can. `duplicates` counts entries that were listed before. `serial`:
    the source does not list in order, so it cannot be listed in ranges.
    """

    part: Part
    directories: list[bytes]
    following: list[Position]
    odd: Sequence[Text] = ()
    unreadable: Sequence[Text] = ()
    broken: Text = ""
    excluded: Int = 0
    duplicates: Int = 0
    serial: bool = False


class Extent(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Where a batch lies: a volume, and the offset in bytes of a block of its ledger."""

    volume: Text
    offset: Int


class SentWork(msgspec.Struct, frozen=True):
    """A piece of work that was sent to a machine and is not booked; a batch has so many objects and bytes, as far as they are listed."""

    id: int
    kind: WorkKind
    machine: str
    objects: int = 0
    bytes: int = 0


class Failure(Value):
    """An object (or, with an empty name, a page of a directory) that could not be fetched, and why.

    `status` is the last HTTP status (0: none); `detail` is the last answer in words, at most 300 characters.
    `version` and `url` are as in `Part`.
    """

    directory: bytes
    name: bytes
    size: Int
    mtime: Int
    cursor: Text
    reason: Reason
    attempts: Count
    status: Int
    detail: Text
    version: Text = ""
    url: Text = ""


class PageRecord(Value):
    """What the journal keeps of a listed page. `first` and `last` are the smallest and largest object name.

    `unchanged` is true where the digest equals the position's: then no batch was made of it. `excluded` objects, which the
    job does not want, are in none of the other numbers.
    """

    directory: bytes
    cursor: Text
    first: bytes
    last: bytes
    digest: bytes
    objects: Count
    bytes: Int
    unchanged: bool
    excluded: Int = 0


class Span(Value):
    """The part of one directory that a batch covers: the page it belongs to, its smallest and largest name, and how many objects.

    `is_nested`: some names have slashes, as those of sources without directories.
    """

    directory: bytes
    cursor: Text
    first: bytes
    last: bytes
    objects: Count = 0
    is_nested: bool = False


class Former(Value):
    """Objects of which a volume may have stale copies, because a batch has stored them on volume `by` since.

    `offsets` are the blocks of the volume's ledger in which they may be; `parts` is an encoded `list[Part]`. `id` is the journal's.
    `is_double`: nothing was stored, `by` was found to have the same version.
    """

    volume: Text
    offsets: list[Int]
    by: Text
    parts: bytes
    id: Count = 0
    is_double: bool = False


class Counters(Value):
    """The books of the present run: listed = stored + skipped + excluded + failed + vanished + outstanding.

    `bytes` are the bytes stored in this run; `listed_bytes` those listed and wanted, `skipped_bytes` those found in place.
    `retries` counts repeated requests by reason, `failures` what failed for good, now, by reason; `unlisted` are those of them that
    are pages that could not be listed. `doubts` counts, by reason, what is stored although something about the answer was doubted;
    `duplicates` entries that a listing gave again. `recovered` of the stored, `recovered_bytes` long, were on their disks when a
    killed process was replaced: nothing was fetched for them since.
    """

    listed: Count = 0
    listed_bytes: Int = 0
    stored: Count = 0
    skipped: Count = 0
    failed: Count = 0
    vanished: Count = 0
    directories: Int = 0
    pages: Int = 0
    bytes: Int = 0
    skipped_bytes: Count = 0
    retries: dict[Text, Int] = {}
    failures: dict[Text, Int] = {}
    excluded: Int = 0
    doubts: dict[Text, Count] = {}
    duplicates: Count = 0
    recovered: Count = 0
    recovered_bytes: Count = 0
    unlisted: Int = 0

    def add_page(self, page: PageRecord) -> None:
        """Count a page that was listed."""
        self.pages += 1
        self.directories += not page.cursor
        self.listed += page.objects + page.excluded
        self.excluded += page.excluded
        self.listed_bytes += page.bytes

    @property
    def has_only_vanished(self) -> bool:
        """Whether none of many listed objects was there: hardly all were deleted since; the listing and the objects do not belong together."""
        return self.vanished >= SUSPECT_ANSWERS and not self.stored and not self.skipped

    @property
    def fetched(self) -> tuple[int, int]:
        """Return how many objects and bytes were fetched and stored, on which speeds are based."""
        return max(0, self.stored - self.recovered), max(0, self.bytes - self.recovered_bytes)


class Outstanding(Value):
    """What is left: work ready or sent, by kind; objects and bytes are those of batches.

    `again_at` is when the next of it is tried again (Unix seconds), if all of it waits for that; else 0. `waits_for` are the machines
    that all of what comes next waits for, while nobody has any.
    """

    scans: Int = 0
    scans_sent: Int = 0
    batches: Int = 0
    batches_sent: Int = 0
    objects: Count = 0
    bytes: Int = 0
    again_at: Float = 0.0
    waits_for: list[Text] = []

    @property
    def is_some(self) -> bool:
        """Whether anything is left."""
        return bool(self.scans or self.batches)


# The cursor of a failure that is no object's and no page's, but that of a message nobody understands.
MESSAGE_CURSOR = "(message)"


def key_of(directory: bytes, name: bytes) -> bytes:
    """Join a directory and a name into an object's key."""
    return directory + b"/" + name if directory else name


def show(key: bytes) -> str:
    """Write a key for people: UTF-8 where it is, escapes where it is not."""
    return key.decode("utf-8", "backslashreplace")


def text_of(key: bytes) -> str:
    """Write a key as text without loss: of bytes that are no UTF-8 it makes surrogates, as Python does of file names."""
    return key.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """Return the key that a text stands for, as `text_of` or a user wrote it; half a surrogate pair, as JSON may have it, is three bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
