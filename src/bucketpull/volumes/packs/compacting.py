"""How much of a volume's packs is dead (replaced, removed, or never settled); and packs rewritten without it.

What is still an object goes into new packs, then the old ones are removed.

A kill at any instant loses nothing: an old pack goes only when the ledger knows the new places of all its objects.
The volume's totals are right from the beginning on: they are put right first, and what only moves is not counted again.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Final, NamedTuple

import msgspec

from bucketpull.domain import keys
from bucketpull.domain.model import key_of
from bucketpull.domain.packing import Packing, PackNames
from bucketpull.domain.record import Block
from bucketpull.volumes.live_objects import LiveObjects, Stored, whole_body
from bucketpull.volumes.packs import folder, tar
from bucketpull.volumes.packs.writer import Appender, Member
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.volume import DiskVolume

_DEAD_SHARE: Final = 0.2
"""A pack of which more is dead is worth being rewritten."""

_JOURNAL: Final = "compact"
_GROUP_BYTES: Final = 8 << 20
_GROUP_OBJECTS: Final = 1000


class Waste(NamedTuple):
    """A pack and how much of it is dead, in bytes; `objects` are still alive."""

    pack: str
    size: int
    dead: int
    objects: int

    @property
    def is_much(self) -> bool:
        """Whether the pack is worth being rewritten."""
        return self.dead > _DEAD_SHARE * self.size


class LiveBodies:
    """Adds up what is alive in each pack, object by object."""

    def __init__(self, reader: VolumeReader) -> None:
        self._reader = reader
        self._names: dict[str, PackNames] = {}
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, stored: Stored) -> None:
        """Count an object, with the headers before it; one that lies in no pack is left out.

        Raises OSError where its pack cannot be read.
        """
        pack, length = stored.location.pack, stored.location.length
        if pack:
            objects, size = self._found.get(pack, (0, 0))
            self._found[pack] = (objects + 1, size + self._head(pack, stored) + length + tar.padding(length))

    def waste(self, ended: Collection[str] = ()) -> list[Waste]:
        """Return the finished packs and those that were `ended`, those with the largest dead share first.

        Raises OSError where one cannot be looked at.
        """
        packs = [self._waste(pack) for pack in _finished(self._reader, ended)]
        return sorted(packs, key=lambda waste: waste.dead / waste.size, reverse=True)

    def _head(self, pack: str, stored: Stored) -> int:
        names = self._names.get(pack)
        if names is None:
            names = self._names[pack] = _names_of(self._reader, stored)
        key = key_of(stored.directory, stored.name)
        if names is PackNames.WDS:
            return len(tar.sample(0, 0, key, stored.location.length, stored.mtime))
        return tar.header_bytes(key, keys.path_of(key))

    def _waste(self, pack: str) -> Waste:
        size = os.fstat(self._reader.bodies.pack(pack)).st_size
        objects, live = self._found.get(pack, (0, 0))
        return Waste(pack, max(1, size), max(0, size - len(tar.END) - live), objects)


def find_waste(reader: VolumeReader, live: LiveObjects, ended: Collection[str] = ()) -> list[Waste]:
    """Return the finished packs of a volume and those that were `ended`, those with the largest dead share first."""
    living = LiveBodies(reader)
    for stored in live.objects():
        living.add(stored)
    return living.waste(ended)


def _names_of(reader: VolumeReader, stored: Stored) -> PackNames:
    """Return how the members of a pack are named, by one of them."""
    location = stored.location
    header = os.pread(reader.bodies.pack(location.pack), tar.BLOCK, location.offset - tar.BLOCK)
    found = tar.read_header(header)
    return PackNames.WDS if found is not None and tar.is_sample(found.path) else PackNames.KEY


def _finished(reader: VolumeReader, ended: Collection[str]) -> list[str]:
    """Return all packs but those that their writers may go on with."""
    return [
        pack
        for writer, numbers in folder.packs_of(reader.root, reader.id).items()
        for number in numbers
        if (pack := folder.pack_name(reader.id, writer, number)) in ended or number != numbers[-1]
    ]


class Compaction:
    """Rewrites packs of a volume, one after the other; only the objects of one are in memory. The volume is opened for writing, and nothing is pulled to it.

    Raises VolumeError where its totals, which are put right first, cannot be written.
    """

    def __init__(
        self, volume: DiskVolume, reader: VolumeReader, live: LiveObjects, wasted: Collection[Waste]
    ) -> None:
        self._volume, self._reader, self._live = volume, reader, live
        self._blocks = live.blocks_of({waste.pack for waste in wasted})
        # Which --pack the job has is not known here: packs become no larger than the largest that is there.
        self._pack_bytes = max(1, folder.usage(reader.root, reader.id).largest - len(tar.END))
        volume.correct(live.count, sum(stored.location.length for stored in live.objects()))

    def rewrite(self, waste: Waste) -> int:
        """Rewrite a pack, and return the bytes that are free now. Raises VolumeError or OSError where it cannot be written, or not be read."""
        pack = waste.pack
        objects = list(self._live.in_pack(pack, self._blocks[pack]))
        _rewrite(self._volume, self._reader, objects, self._pack_bytes)
        with closing(self._volume.pack_folders()) as folders:
            folders.remove(pack)
        return waste.dead


def end_packs(volume: DiskVolume, packs: Collection[str]) -> None:
    """Have the writers of these packs, which are damaged, begin the next ones. The volume is opened for writing.

    Raises OSError where the disk refuses.
    """
    with closing(volume.pack_folders()) as folders:
        for writer, numbers in folders.numbers().items():
            if folders.name(writer, numbers[-1]) in packs:
                folders.leave_open(writer, numbers[-1], folder.NEXT)


def _rewrite(volume: DiskVolume, reader: VolumeReader, objects: list[Stored], pack_bytes: int) -> None:
    if not objects:
        return
    objects.sort(key=lambda stored: stored.location.offset)
    packing = Packing(pack_bytes, names=_names_of(reader, objects[0]))
    appender = Appender(volume.pack_folders(), packing, sync=False)
    try:
        for work, group in enumerate(_groups(objects)):
            members = [
                Member(
                    each.directory,
                    each.name,
                    each.mtime,
                    [whole_body(reader, each)],
                    each.location.length,
                    each,
                )
                for each in group
            ]
            pack, offsets = appender.append(members)
            records = [each.record(b"", pack, offset) for each, offset in zip(group, offsets, strict=True)]
            volume.settle([Block(_JOURNAL, work, msgspec.msgpack.encode(records))], moved=True)
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
