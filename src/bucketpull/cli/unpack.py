"""`bucketpull unpack`: files again."""

import itertools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from typing import Any, Final

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.batching import batch_of, encode_parts
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode, Reason, VolumeError, VolumeFull, VolumeSick
from bucketpull.domain.model import Part, key_of, show
from bucketpull.domain.record import Block, Record, Written
from bucketpull.reading.readable_volumes import Found, ReadableVolume
from bucketpull.report.console import tell
from bucketpull.report.figures import size
from bucketpull.trusted_path import make_folder
from bucketpull.volumes import os_errors
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.files.stream import StreamFile
from bucketpull.volumes.identity import HOME, identify, initialise, owner_at
from bucketpull.volumes.live_objects import LiveObjects, Stored, whole_body
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.volume import DiskVolume, open_volume
from bucketpull.wiring.file_checks import refuse_foreign_link
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.system import FEWEST_TO_READ, check_limit
from bucketpull.wiring.volume_opening import check_around, opened_to_read, volume_around

_JOURNAL: Final = "unpack"
_GROUP: Final = 1000
_PIECE_BYTES: Final = 8 << 20


@click.command()
@click.argument("volume")
@click.argument("dest")
@options.common
@options.interruptible("interrupted: what is stored below DEST stays; run it again to go on")
def unpack(volume: str, dest: str, **flags: Any) -> int:
    """Store all objects of VOLUME as files below the folder DEST, which is made a volume of its own, with its ledger.

    VOLUME stays as it is. DEST may be no job's volume, nor lie inside of one or around one; another file where an object belongs is kept as NAME.kept. Run it again to go on after an interruption: what DEST has is not written again. Exit 3 if an object
    could not be read or written.

    \b
    bucketpull unpack /mnt/packs /mnt/files
    """
    check_limit(FEWEST_TO_READ)
    return _unpack(options.settings(flags), volume, dest)


def _unpack(settings: Settings, source: str, dest: str) -> ExitCode:
    refuse_foreign_link(f"DEST {dest}", dest)
    with opened_to_read(source) as reader, scratch_folder("unpack") as folder:
        _check_dest(dest, reader.id)
        with os_errors.volume_errors(dest, "not made"):
            make_folder(dest, parents=True)
        identity = initialise(dest)
        live = LiveObjects(reader, folder)
        with closing(open_volume(dest)) as volume:
            volume.settle_begun()
            files = FileWriter.open(dest, identity, sync=False)
            try:
                unpacking = _Unpacking(reader, volume, files)
                with closing(ReadableVolume(dest)) as known:
                    unpacking.run(live, known)
            finally:
                files.close()
            warning = volume.status().warning
    settings.tell(f"{counted(unpacking.objects, 'objects')}, {size(unpacking.bytes)}, stored below {dest}")
    if unpacking.in_place:
        settings.tell(f"{counted(unpacking.in_place, 'objects were')} there already")
    if warning:
        settings.tell(f"volume {dest}: {warning}")
    return ExitCode.INCOMPLETE if unpacking.failed else ExitCode.COMPLETE


def _check_dest(dest: str, source: str) -> None:
    """Keep what is unpacked out of volumes; a folder that an earlier `unpack` made is no job's, and is gone on with."""
    full = os.path.realpath(dest)
    around = volume_around(full)
    if around is not None:
        raise ConfigError(f"DEST {dest}: lies inside of the volume {around}; name a folder outside of it")
    owner, _ = owner_at(full)
    if owner is not None or identify(full) == source:
        raise ConfigError(f"DEST {dest}: is a volume; name a folder outside of volumes")
    if not os.path.lexists(f"{full}/{HOME}"):
        check_around(f"DEST {dest}", full)


