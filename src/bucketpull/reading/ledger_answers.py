"""What a volume's ledger says, in values that fit into a message: where one object lies, all objects, and what is wrong.

Of all objects there is a page at a time; each is made when it is asked for.
"""

import socket
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Final

import msgspec

from bucketpull.domain.model import key_of, show
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.reading.readable_volumes import ReadableVolume
from bucketpull.volumes.live_objects import LiveObjects, Stored
from bucketpull.volumes.packs.folder import path_of
from bucketpull.volumes.reader import Location, VolumeReader, open_reader
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.verification import Finding, Verification

_MOST_ROWS: Final = 4_000
_MOST_BYTES: Final = 512_000  # of names and paths: a page is one message
_MOST_FINDINGS: Final = 500


class Place(msgspec.Struct):
    """Where an object lies: `size` bytes from byte `offset` of `path` on, which is absolute; in a file of its own from 0 on.

    `mount` is the volume's own path. `mtime` is that of the listing in Unix seconds, `md5` in hex ("": unknown).

    `present` is false where the file itself is not there any more.
    """

    key: str
    machine: str
    volume: str
    mount: str
    path: str
    offset: int
    size: int
    mtime: int
    md5: str
    present: bool


def look(volume: KnownVolume, offset: int, directory: bytes, name: bytes) -> Place | None:
    """Read one block of one ledger; None where it does not have the object, or not any more.

    Raises VolumeError where the volume is not here, and LedgerError where its ledger is damaged there.
    """
    with closing(open_reader(volume.path or ".", volume.id)) as opened:
        return _look_up(opened, volume, offset, directory, name)


def _look_up(
    opened: VolumeReader, volume: KnownVolume, offset: int, directory: bytes, name: bytes
) -> Place | None:
    for record in opened.left(opened.ledger.read(offset)):
        if record.directory != directory or name not in record.names:
            continue
        index = record.names.index(name)
        key = key_of(directory, name)
        location = opened.location_of(record, index)
        if record.pack and opened.bodies.size(location) is None:
            location = _compacted(opened.path, key) or location
        return Place(
            show(key),
            volume.machine or socket.gethostname(),
            volume.id,
            volume.path,
            f"{volume.path}/{show(location.path)}",
            location.offset,
            location.length,
            record.mtimes[index],
            record.md5s[index].hex() if record.md5s else "",
            opened.bodies.size(location) is not None,
        )
    return None


def _compacted(path: str, key: bytes) -> Location | None:
    """Return where an object is whose pack was rewritten: the journal only knows the block about the former pack."""
    with closing(ReadableVolume(path)) as volume:
        place = volume.place_of(key)
    if place is None or not place.pack:
        return None
    return Location(path_of(place.pack).encode(), place.offset, place.length, place.pack)


class ObjectsPage(msgspec.Struct, array_like=True):
    """Objects of a volume in the order of writing; `damages` describes parts of its ledger that cannot be read."""

    rows: list[Stored]
    damages: list[str] = []


class FaultsPage(msgspec.Struct, array_like=True):
    """What is wrong with a volume, and how much of it has been looked at; `user` is the process that writes to it, 0 if none does."""

    findings: list[Finding]
    objects: int
    bytes: int
    hashed_objects: int
    unhashed_objects: int
    user: int = 0


def objects(volume: KnownVolume, below: bytes = b"") -> Generator[ObjectsPage, None, None]:
    """Give the objects of a volume in or below a directory (b"": all). Raises VolumeError where it is not here."""
    with closing(open_reader(volume.path or ".", volume.id)) as opened, scratch_folder("export") as folder:
        live = LiveObjects(opened, folder)
        damages = [
            f"its ledger is damaged from byte {damage.offset} to {damage.end}, which `bucketpull verify {opened.path} --repair` heals"
            for damage in live.damages
        ]
        page, size = ObjectsPage([], damages), 0
        for stored in live.objects():
            if below and stored.directory != below and not stored.directory.startswith(below + b"/"):
                continue
            page.rows.append(stored)
            size += len(stored.directory) + len(stored.name) + len(stored.location.path)
            if len(page.rows) == _MOST_ROWS or size > _MOST_BYTES:
                yield page
                page, size = ObjectsPage([]), 0
        yield page


def faults(
    volume: KnownVolume, *, hashed: bool, watch: Callable[[Verification], None]
) -> Generator[FaultsPage, None, None]:
    """Compare a volume with its ledger, as `bucketpull verify` does; `watch` is called for each object, and may raise.

    Raises VolumeError where it is not here.
    """
    with closing(open_reader(volume.path or ".", volume.id)) as opened:
        user = opened.user()
        verification = Verification(opened, hashed=hashed, extra=user is None, watch=watch)
        found: list[Finding] = []
        for finding in verification.run():
            found.append(msgspec.structs.replace(finding, stored=None))
            if len(found) == _MOST_FINDINGS:
                yield _faults_page(verification, found, user)
                found = []
        yield _faults_page(verification, found, user)


def _faults_page(verification: Verification, found: list[Finding], user: int | None) -> FaultsPage:
    return FaultsPage(
        found,
        verification.objects,
        verification.bytes,
        verification.hashed_objects,
        verification.unhashed_objects,
        user or 0,
    )
