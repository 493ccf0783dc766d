"""Which objects on volumes a listing no longer has, and which are older copies of those that it has, in bounded memory.

Keys are dealt out by a digest over files, listed and held ones alike, and compared file by file (see `live_objects`).
Two keys of the same digest, which chance does not make, would keep an object, never remove one.
"""

from bisect import bisect
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, pairwise
from struct import Struct
from typing import Final

from bucketpull.domain.model import Part, key_of
from bucketpull.volumes.ledger import Gone
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.scratch import DIGEST_BYTES, Partitions, digest_of

_MOST_RECENT: Final = 1 << 16
_version: Final = Struct(">qq")  # size and date
_copy: Final = Struct(">qqQ")  # the same, and which of the held objects it is


class Comparison:
    """A listing against the volumes that were filled from it. `folder` takes 28 bytes a listed and 36 bytes a held object.

    `prefix` is that of the listing: what does not lie below it was never asked for. `held` counts what does.
    An object that went from the source while its volume was away, and came back, may lie on two volumes: of such copies those go that have not the listed size
    and date, if one has them; `copies` counts them.
    An entry without a name (see `spare`) is one file or folder right in the directory that lists it. It may be any that is held and
    not listed; it is none that is listed by its name.
    """

    def __init__(self, live: Sequence[LiveObjects], folder: str, prefix: bytes) -> None:
        self._live = live
        self._below = prefix + b"/" if prefix else b""
        expected = sum(each.count for each in live)
        self._listed = Partitions(folder, "listed", expected, tail_bytes=_version.size)
        self._held = Partitions(folder, "held", expected, tail_bytes=_copy.size)
        self._folders = Partitions(folder, "folders", expected, tail_bytes=0)
        self._doubtful = Partitions(folder, "doubtful", expected, tail_bytes=0)
        self.held = self.copies = 0
        self._folder: bytes | None = None
        self._gone: list[bytearray] = []
        self._odd: frozenset[bytes] = frozenset()

    def spare(self, directories: Collection[bytes]) -> None:
        """Keep what an entry without a name may be, in each of these directories: files and folders that are not listed by name."""
        self._odd = frozenset(directories)

    def take(self, part: Part) -> None:
        """Take in what the source has of a directory, be it nothing."""
        if part.directory != self._folder:
            self._folder = part.directory
            self._folders.add(digest_of(part.directory))
        for name, *version in zip(part.names, part.sizes, part.mtimes, strict=True):
            self._listed.add(digest_of(key_of(part.directory, name)), _version.pack(*version))

    def finish(self) -> int:
        """Compare; return how many objects are to go, older copies included."""
        unlisted = self._unlisted() if self._odd else set()
        starts = self._deal_held(unlisted)
        self._gone = [bytearray((end - start) // 8 + 1) for start, end in pairwise(starts)]
        for number, is_copy in _dispensable(self._held, self._listed):
            self.copies += is_copy
            volume = bisect(starts, number) - 1
            at = number - starts[volume]
            self._gone[volume][at >> 3] |= 1 << (at & 7)
        return sum(marks.bit_count() for each in self._gone for marks in each)

    def gone(self, volume: int) -> Iterator[Gone]:
        """Give what is gone of a volume, in the order in which it was written."""
        marks = self._gone[volume]
        for number, (block, record, index) in enumerate(self._live[volume].entries()):
            if marks[number >> 3] >> (number & 7) & 1:
                yield Gone(block, record, index)

    def _unlisted(self) -> set[bytes]:
        """Return the digests of folders with held objects, right in directories with odd entries, that are not listed by name."""
        recent: set[bytes] = set()
        for live in self._live:
            for directory in live.directories():
                for folder in self._doubted(directory) - recent:
                    recent.add(folder)
                    self._doubtful.add(digest_of(folder))
                if len(recent) > _MOST_RECENT:
                    recent.clear()
        return _missing(self._doubtful, self._folders)

    def _doubted(self, directory: bytes) -> set[bytes]:
        """Return those of a directory and its parents that lie right in one with odd entries."""
        return {child for parent, child in pairwise(_chain(directory)) if parent in self._odd}

    def _deal_held(self, unlisted: Collection[bytes]) -> list[int]:
        """Deal out what is held and not spared; return at which number each volume begins, and where the last one ends."""
        starts = [0]
        number = 0
        for live in self._live:
            for directory, entries in groupby(live.entries(), lambda entry: entry[1].directory):
                is_spared = bool(self._odd) and self._is_spared(directory, unlisted)
                for _, record, index in entries:
                    key = key_of(directory, record.names[index])
                    if key.startswith(self._below):
                        self.held += 1
                        if not is_spared:
                            self._held.add(
                                digest_of(key), _copy.pack(record.sizes[index], record.mtimes[index], number)
                            )
                    number += 1
            starts.append(number)
        return starts

    def _is_spared(self, directory: bytes, unlisted: Collection[bytes]) -> bool:
        return directory in self._odd or any(
            digest_of(folder) in unlisted for folder in self._doubted(directory)
        )


def _chain(directory: bytes) -> list[bytes]:
    """Return the root and all directories down to this one."""
    steps = directory.split(b"/") if directory else []
    return [b"", *(b"/".join(steps[: count + 1]) for count in range(len(steps)))]


def _missing(asked: Partitions, known: Partitions) -> set[bytes]:
    """Return the digests that are asked about and not known."""
    asked.finish()
    known.finish()
    found: set[bytes] = set()
    for file in range(asked.count):
        found |= set(asked.take(file)).difference(known.stream(file))
    return found


def _dispensable(held: Partitions, listed: Partitions) -> Iterator[tuple[int, bool]]:
    """Give the numbers of held objects that are not listed, and of older copies of listed ones: whether it is one."""
    held.finish()
    listed.finish()
    for file in range(held.count):
        entries = held.take(file)
        missing = {_digest(entry) for entry in entries}
        several = {_digest(one) for one, other in pairwise(entries) if _digest(one) == _digest(other)}
        versions: dict[bytes, tuple[int, ...]] = {}
        for entry in listed.stream(file):
            digest = _digest(entry)
            missing.discard(digest)
            if digest in several:
                versions[digest] = _version.unpack_from(entry, DIGEST_BYTES)
        for digest, group in groupby(entries, _digest):
            copies = [_copy.unpack_from(entry, DIGEST_BYTES) for entry in group]
            if digest in missing:
                yield from ((number, False) for *_, number in copies)
            elif digest in versions and min(versions[digest]) >= 0:
                older = [number for *version, number in copies if tuple(version) != versions[digest]]
                yield from ((number, True) for number in older if len(older) < len(copies))


def _digest(entry: bytes) -> bytes:
    return entry[:DIGEST_BYTES]
