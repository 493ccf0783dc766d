"""`bucketpull where`: on which volume an object lies."""

import os
from typing import Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode, LedgerError, VolumeError
from bucketpull.domain.keys import homes_of
from bucketpull.domain.model import show
from bucketpull.reading.ledger_answers import Place
from bucketpull.report.console import say, tell, words
from bucketpull.report.printable import json_line
from bucketpull.volumes.identity import Identity
from bucketpull.wiring.ledgers import Ledgers, ledgers
from bucketpull.wiring.settings import Settings


@click.command()
@click.argument("key")
@options.by_broker
@options.common
def where(key: str, **flags: Any) -> int:
    """Say on which machine and volume the object KEY lies, and at which path; exit 3 if nobody has it.

    \b
    bucketpull where 2024/img-000.jpg --job photos
    bucketpull where 2024/img-000.jpg --job photos --broker
    """
    settings, by_broker = options.asking(flags)
    return _show(settings, key, by_broker=by_broker)


class Elsewhere(msgspec.Struct):
    """A volume that may hold the object and cannot be looked at from here; `path` is where the object would be."""

    key: str
    machine: str
    volume: str
    path: str
    detail: str


def _show(settings: Settings, key: str, *, by_broker: bool) -> ExitCode:
    """Print where an object lies; exit 3 if it is known nowhere."""
    with ledgers(settings, by_broker=by_broker) as known:
        found, away = _find_typed(known, key)
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


def _find_typed(known: Ledgers, typed: str) -> tuple[list[Place], list[Elsewhere]]:
    """Find a key as somebody types it: in UTF-8, else in the bytes that the locale makes of it; with a leading slash or without."""
    texts = list(dict.fromkeys([typed, typed.lstrip("/")]))
    keys = [text.encode() for text in texts if text.isprintable()] + [os.fsencode(text) for text in texts]
    found, away = _find(known, keys[0])
    for key in dict.fromkeys(keys[1:]):
        if found or away:
            break
        found, away = _find(known, key)
    return found, away


def _find(known: Ledgers, key: bytes) -> tuple[list[Place], list[Elsewhere]]:
    """Return the newest place of a key, or else the volumes that may have it."""
    volumes = {volume.id: volume for volume in known.volumes()}
    away: dict[str, Elsewhere] = {}
    gone: list[Place] = []
    for directory, name in homes_of(key):
        for extent in known.where(directory, name):
            volume = volumes[extent.volume]
            try:
                place = known.place(volume, extent.offset, directory, name)
            except LedgerError as error:
                tell(str(error))
                continue
            except VolumeError as error:
                path = f"{volume.path}/{show(usual_path(known, directory, name))}" if volume.path else ""
                away[volume.id] = Elsewhere(show(key), volume.machine, volume.id, path, error.detail)
                continue
            if place is not None and place.present:
                return [place], []
            if place is not None:
                gone.append(place)
    return (gone[:1], []) if gone and not away else ([], list(away.values()))


def usual_path(known: Ledgers, directory: bytes, name: bytes) -> bytes:
    """Return where an object lies on a volume that cannot be looked at; only its ledger knows of exceptions."""
    layout = known.configuration().get("layout", "key")
    return Identity("", layout).path_of(directory, name)