class _Unpacking:
    """Counts what it stores, what is in place already, and what it could not store."""

    def __init__(self, reader: VolumeReader, volume: DiskVolume, files: FileWriter) -> None:
        self._reader, self._volume, self._files = reader, volume, files
        self.objects = self.bytes = self.in_place = self.failed = 0

    def run(self, live: LiveObjects, known: ReadableVolume) -> None:
        """Store objects in groups, each noted before and durable before the next is begun: what a kill leaves is known as ours."""
        objects = self._missing(live, known)
        for work in itertools.count(1):
            group = list(itertools.islice(objects, _GROUP))
            if not group:
                return
            parts = [_part_of(stored) for stored in group]
            self._volume.intend(_JOURNAL, work, encode_parts(parts))
            records = [record for stored in group if (record := self._store(stored)) is not None]
            self._volume.settle([Block(_JOURNAL, work, msgspec.msgpack.encode(records))])
            self._volume.forget(_JOURNAL, [work])

    def _missing(self, live: LiveObjects, known: ReadableVolume) -> Iterator[Stored]:
        """Give the objects that are not below the destination in this version."""
        for stored in live.objects():
            try:
                found = known.find(key_of(stored.directory, stored.name))
                is_there = found is not None and self._is_same(stored, found)
            except (OSError, VolumeError):
                is_there = False
            if is_there:
                self.in_place += 1
            else:
                yield stored

    def _is_same(self, stored: Stored, found: Found) -> bool:
        """Tell whether what was found is this version; where no date says that, by its bytes."""
        length = stored.location.length
        if found.size != length or stored.mtime >= 0:
            return (found.size, found.mtime) == (length, stored.mtime)
        return all(
            self._reader.bodies.read(stored.location, at, _PIECE_BYTES)
            == found.read(at, min(_PIECE_BYTES, length - at))
            for at in range(0, length, _PIECE_BYTES)
        )

    def _store(self, stored: Stored) -> Record | None:
        length = stored.location.length
        try:
            written = self._copy(stored) if length > _PIECE_BYTES else self._write(stored)
        except OSError as error:
            self._fail(stored, f"not read: {error.strerror}")
            return None
        except (
            VolumeSick
        ) as error:  # of one object; a disk that is sick refuses the whole group when it settles
            self.failed += 1
            tell(str(error))
            return None
        if written.reason is not None:
            self._refuse(stored, written)
            return None
        self.objects += 1
        self.bytes += length
        return stored.record(written.path or b"")

    def _write(self, stored: Stored) -> Written:
        body = whole_body(self._reader, stored)
        self._volume.clear(batch_of([_part_of(stored)]))
        return self._files.store(stored.directory, stored.name, stored.mtime, [body] if body else [], None)

    def _copy(self, stored: Stored) -> Written:
        length = stored.location.length
        self._volume.clear(batch_of([_part_of(stored)]))
        with self._writing():
            stream = StreamFile(
                self._files, stored.directory, stored.name, length, stored.mtime, hashed=bool(stored.md5)
            )
        try:
            for start in range(stream.offset, length, _PIECE_BYTES):
                piece = self._reader.bodies.read(stored.location, start, _PIECE_BYTES)
                with self._writing():
                    stream.append([piece])
            return stream.publish(length, [stored.md5] if stored.md5 else None, None)
        finally:
            stream.close(keep=False)

    def _writing(self) -> AbstractContextManager[None]:
        return os_errors.volume_errors(self._files.path, "part not written")

    def _refuse(self, stored: Stored, written: Written) -> None:
        if written.reason is Reason.VOLUME_FULL:
            raise VolumeFull(self._files.path, written.detail)
        if written.reason is Reason.VOLUME_SICK:
            raise VolumeSick(self._files.path, written.detail)
        self._fail(stored, written.detail)

    def _fail(self, stored: Stored, detail: str) -> None:
        self.failed += 1
        tell(f"{show(key_of(stored.directory, stored.name))}: {detail}")


def _part_of(stored: Stored) -> Part:
    """Return an object as what is asked for, as long as its bytes are."""
    return Part(stored.directory, stored.cursor, [stored.name], [stored.location.length], [stored.mtime])
