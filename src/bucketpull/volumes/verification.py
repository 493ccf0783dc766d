"""Compares a volume with its ledger. Needs no journal, and works in bounded memory."""

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from enum import StrEnum
from itertools import groupby, islice
from typing import Final

import msgspec

from bucketpull.domain.model import Part, key_of, show
from bucketpull.volumes.beneath import VOLUME_MARK, exists, scanned
from bucketpull.volumes.foreign import kept_names, written
from bucketpull.volumes.identity import HOME
from bucketpull.volumes.live_objects import LiveObjects, Stored
from bucketpull.volumes.packs.checking import PackChecks, PackDamage
from bucketpull.volumes.packs.compacting import LiveBodies, Waste
from bucketpull.volumes.packs.folder import path_of
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.scratch import Partitions, digest_of, scratch_folder
from bucketpull.volumes.sizes_and_dates import md5_of

_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_LOST_AND_FOUND: Final = b"lost+found"  # root's own, on ext4
_STATE: Final = (b"journal.sqlite", b"journal.id")
_MOST_OPEN: Final = 50  # levels of folders; what lies deeper is read folder by folder
_MOST_EXTRA: Final = 1_000_000  # about so many extra files are named at most, 80 MB of digests


class Fault(StrEnum):
    """What can be wrong."""

    MISSING = "missing"
    SIZE = "size"
    CONTENT = "content"
    UNREADABLE = "unreadable"
    EXTRA = "extra"
    KEPT = "kept"
    LEDGER = "ledger"


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong; `stored` is the object that must be fetched again, None for extra and kept files and for the ledger.

    `pack` is the one that it concerns, "" where it is a file.
    """

    fault: Fault
    path: str
    detail: str
    stored: Stored | None = None
    pack: str = ""


class Verification:
    """Goes through a volume, and counts. `folder` takes 20 to 52 bytes an object while it runs (default: TMPDIR).

    With `hashed` every file is read and compared with its MD5 where one is recorded (`hashed_objects` counts those,
    `unhashed_objects` those without one, which are only read); with `extra` files are found that the ledger does not know.
    `watch` is called for each object, and may end it by an exception.
    """

    def __init__(
        self,
        reader: VolumeReader,
        *,
        hashed: bool = False,
        extra: bool = True,
        folder: str | None = None,
        watch: Callable[["Verification"], None] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._hashed = hashed
        self._extra = extra
        self._folder = folder
        self._watch = watch
        self.objects = 0
        self.bytes = 0
        self.hashed_objects = self.unhashed_objects = 0
        self.damaged_bytes = 0
        """The total length of the damaged objects, as recorded."""
        self.faults: Counter[Fault] = Counter()
        self.packs: set[str] = set()  # that are damaged
        self.waste: list[Waste] = []
        """How much is dead in each finished pack; known at the end, if all packs can be read."""

    def run(self) -> Iterator[Finding]:
        """Yield what is wrong, in the order in which the disk was written, extra files last."""
        with scratch_folder("verify", self._folder) as folder:
            for finding in self._findings(folder):
                self.faults[finding.fault] += 1
                if finding.pack:
                    self.packs.add(finding.pack)
                if finding.stored is not None:
                    self.damaged_bytes += finding.stored.location.length
                yield finding

    def _findings(self, folder: str) -> Iterator[Finding]:
        live = LiveObjects(self._reader, folder)
        for damage in live.damages:
            detail = (
                f"bytes {damage.offset} to {damage.end} are damaged: what they recorded is in no list, and shows as extra files; "
                "`bucketpull verify --repair` has it compared with the source"
            )
            yield Finding(Fault.LEDGER, f"{HOME}/ledger", detail)
        known = Partitions(folder, "known", live.count, tail_bytes=0) if self._extra else None
        packs = PackChecks(self._reader.bodies, folder, live.ends, live.sealed)
        living = LiveBodies(self._reader)
        for number, stored in enumerate(live.objects()):
            if known and not stored.location.pack:
                known.add(digest_of(stored.location.path))
            finding = self._check(stored)
            if finding:
                yield finding
                continue
            with suppress(OSError):  # a disk that gives nothing is reported where its objects are checked
                living.add(stored)
            if self._hashed:
                self.unhashed_objects += not stored.md5
                if stored.location.pack:
                    packs.add(number, stored.location, key_of(stored.directory, stored.name), stored.md5)
        with suppress(OSError):
            self.waste = living.waste()
        if self._hashed:
            yield from self._read_packs(packs, live)
        if known:
            known.finish()
            yield from self._find_extra(folder, known, live.count)

    def _check(self, stored: Stored) -> Finding | None:
        self._watch(self)
        self.objects += 1
        location = stored.location
        self.bytes += location.length
        try:
            size = self._reader.bodies.size(location)
            if size is None:
                return _finding(Fault.MISSING, stored, "is not there, or is not a file")
            if size != location.length:
                return _finding(Fault.SIZE, stored, f"has {size} bytes instead of {location.length}")
            return self._compare(stored) if self._hashed and not location.pack else None
        except OSError as error:
            return _finding(Fault.UNREADABLE, stored, str(error.strerror))

    def _compare(self, stored: Stored) -> Finding | None:
        found = md5_of(self._reader.tree.open_file(stored.location.path))
        if not stored.md5:
            return None
        self.hashed_objects += 1
        if found != stored.md5:
            return _finding(Fault.CONTENT, stored, f"has MD5 {found.hex()} instead of {stored.md5.hex()}")
        return None

    def _read_packs(self, packs: PackChecks, live: LiveObjects) -> Iterator[Finding]:
        faults = {}
        for fault in packs.run():
            if fault.number < 0:
                yield Finding(_kind(fault), path_of(fault.pack), fault.detail, pack=fault.pack)
            else:
                faults[fault.number] = fault
        self.hashed_objects += packs.compared
        for number, stored in enumerate(live.objects() if faults else ()):
            if number in faults:
                yield _finding(_kind(faults[number]), stored, faults[number].detail)

    def _find_extra(self, folder: str, known: Partitions, expected: int) -> Iterator[Finding]:
        found = Partitions(folder, "found", expected, tail_bytes=0)
        unread: dict[bytes, str] = {}
        for path in self._strange_paths(lambda path, error: unread.update({path: error.strerror or ""})):
            found.add(digest_of(path))
        found.finish()
        for path, why in unread.items():
            yield Finding(Fault.UNREADABLE, show(path), f"{why}: extra files in it are not looked for")
        strangers: set[bytes] = set()
        for number in range(known.count):
            strangers.update(set(found.take(number)).difference(known.take(number)))
            if len(strangers) > _MOST_EXTRA:
                break
        kept = self._kept() if strangers else frozenset()
        for path in self._strange_paths(lambda *_: None) if strangers else ():
            if digest_of(path) in strangers:
                yield _stranger(path, kept)

    def _kept(self) -> AbstractSet[bytes]:
        """Return digests of the names that files of others were given; what cannot be read is not known."""
        with suppress(OSError):
            return {digest_of(name) for name in islice(kept_names(self._reader.home), _MOST_EXTRA)}
        return frozenset()

    def _strange_paths(self, unread: Callable[[bytes, OSError], None]) -> Iterator[bytes]:
        """Yield every file that is either in the ledger or somebody else's."""
        for path in walk(self._reader.root, unread):
            if not self._reader.identity.is_of_packs(path):
                yield path


