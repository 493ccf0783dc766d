"""`bucketpull rebuild`: a job's journal again, from its volumes."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.record import Record
from bucketpull.domain.status import VolumeState
from bucketpull.journal.database import LOCK, MARKER, Lock, check_ours
from bucketpull.journal.journal_connection import FILE
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.report.console import say_on, tell
from bucketpull.report.printable import json_line
from bucketpull.trusted_path import make_private_folder
from bucketpull.volumes.identity import Owner
from bucketpull.volumes.ledger import Damage, Kind
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.removal import PRUNING
from bucketpull.volumes.volume import open_volume
from bucketpull.wiring.file_checks import check_folder, refuse_foreign_link
from bucketpull.wiring.journals import job_folder
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import all_opened_to_read, check_idle, check_paths, name_of, owner_by


@click.command()
@options.places("[SOURCE] VOLUME...")
@click.option("--style", metavar="SUFFIX", help="The job's image version, if it had one.")
@options.keys_of_source
@options.common
def rebuild(places: tuple[str, ...], **flags: Any) -> int:
    """Make a journal from the ledgers on VOLUMEs, where it is lost or damaged; there must be none.

    The next `bucketpull sync` lists the bucket and fetches only what is not on them. Name all volumes: what is on others would
    be fetched again. Of an object that several of them have, `sync` keeps one copy and
    removes the others.

    \b
    bucketpull rebuild upyun://photos /mnt/d1 /mnt/d2
    bucketpull rebuild /mnt/d1 /mnt/d2 --job photos --state new-state
    """
    return _rebuild(options.settings(flags | options.split(places)))


_FOLDER = "rebuild"


def _rebuild(settings: Settings) -> ExitCode:
    """Make the journal; exit 3 if a ledger is damaged, for then something will be fetched again."""
    paths = check_paths(settings.volumes)
    if not (settings.state or settings.job or settings.source):
        raise ConfigError("which job? Name it by SOURCE (upyun://BUCKET), --job or --state")
    folder = job_folder(settings)
    refuse_foreign_link(f"--state {folder}", folder)
    check_folder(f"--state {folder}", os.path.realpath(folder))
    if os.path.isdir(folder):
        check_ours(folder)
    with all_opened_to_read(paths) as readers:
        _check(settings, folder, readers)
        ends = [reader.ledger.end for reader in readers]
    damaged = [text for path, end in zip(paths, ends, strict=True) for text in _settled(path, end)]
    with ExitStack() as stack, all_opened_to_read(paths) as readers:
        make_private_folder(folder)
        stack.callback(Lock(os.path.join(folder, LOCK)).release)
        objects = _build(settings, folder, readers, damaged)
    for text in damaged:
        tell(f"volume {text}; what it recorded will be fetched again")
    if settings.json:
        say_on(json_line({"journal": folder, "objects": objects, "damaged": len(damaged)}))
    else:
        settings.inform(
            f"journal {folder}: knows {counted(objects, 'ledger entries')} on {counted(len(readers), 'volumes')} now"
        )
        settings.inform("run `bucketpull sync` to list the bucket and fetch what is missing")
        if len(readers) > 1:
            settings.inform(
                "of an object that several of these volumes have, `sync` keeps one copy and removes the others"
            )
    return ExitCode.INCOMPLETE if damaged else ExitCode.COMPLETE


def _settled(path: str, end: int) -> Iterator[str]:
    """Settle what was begun on a volume whose ledger ended at an offset; say what was damaged, and so cut off, where work may be unfinished."""
    with closing(open_volume(path)) as volume:
        left = volume.status().ledger_end
        if left < end:
            yield _damage(path, volume.id, left, end)
        volume.settle_begun()


def _damage(path: str, volume: str, start: int, end: int) -> str:
    return f"{path} ({volume}): its ledger is damaged from byte {start} to {end}"


def _check(settings: Settings, folder: str, readers: Sequence[VolumeReader]) -> None:
    for name in (FILE, MARKER):
        if os.path.exists(os.path.join(folder, name)):
            raise ConfigError(
                f"journal {folder}: there is one; move the folder away first, or name another with --state"
            )
    for reader in readers:
        check_idle(reader)
        owner = reader.identity.owner
        if owner is not None and settings.source:
            _check_source(reader.path, owner, settings.source_settings().identity())


def _check_source(path: str, owner: Owner, asked: Mapping[str, str]) -> None:
    """Make sure that a volume's objects are those of the source; it may be the whole of what was a part before, or a part."""
    if any(owner.source.get(name, "") != asked.get(name, "") for name in ("source", "style")):
        raise ConfigError(
            f"volume {path}: has objects of {name_of(owner)}; name that as SOURCE, or leave the volume out"
        )


def _build(settings: Settings, folder: str, readers: Sequence[VolumeReader], damaged: list[str]) -> int:
    """Make the journal in a folder of its own, then move it to its place; return how many objects it knows, and add what is `damaged`."""
    place = os.path.join(folder, _FOLDER)
    shutil.rmtree(place, ignore_errors=True)
    name = settings.job_name() if settings.source or settings.job else os.path.basename(folder)
    journal = SqliteJournal.open(place, name, _configuration(settings, readers), now=time.time())
    try:
        objects = sum(journal.learn(_blocks(reader, damaged)) for reader in readers)
        machine = settings.machine_name()
        journal.record_volumes(
            [KnownVolume(reader.id, machine, reader.path, VolumeState.OPEN) for reader in readers]
        )
        owner = owner_by(journal)
    finally:
        journal.close()
    for reader in readers:
        with closing(open_volume(reader.path, reader.id)) as volume:
            before = volume.identity.owner
            volume.belong_to(owner if owner.source or before is None else Owner(owner.journal, before.source))
    for file in (FILE, MARKER):
        os.replace(os.path.join(place, file), os.path.join(folder, file))
    shutil.rmtree(place)
    return objects


def _configuration(settings: Settings, readers: Sequence[VolumeReader]) -> dict[str, str]:
    """Return the job's identity as far as it is known; the first session adds the rest."""
    layouts = {reader.identity.layout for reader in readers}
    known = {"layout": layouts.pop()} if len(layouts) == 1 else {}
    if not settings.source:
        return {}
    return known | settings.source_settings().identity()


def _blocks(reader: VolumeReader, damaged: list[str]) -> Iterator[tuple[str, int, list[Record]]]:
    """Give the blocks of a ledger, without the objects that were removed since."""
    removals = _removals_of_batches(reader)
    for entry in reader.ledger.salvage():
        if isinstance(entry, Damage):
            damaged.append(_damage(reader.path, reader.id, entry.offset, entry.end))
        elif entry.kind is Kind.BLOCK:
            records = reader.left(entry)
            later = [at for at in removals.get((entry.journal, entry.work), ()) if at > entry.offset]
            if later:
                kept = entry.ids().difference(*(reader.ledger.read(at).ids() for at in later))
                records = [record.take(indexes) for record in records if (indexes := record.matching(kept))]
            if records:
                yield reader.id, entry.offset, records


def _removals_of_batches(reader: VolumeReader) -> dict[tuple[str, int], list[int]]:
    """Return where the ledger names objects that did not count of some batch, by journal and work. `left` knows of all others."""
    removals: dict[tuple[str, int], list[int]] = {}
    for entry in reader.ledger.salvage():
        if (
            not isinstance(entry, Damage)
            and entry.kind is Kind.REMOVAL
            and entry.journal != PRUNING
            and entry.work
        ):
            removals.setdefault((entry.journal, entry.work), []).append(entry.offset)
    return removals
