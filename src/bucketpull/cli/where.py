"""`bucketpull where`: on which volume an object lies."""

import os
import socket
from contextlib import closing
from typing import Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode, LedgerError, VolumeError
from bucketpull.domain.keys import homes_of
from bucketpull.domain.model import Extent, key_of, show
from bucketpull.journal.reader import JournalReader
from bucketpull.journal.volumes import KnownVolume
from bucketpull.reading.volume import ReadableVolume
from bucketpull.report.json_line import json_line
from bucketpull.volumes.identity import Identity
from bucketpull.volumes.location import Location
from bucketpull.volumes.packs.folder import path_of
from bucketpull.volumes.reader import VolumeReader, open_reader
from bucketpull.wiring.locate import reading
from bucketpull.wiring.output import say, tell, words
from bucketpull.wiring.settings import Settings


@click.command()
@click.argument("key")
@options.common
def where(key: str, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Say on which machine and volume the object KEY lies, and at which path; exit 3 if nobody has it.

    \b
    bucketpull where 2024/img-000.jpg --job photos
    """  # noqa: D301
    return _show(options.settings(flags), key)


class Place(msgspec.Struct):
    """Where an object lies: `size` bytes from byte `offset` of `path` on, which is absolute; in a file of its own from 0 on.

    `mtime` is that of the listing in Unix seconds, `md5` in hex ("": unknown).

    `present` is false where the file itself is not there any more.
    """

    key: str
    machine: str
    volume: str
    path: str
    offset: int
    size: int
    mtime: int
    md5: str
    present: bool


class Elsewhere(msgspec.Struct):
    """A volume that may hold the object and cannot be looked at from here; `path` is where the object would be."""

    key: str
    machine: str
    volume: str
    path: str
    detail: str


def _show(settings: Settings, key: str) -> ExitCode:
    """Print where an object lies; exit 3 if it is known nowhere."""
    with reading(settings) as reader:
        found, away = _find_typed(reader, key)
    if settings.json:
        for each in found or away:
            say(json_line(each))
    for place in [] if settings.json else found:
        text = f"  (volume {place.volume}, {place.size:,} bytes)"
        if place.offset:
            text = f" at byte {place.offset:,}{text}"
        say(f"{place.machine}:{place.path}{words().message(text)}")
    for place in found:
        if not place.present:
            tell(
                f"{place.path}: recorded, but not there any more; `bucketpull verify` says what else is missing"
            )
    if found:
        return ExitCode.COMPLETE if found[0].present else ExitCode.INCOMPLETE
    return _nowhere(settings, key, away)


def _nowhere(settings: Settings, key: str, away: list[Elsewhere]) -> ExitCode:
    for place in away:
        if not settings.json:
            text = f"  (volume {place.volume}, if anywhere: {place.detail})"
            say(f"{place.machine}:{place.path}{words().message(text)}")
    if away:
        tell(f"{key}: ask on that machine, or mount the volume, to be sure")
        return ExitCode.COMPLETE
    tell(f"{key}: is on no volume of this job; `bucketpull failures --match` says whether it failed")
    return ExitCode.INCOMPLETE


def _find_typed(reader: JournalReader, typed: str) -> tuple[list[Place], list[Elsewhere]]:
    """Find a key as somebody types it: in UTF-8, else in the bytes that the locale makes of it; with a leading slash or without."""
    texts = list(dict.fromkeys([typed, typed.lstrip("/")]))
    keys = [text.encode() for text in texts if text.isprintable()] + [os.fsencode(text) for text in texts]
    found, away = _find(reader, keys[0])
    for key in dict.fromkeys(keys[1:]):
        if found or away:
            break
        found, away = _find(reader, key)
    return found, away


def _find(reader: JournalReader, key: bytes) -> tuple[list[Place], list[Elsewhere]]:
    """Return the newest place of a key, or else the volumes that may have it."""
    volumes = {volume.id: volume for volume in reader.volumes()}
    away: dict[str, Elsewhere] = {}
    gone: list[Place] = []
    for directory, name in homes_of(key):
        for extent in reader.where(directory, name):
            volume = volumes[extent.volume]
            try:
                place = _look(volume, extent, directory, name)
            except LedgerError as error:
                tell(str(error))
                continue
            except VolumeError as error:
                path = f"{volume.path}/{show(usual_path(reader, directory, name))}" if volume.path else ""
                away[volume.id] = Elsewhere(show(key), volume.machine, volume.id, path, error.detail)
                continue
            if place is not None and place.present:
                return [place], []
            if place is not None:
                gone.append(place)
    return (gone[:1], []) if gone and not away else ([], list(away.values()))


def usual_path(reader: JournalReader, directory: bytes, name: bytes) -> bytes:
    """Return where an object lies on a volume that cannot be looked at; only its ledger knows of exceptions."""
    layout = reader.configuration().get("layout", "key")
    return Identity("", layout).path_of(directory, name)


def _look(volume: KnownVolume, extent: Extent, directory: bytes, name: bytes) -> Place | None:
    """Read one block of one ledger.

    Raises:
        VolumeError: The volume is not here.

    """
    opened = open_reader(volume.path or ".", volume.id)
    try:
        return _look_up(opened, volume, extent.offset, directory, name)
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
            f"{volume.path}/{show(location.path)}",
            location.offset,
            location.length,
            record.mtimes[index],
            record.md5s[index].hex() if record.md5s else "",
            opened.bodies.size(location) is not None,
        )
    return None


def _compacted(path: str, key: bytes) -> Location | None:
    """Return where an object lies whose pack was rewritten: the journal knows the block that told of the former one."""
    with closing(ReadableVolume(path)) as volume:
        place = volume.place_of(key)
    if place is None or not place.pack:
        return None
    return Location(path_of(place.pack).encode(), place.offset, place.length, place.pack)
