"""Rewrites packs of which much is dead: what is still an object goes into new packs, then the old ones are removed.

A kill at any instant loses nothing: an old pack goes only when the ledger knows the new places of all its objects.
The volume's totals are right from the beginning on: they are put right first, and what only moves is not counted again.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from typing import Final

import msgspec

from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import key_of, show
from bucketpull.domain.packing import LARGEST_PACKED, Packing
from bucketpull.domain.record import Block
from bucketpull.volumes.live_objects import LiveObjects, Stored
from bucketpull.volumes.packs import folder, sealing
from bucketpull.volumes.packs.appender import Appender, Member
from bucketpull.volumes.packs.folder import Folders
from bucketpull.volumes.packs.index import SUFFIX
from bucketpull.volumes.packs.waste import Waste, names_of
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.volume import DiskVolume

_JOURNAL: Final = "compact"
_GROUP_BYTES: Final = 8 << 20
_GROUP_OBJECTS: Final = 1000


def compact(volume: DiskVolume, reader: VolumeReader, live: LiveObjects, wasted: Sequence[Waste]) -> int:
    """Rewrite packs, and return the bytes that are free now. The volume is opened for writing, and nothing is pulled to it.

    Raises:
        VolumeError: It cannot be written, or a pack not be read.
        OSError: The same.

    """
    wanted = {waste.pack for waste in wasted}
    by_pack: dict[str, list[Stored]] = {pack: [] for pack in wanted}
    size = 0
    for stored in live.objects():
        size += stored.location.length
        if stored.location.pack in wanted:
            by_pack[stored.location.pack].append(stored)
    volume.correct(live.count, size)
    freed = 0
    for waste in wasted:
        _rewrite(volume, reader, by_pack.pop(waste.pack))
        with closing(volume.pack_folders()) as folders:
            _remove(folders, waste.pack)
        freed += waste.dead
    return freed


def end_packs(volume: DiskVolume, packs: Collection[str]) -> None:
    """Have the writers of these packs, which are damaged, begin the next ones. The volume is opened for writing.

    Raises:
        OSError: The disk refuses.

    """
    with closing(volume.pack_folders()) as folders:
        for writer, numbers in folders.numbers().items():
            if folders.name(writer, numbers[-1]) in packs:
                folders.leave_open(writer, numbers[-1], folder.NEXT)


def _rewrite(volume: DiskVolume, reader: VolumeReader, objects: list[Stored]) -> None:
    if not objects:
        return
    objects.sort(key=lambda stored: stored.location.offset)
    packing = Packing(limit=LARGEST_PACKED, names=names_of(reader, objects[0]))
    appender = Appender(volume.pack_folders(), packing, sync=False)
    try:
        for work, group in enumerate(_groups(objects)):
            members = [
                Member(
                    each.directory, each.name, each.mtime, [_body(reader, each)], each.location.length, each
                )
                for each in group
            ]
            pack, offsets = appender.append(members)
            records = [each.record(b"", pack, offset) for each, offset in zip(group, offsets, strict=True)]
            volume.settle([Block(_JOURNAL, work, msgspec.msgpack.encode(records))], moved=True)
    finally:
        appender.close()


def _body(reader: VolumeReader, stored: Stored) -> bytes:
    """Read an object. One that is damaged is not written anew: its pack would look whole.

    Raises:
        VolumeSick: It is damaged.

    """
    body = reader.bodies.read(stored.location)
    is_whole = len(body) == stored.location.length
    if is_whole and stored.md5:
        is_whole = hashlib.md5(body, usedforsecurity=False).digest() == stored.md5
    if not is_whole:
        key = show(key_of(stored.directory, stored.name))
        raise VolumeSick(
            reader.path,
            f"{key} in pack {stored.location.pack} is damaged; `bucketpull verify {reader.path} --hash --repair` fetches it again",
        )
    return body


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


def _remove(folders: Folders, pack: str) -> None:
    name = folder.file_of(pack)
    for each in (name + SUFFIX, name):
        folders.remove(each)
    sealing.forget_sum(folders.packs, pack)
