"""Rewrites packs of which much is dead: what is still an object goes into new packs, then the old ones are removed.

A kill at any instant loses nothing: an old pack goes only when the ledger knows the new places of all its objects.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from bucketpull.domain.packing import LARGEST_PACKED, Packing, PackNames
from bucketpull.domain.record import Block, Record
from bucketpull.volumes.live_objects import Latest, Stored
from bucketpull.volumes.location import Bodies
from bucketpull.volumes.packs import folder, sealing, tar
from bucketpull.volumes.packs.appender import Appender, Member
from bucketpull.volumes.packs.index import SUFFIX
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.volume import DiskVolume

DEAD_SHARE: Final = 0.2
_JOURNAL: Final = "compact"
_GROUP_BYTES: Final = 8 << 20
_GROUP_OBJECTS: Final = 1000


class Waste(NamedTuple):
    """A pack and how much of it is dead, in bytes; `objects` are still alive."""

    pack: str
    size: int
    dead: int
    objects: int


def find_waste(reader: VolumeReader, latest: Latest) -> list[Waste]:
    """Return the finished packs of a volume, those with the largest dead share first."""
    live: dict[str, tuple[int, int]] = {}
    for stored in latest.objects():
        pack, length = stored.location.pack, stored.location.length
        if pack:
            objects, size = live.get(pack, (0, 0))
            live[pack] = (objects + 1, size + tar.BLOCK + length + tar.padding(length))
    packs = [_waste(reader.root, pack, *live.get(pack, (0, 0))) for pack in _finished(reader.root, reader.id)]
    return sorted(packs, key=lambda waste: waste.dead / waste.size, reverse=True)


def compact(volume: DiskVolume, reader: VolumeReader, latest: Latest, wasted: Sequence[Waste]) -> int:
    """Rewrite packs, and return the bytes that are free now. The volume is opened for writing, and nothing is pulled to it.

    Raises:
        VolumeError: It cannot be written, or a pack not be read.
        OSError: The same.

    """
    wanted = {waste.pack for waste in wasted}
    by_pack: dict[str, list[Stored]] = {pack: [] for pack in wanted}
    for stored in latest.objects():
        if stored.location.pack in wanted:
            by_pack[stored.location.pack].append(stored)
    freed = 0
    for waste in wasted:
        _rewrite(volume, reader, by_pack.pop(waste.pack))
        _remove(reader.root, waste.pack)
        freed += waste.dead
    return freed


def _rewrite(volume: DiskVolume, reader: VolumeReader, objects: list[Stored]) -> None:
    if not objects:
        return
    objects.sort(key=lambda stored: stored.location.offset)
    packing = Packing(limit=LARGEST_PACKED, names=_names_of(reader.bodies, objects[0]))
    appender = Appender(reader.root, reader.id, packing, sync=False)
    try:
        for work, group in enumerate(_groups(objects)):
            members = [
                Member(each.directory, each.name, each.mtime, [reader.bodies.read(each.location)], each.location.length, each)
                for each in group
            ]  # fmt: skip
            pack, offsets = appender.append(members)
            records = [_record(each, pack, offset) for each, offset in zip(group, offsets, strict=True)]
            volume.settle([Block(_JOURNAL, work, msgspec.msgpack.encode(records))])
    finally:
        appender.close()


def _groups(objects: list[Stored]) -> Iterator[list[Stored]]:
    group: list[Stored] = []
    size = 0
    for each in objects:
        group.append(each)
        size += each.location.length
        if size >= _GROUP_BYTES or len(group) >= _GROUP_OBJECTS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _record(stored: Stored, pack: str, offset: int) -> Record:
    return Record(
        stored.directory,
        stored.cursor,
        [stored.name],
        [stored.size],
        [stored.mtime],
        [] if stored.location.length == stored.size else [stored.location.length],
        [stored.md5] if stored.md5 else [],
        pack=pack,
        offsets=[offset],
    )


def _names_of(bodies: Bodies, stored: Stored) -> PackNames:
    """Return how the members of a pack are named, by one of them."""
    location = stored.location
    header = os.pread(bodies.pack(location.pack), tar.BLOCK, location.offset - tar.BLOCK)
    found = tar.read_header(header)
    return PackNames.WDS if found is not None and tar.is_sample(found.path) else PackNames.KEY


def _finished(root: int, volume: str) -> list[str]:
    """Return all packs but those that their writers may go on with."""
    return [
        folder.pack_name(volume, writer, number)
        for writer, numbers in folder.packs_of(root, volume).items()
        for number in numbers[:-1]
    ]


def _waste(root: int, pack: str, objects: int, live: int) -> Waste:
    size = os.stat(folder.path_of(pack), dir_fd=root, follow_symlinks=False).st_size
    return Waste(pack, max(1, size), max(0, size - len(tar.END) - live), objects)


def _remove(root: int, pack: str) -> None:
    name = folder.path_of(pack)
    for each in (name + SUFFIX, name):
        with suppress(FileNotFoundError):
            os.unlink(each, dir_fd=root)
    sealing.forget_sum(root, pack)
