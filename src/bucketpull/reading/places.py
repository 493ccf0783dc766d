"""Where one object of a volume lies, as the volume's ledger says."""

import socket
from contextlib import closing

import msgspec

from bucketpull.domain.model import key_of, show
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.reading.volume_set import ReadableVolume
from bucketpull.volumes.location import Location
from bucketpull.volumes.packs.folder import path_of
from bucketpull.volumes.reader import VolumeReader, open_reader


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

    Raises:
        VolumeError: The volume is not here.
        LedgerError: Its ledger is damaged there.

    """
    opened = open_reader(volume.path or ".", volume.id)
    try:
        return _look_up(opened, volume, offset, directory, name)
    finally:
        opened.close()


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