def _is_known(root: int, folder: bytes) -> bool:
    """Whether a folder is a job's state, which may be kept on a volume, or another volume."""
    return exists(root, folder, os.fsencode(VOLUME_MARK)) or all(
        exists(root, folder, name) for name in _STATE
    )


def walk(root: int, unread: Callable[[bytes, OSError], None]) -> Iterator[bytes]:
    """Yield the path of every file below a volume, except our own and those of volumes within it. Symbolic links are not followed.

    A folder may have any number of folders: it is read step by step, while those in it are walked.

    `unread` is told of directories that cannot be read, except those that have gone meanwhile.
    """
    levels: list[Iterator[tuple[bytes, bool]]] = [_entries(root, b"", unread)]
    while levels:
        path, is_folder = next(levels[-1], (b"", False))
        if not path:
            levels.pop()
        elif not is_folder:
            yield path
        elif path != HOME.encode() and not _is_known(root, path):
            found = _entries(root, path, unread)
            levels.append(found if len(levels) < _MOST_OPEN else iter(list(found)))


def _entries(
    root: int, folder: bytes, unread: Callable[[bytes, OSError], None]
) -> Iterator[tuple[bytes, bool]]:
    """Yield the path of each entry of a folder, and whether it is a directory."""
    try:
        with scanned(root, folder) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                yield folder + b"/" + name if folder else name, entry.is_dir(follow_symlinks=False)
    except OSError as error:
        if error.errno not in _GONE and folder != _LOST_AND_FOUND:
            unread(folder, error)


def repairs(findings: Iterable[Finding]) -> Iterator[Part]:
    """Yield the objects that must be fetched again, grouped by directory as they come."""
    damaged = (finding.stored for finding in findings if finding.stored is not None)
    for (directory, cursor), group in groupby(damaged, lambda stored: (stored.directory, stored.cursor)):
        part = Part(directory, cursor, [], [], [])
        for stored in group:
            part.names.append(stored.name)
            part.sizes.append(stored.size)
            part.mtimes.append(stored.mtime)
        yield part


def _kind(damage: PackDamage) -> Fault:
    return Fault.UNREADABLE if damage.is_unreadable else Fault.CONTENT


def _stranger(path: bytes, kept: AbstractSet[bytes]) -> Finding:
    if digest_of(written(path)) in kept:
        detail = "lay in an object's place, and was renamed; move it away, or remove it"
        return Finding(Fault.KEPT, show(path), detail)
    return Finding(Fault.EXTRA, show(path), "is not in the ledger")


def _finding(fault: Fault, stored: Stored, detail: str) -> Finding:
    location = stored.location
    path = show(location.path)
    if location.pack:
        path = f"{path} at byte {location.offset}: {show(key_of(stored.directory, stored.name))}"
    return Finding(fault, path, detail, stored, location.pack)
