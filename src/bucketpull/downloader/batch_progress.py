"""What became of each object of one assignment, kept by column so that a thousand ordinary ones cost almost nothing.

Every object ends by exactly one of `store`, `fail`, `defer` and `displace`. `outcome` tells what has ended since it was last
asked: once, when the last object has ended, or in several parts, so that stragglers do not hold up what is stored.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat

import msgspec
from msgspec.structs import astuple

from bucketpull.domain.batching import REPORT_SECONDS, decode_parts
from bucketpull.domain.decoding import Text, msgpack_decoder
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import Assignment, Outcome
from bucketpull.domain.model import Failure, Part, Value, key_of
from bucketpull.domain.record import Record

OPEN, STORED, FAILED, DEFERRED, UNPLACED, REPORTED = range(6)
DETAIL_CHARACTERS = 300

_encode = msgspec.msgpack.Encoder().encode
_REPORTING = bytes([OPEN, *[REPORTED] * 255])


class Columns(Value):
    """The columns that a `Part` and a `Record` have in common, as they came: of what is stored whole they go into the ledger as they are."""

    directory: bytes
    cursor: Text
    names: msgspec.Raw
    sizes: msgspec.Raw
    mtimes: msgspec.Raw


_columns: Callable[[bytes], list[Columns]] = msgpack_decoder(list[Columns])


class PartProgress:
    """One part of an assignment: a mark for each object, and what differs from the listing."""

    def __init__(self, part: Part, columns: Columns) -> None:
        self.part = part
        self.columns = columns
        self.marks = bytearray(len(part.names))
        self.sizes: list[int] = []
        self.md5s: list[bytes] = []
        self.paths: dict[int, bytes] = {}
        self.pack = ""
        self.offsets: list[int] = []
        self.other_packs: dict[int, str] = {}
        self.doubts: dict[int, Reason] = {}

    def note_pack(self, index: int, pack: str, offset: int) -> None:
        """Note where in a pack an object lies. Nearly always all are in one pack, or in two."""
        if not self.offsets:
            self.pack = pack
            self.offsets = [-1] * len(self.part.names)
        self.offsets[index] = offset
        if pack != self.pack:
            self.other_packs[index] = pack

    def note_size(self, index: int, size: int) -> None:
        """Note that a file's size differs from the listing's."""
        if not self.sizes:
            self.sizes = list(self.part.sizes)
        self.sizes[index] = size

    def note_md5(self, index: int, md5: bytes) -> None:
        """Note the MD5 of what was stored, and where the listing states another one of it: an ETag may be no MD5."""
        if not self.md5s:
            self.md5s = [b""] * len(self.part.names)
        self.md5s[index] = md5
        if self.part.versions and self.part.stated_md5(index) not in {"", md5.hex()}:
            self.doubts[index] = Reason.CHECKSUM

    def records(self) -> list[Record | tuple[object, ...]]:
        """Return the stored objects, those of each pack and those that are files in a record of their own.

        The record of all objects is a tuple of its fields, some of them encoded.
        """
        stored = self.marks.count(STORED)
        if not stored:
            return []
        part = self.part
        listed = (part.directory, part.cursor, part.names, part.sizes, part.mtimes)
        whole = Record(*listed, self.sizes, self.md5s, self.paths, self.pack, self.offsets, self.doubts)
        is_alike = not self.other_packs and (not self.pack or -1 not in self.offsets)
        if stored == len(self.marks) and is_alike:
            return [astuple(self.columns) + astuple(whole)[len(listed) :]]
        return [whole.take(self._indexes(STORED))] if is_alike else list(self._by_pack(whole))

    def _by_pack(self, whole: Record) -> Iterator[Record]:
        groups: dict[str, list[int]] = {}
        for index in self._indexes(STORED):
            pack = self.other_packs.get(index, self.pack) if self.offsets[index] >= 0 else ""
            groups.setdefault(pack, []).append(index)
        for pack, indexes in groups.items():
            record = whole.take(indexes)
            record.pack = pack
            if not pack:
                record.offsets = []
            yield record

    def marked(self, mark: int) -> Part | None:
        """Return the objects with a mark, or None if there are none."""
        count = self.marks.count(mark)
        if not count:
            return None
        if count == len(self.marks):
            return self.part
        return self.part.take(self._indexes(mark))

    def mark_reported(self) -> None:
        """Note that everything that has ended is reported."""
        self.marks = self.marks.translate(_REPORTING)

    def _indexes(self, mark: int) -> list[int]:
        return [index for index, found in enumerate(self.marks) if found == mark]


Item = tuple[PartProgress, int, bytes, int, int]
"""An object: the progress of its part, its index there, its name, size and mtime."""


def _items(progress: PartProgress) -> Iterator[Item]:
    part = progress.part
    return zip(repeat(progress), range(len(part.names)), part.names, part.sizes, part.mtimes, strict=False)


class BatchProgress:
    """One assignment on its way to its outcomes. `left` counts the objects that have not ended, `reported` is what `left` was at
    the last outcome. `since` is when the first end was seen that is not reported yet (monotonic seconds, 0 for none).
    """

    def __init__(self, assignment: Assignment) -> None:
        self.id = assignment.id
        self.volume = assignment.volume
        self.passes = assignment.passes
        self.parts = [
            PartProgress(part, columns)
            for part, columns in zip(decode_parts(assignment.parts), _columns(assignment.parts), strict=True)
        ]
        self.left = sum(len(progress.marks) for progress in self.parts)
        self.unstarted = self.left
        self.reported = self.left
        self.since = 0.0
        self.stored_bytes = 0
        self.claims = {(claim.directory, claim.name): claim.md5 for claim in assignment.claims}
        self.claimed = self.claimed_bytes = 0
        self.failures: list[Failure] = []
        self.retries = Counter[str]()
        self.doubts = Counter[str]()
        self.trouble: Reason | None = None
        self.detail = ""
        self._fresh: Iterator[Item] = chain.from_iterable(map(_items, self.parts))

    def take(self, count: int) -> list[Item]:
        """Return at most `count` objects that were not taken yet."""
        items = list(islice(self._fresh, count))
        self.unstarted -= len(items)
        return items

    def store(self, progress: PartProgress, index: int, size: int, path: bytes | None) -> None:
        """End an object: it is on the volume, `size` bytes long, at `path` if not at the usual one."""
        progress.marks[index] = STORED
        self.left -= 1
        self.stored_bytes += size
        if size != progress.part.sizes[index]:
            progress.note_size(index, size)
        if path is not None:
            progress.paths[index] = path

    def claim(self, progress: PartProgress, index: int, size: int, md5: bytes) -> None:
        """End an object: a file that was there before is the object."""
        progress.marks[index] = STORED
        progress.note_md5(index, md5)
        self.left -= 1
        self.claimed += 1
        self.claimed_bytes += size

    def doubt(self, progress: PartProgress, index: int, reason: Reason) -> None:
        """Note what was doubted about an object that is stored."""
        progress.doubts[index] = reason
        self.doubts[reason] += 1

    def fail(
        self,
        progress: PartProgress,
        index: int,
        reason: Reason,
        attempts: int,
        status: int = 0,
        detail: str = "",
    ) -> None:
        """End an object: it cannot be had, for good, after so many requests in this pass."""
        part = progress.part
        progress.marks[index] = FAILED
        self.left -= 1
        listed = (part.directory, part.names[index], part.sizes[index], part.mtimes[index], part.cursor)
        version, url = part.versions[index] if part.versions else "", part.urls[index] if part.urls else ""
        detail, attempts = detail[:DETAIL_CHARACTERS], attempts + (part.tried[index] if part.tried else 0)
        self.failures.append(Failure(*listed, reason, attempts, status, detail, version, url))

    def defer(self, progress: PartProgress, index: int, attempts: int) -> None:
        """End an object for this pass: it failed too often for reasons that may pass."""
        progress.marks[index] = DEFERRED
        part = progress.part
        part.tried = part.tried or [0] * len(part.names)
        part.tried[index] += attempts
        self.left -= 1

    def displace(self, progress: PartProgress, index: int, trouble: Reason, detail: str) -> None:
        """End an object: this volume does not take it, or there is no time left. The first trouble is reported."""
        progress.marks[index] = UNPLACED
        self.left -= 1
        if self.trouble is None:
            self.trouble = trouble
            self.detail = detail[:DETAIL_CHARACTERS]

    def displace_untaken(self, trouble: Reason, detail: str) -> None:
        """End all objects that were not taken yet."""
        for progress, index, *_ in self._fresh:
            self.unstarted -= 1
            self.displace(progress, index, trouble, detail)

    def release(self, most: int) -> int:
        """End the last of the objects that were not taken yet, at most so many, for others to do; return how many."""
        fresh = list(self._fresh)
        kept = max(0, len(fresh) - most)
        self._fresh = iter(fresh[kept:])
        self.displace_untaken(Reason.INTERRUPTED, "")
        self._fresh = iter(fresh[:kept])
        return len(fresh) - kept

    def displace_open(self) -> None:
        """End all objects that have not ended: they are interrupted."""
        self.displace_untaken(Reason.INTERRUPTED, "")
        for progress in self.parts:
            for index, mark in enumerate(progress.marks):
                if mark == OPEN:
                    self.displace(progress, index, Reason.INTERRUPTED, "")

    def first_open(self) -> bytes | None:
        """Return the key of the first object that was taken and has not ended."""
        for progress in self.parts:
            index = progress.marks.find(OPEN)
            if index >= 0:
                return key_of(progress.part.directory, progress.part.names[index])
        return None

    def is_due(self, now: float) -> bool:
        """Whether something ended a while ago and is not reported yet; to be called regularly."""
        if self.left == self.reported:
            return False
        self.since = self.since or now
        return now - self.since >= REPORT_SECONDS

    def outcome(self) -> Outcome:
        """Return what became of the objects that ended since the last outcome, and which have not ended."""
        outcome = self._outcome()
        if self.left > 0:
            outcome.rest = self._marked(OPEN)
            for progress in self.parts:
                progress.mark_reported()
            self.reported, self.since, self.stored_bytes = self.left, 0.0, 0
            self.claimed = self.claimed_bytes = 0
            self.failures, self.retries, self.doubts = [], Counter(), Counter()
        return outcome

    def _marked(self, mark: int) -> list[Part]:
        return [part for progress in self.parts if (part := progress.marked(mark)) is not None]

    def _outcome(self) -> Outcome:
        records = [record for progress in self.parts for record in progress.records()]
        return Outcome(
            id=self.id,
            stored=sum(progress.marks.count(STORED) for progress in self.parts),
            stored_bytes=self.stored_bytes,
            records=_encode(records) if records else b"",
            failures=self.failures,
            deferred=self._marked(DEFERRED),
            unplaced=self._marked(UNPLACED),
            trouble=self.trouble,
            detail=self.detail,
            retries=self.retries,
            doubts=self.doubts,
            claimed=self.claimed,
            claimed_bytes=self.claimed_bytes,
        )
