"""How much of a volume's packs is dead: what was replaced, removed, or never settled."""

import os
from collections.abc import Collection
from typing import Final, NamedTuple

from bucketpull.domain.model import key_of
from bucketpull.domain.packing import PackNames
from bucketpull.volumes.live_objects import LiveObjects, Stored
from bucketpull.volumes.packs import folder, tar
from bucketpull.volumes.reader import VolumeReader

DEAD_SHARE: Final = 0.2
"""A pack of which more is dead is worth being rewritten."""


class Waste(NamedTuple):
    """A pack and how much of it is dead, in bytes; `objects` are still alive."""

    pack: str
    size: int
    dead: int
    objects: int

    @property
    def is_much(self) -> bool:
        """Whether the pack is worth being rewritten."""
        return self.dead > DEAD_SHARE * self.size


class LiveBodies:
    """Adds up what is alive in each pack, object by object."""

    def __init__(self, reader: VolumeReader) -> None:
        self._reader = reader
        self._names: dict[str, PackNames] = {}
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, stored: Stored) -> None:
        """Count an object, with the headers before it; one that lies in no pack is left out.

        Raises:
            OSError: Its pack cannot be read.

        """
        pack, length = stored.location.pack, stored.location.length
        if pack:
            objects, size = self._found.get(pack, (0, 0))
            self._found[pack] = (objects + 1, size + self._head(pack, stored) + length + tar.padding(length))

    def waste(self, ended: Collection[str] = ()) -> list[Waste]:
        """Return the finished packs and those that were `ended`, those with the largest dead share first.

        Raises:
            OSError: One cannot be looked at.

        """
        packs = [self._waste(pack) for pack in _finished(self._reader, ended)]
        return sorted(packs, key=lambda waste: waste.dead / waste.size, reverse=True)

    def _head(self, pack: str, stored: Stored) -> int:
        names = self._names.get(pack)
        if names is None:
            names = self._names[pack] = names_of(self._reader, stored)
        key = key_of(stored.directory, stored.name)
        if names is PackNames.WDS:
            return len(tar.sample(0, 0, key, stored.location.length, stored.mtime))
        return len(tar.header(key, stored.location.length, stored.mtime))

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


def names_of(reader: VolumeReader, stored: Stored) -> PackNames:
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
