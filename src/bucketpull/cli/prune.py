"""`bucketpull prune`: what the source no longer has goes from volumes too."""

import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import Any, Final

import click

from bucketpull.cli import options
from bucketpull.domain.batching import groups
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import (
    BucketpullError,
    ConfigError,
    ExitCode,
    LedgerError,
    VolumeError,
    VolumeForeign,
    VolumeSick,
)
from bucketpull.domain.model import Extent, show
from bucketpull.domain.user_input import parse_age, shown_value
from bucketpull.downloader.walk import ListingWalk
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.report.console import say, say_on, tell
from bucketpull.report.figures import count, size
from bucketpull.report.printable import json_line, printable
from bucketpull.volumes.ledger import Gone
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.pruning import Comparison
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.trash import TrashFolders
from bucketpull.volumes.volume import DiskVolume, open_volume
from bucketpull.wiring.journals import existing_folder, journal_to_read, journal_to_write, with_configuration
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_client import list_all
from bucketpull.wiring.volume_opening import check_paths, opened_to_read

_GROUP: Final = 1000
_SHOWN: Final = 5
_BLOCKS: Final = 1000
_ALL: Final = 100.0  # percent


@click.command()
@click.argument("volumes", metavar="[VOLUME...]", nargs=-1, type=click.Path())
@click.option("--delete", is_flag=True, help="Remove it; without this, prune only says what it would remove.")
@click.option(
    "--max-delete",
    metavar="N|N%",
    default="1%",
    show_default=True,
    help="Remove nothing if more objects than that would go.",
)
@click.option(
    "--keep-for",
    metavar="AGE",
    help="Keep what goes in .bucketpull/trash, to be removed by a later prune after so long, such as 30d.",
)
@options.source
@options.common
def prune(delete: bool, max_delete: str, keep_for: str | None, **flags: Any) -> int:
    """Remove from VOLUMEs what the job's source no longer has. It says what would go, and removes it with --delete.

    The source is listed again as a whole; if a folder cannot be listed, nothing is removed. Only what bucketpull stored goes: other
    files are left alone, and so is what the job's rules excluded since. Of an object that lies on two VOLUMEs the older copy goes.
    No job may be running on the VOLUMEs. While it runs, TMPDIR takes 64 bytes an object.

    \b
    bucketpull prune /mnt/d1 /mnt/d2 --job photos
    bucketpull prune /mnt/d1 /mnt/d2 --job photos --delete --keep-for 30d
    """
    settings = options.settings(flags)
    return _Pruning(settings, delete=delete, most=_Most(max_delete), keep_seconds=_seconds(keep_for)).run()


class _Most:
    """The brake: so many objects, or so many percent of what is on the volumes. Raises ConfigError where it is neither."""

    def __init__(self, text: str) -> None:
        found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,6})?)(%?)", text)
        if (
            found is None
            or (found[2] and float(found[1]) > _ALL)
            or (not found[2] and not found[1].isdigit())
        ):
            raise ConfigError(
                f"--max-delete {shown_value(text)}: write a number of objects, or a share such as 1%, at most 100%"
            )
        self._number, self._is_share, self.text = float(found[1]), bool(found[2]), text

    def of(self, held: int) -> int:
        """Return how many of so many objects may go."""
        return int(held * self._number / 100) if self._is_share else int(self._number)


def _seconds(keep_for: str | None) -> float:
    if keep_for is None:
        return 0.0
    seconds = parse_age(keep_for)
    if seconds is None:
        raise ConfigError(f"--keep-for {shown_value(keep_for)}: write an age such as 30d or 12h")
    return seconds


class _Pruning:
    def __init__(self, settings: Settings, *, delete: bool, most: _Most, keep_seconds: float) -> None:
        self._delete = delete
        self._most = most
        self._trash = TrashFolders(keep_seconds)
        self._objects = self._freed = self._packed = self._failed = 0
        self._sick: list[VolumeError] = []
        self._paths = check_paths(settings.volumes)
        with journal_to_read(settings) as reader:
            self._known = {volume.id for volume in reader.volumes()}
            self._settings = with_configuration(settings, reader, existing_folder(settings))
        self._config = self._settings.source_config()
        if not self._config.tells_all:
            raise ConfigError(
                f"source {self._settings.source}: a list says what to pull, not what is there: nothing can be pruned by it; name a bucket"
            )

    def run(self) -> ExitCode:
        """List, compare, and remove; locked from before the listing on, so that nothing is stored meanwhile that it does not tell."""
        with ExitStack() as stack:
            folder = stack.enter_context(scratch_folder("prune"))
            volumes = self._opened(stack, self._readable())
            readers = [stack.enter_context(opened_to_read(volume.path, volume.id)) for volume in volumes]
            live = [LiveObjects(reader, folder) for reader in readers]
            for each in live:
                _tell_damage(each)
            comparison = Comparison(live, folder, self._config.identity()["prefix"].encode())
            walk = list_all(self._settings, self._config.open(), comparison.take)
            if not _is_complete(walk):
                return ExitCode.INCOMPLETE
            self._spare(walk.odd, comparison)
            gone = comparison.finish()
            return self._conclude(comparison, gone, volumes)

    def _readable(self) -> list[str]:
        """Return the volumes that can be read, once all of these are known to be this job's."""
        found: list[str] = []
        for path in self._paths:
            with self._noting_sick():
                self._check(path)
                found.append(path)
        return found

    @contextmanager
    def _noting_sick(self) -> Iterator[None]:
        try:
            yield
        except VolumeForeign:
            raise
        except (VolumeSick, LedgerError) as error:
            self._sick.append(error)

    def _opened(self, stack: ExitStack, paths: Sequence[str]) -> list[DiskVolume]:
        """Open volumes for writing; one that is sick is told of and left out, if another can be opened.

        Raises VolumeError where none can be opened.
        """
        opened: list[DiskVolume] = []
        for path in paths:
            with self._noting_sick():
                opened.append(stack.enter_context(closing(open_volume(path))))
        if self._sick and not opened:
            raise self._sick[0]
        for trouble in self._sick:
            self._leave(trouble)
        return opened

    def _leave(self, error: VolumeError) -> None:
        """Leave a volume as it is; the others are pruned all the same."""
        self._failed += 1
        tell(f"volume {error.volume}: {error.detail}; fix that, then run it again")

    def _check(self, path: str) -> None:
        with opened_to_read(path) as reader:
            is_ours = reader.id in self._known
        if not is_ours:
            raise ConfigError(
                f"volume {path}: is not one of this job's; name the job that it belongs to with --job"
            )

    def _spare(self, odd: Collection[bytes], comparison: Comparison) -> None:
        """Keep what an entry without a name may be, and prune the rest."""
        comparison.spare(odd)
        for folder in sorted(odd)[:_SHOWN]:
            tell(
                f"{show(folder) or '/'}: its listing has an entry without a name: the files in this folder, "
                "and folders that are not listed, are kept"
            )
        if len(odd) > _SHOWN:
            tell(f"and so it is in {counted(len(odd) - _SHOWN, 'more folders')}")

    def _conclude(self, comparison: Comparison, gone: int, volumes: Sequence[DiskVolume]) -> ExitCode:
        brakes = gone > self._most.of(comparison.held)
        with self._journal() if self._delete and not brakes else nullcontext() as journal:
            if journal is not None and gone:
                journal.void_run()
            for number, volume in enumerate(volumes):
                try:
                    self._prune(volume, comparison.gone(number), journal, removes=self._delete and not brakes)
                except VolumeError as error:
                    self._leave(error)
                if warning := volume.left_alone.warning():
                    text = f"volume {volume.path} {warning}"
                    tell(text)
            if journal is not None:
                self._forget(volumes, journal)
        self._tell(comparison, gone)
        return ExitCode.INCOMPLETE if self._failed or (brakes and self._delete) else ExitCode.COMPLETE

    @contextmanager
    def _journal(self) -> Iterator[SqliteJournal | None]:
        """Open the job's journal; None where a coordinator has it, whose runs count and forget for themselves."""
        with ExitStack() as stack:
            journal = None
            with suppress(BucketpullError):
                journal = stack.enter_context(journal_to_write(self._settings))
            yield journal

    def _prune(
        self, volume: DiskVolume, gone: Iterator[Gone], journal: SqliteJournal | None, *, removes: bool
    ) -> None:
        for group in groups(gone, _GROUP):
            self._show(volume, group)
            if removes:
                if journal is not None:  # first: what comes back as it was is not taken for unchanged then
                    journal.doubt_objects(each.id for each in group)
                volume.prune(group, self._trash.at(time.time()))
            self._objects += len(group)
            self._freed += sum(each.size for each in group)
            self._packed += sum(1 for each in group if each.record.pack)
        if removes:
            self._empty_trash(volume)

    def _forget(self, volumes: Sequence[DiskVolume], journal: SqliteJournal) -> None:
        """Have the journal count what went, and forget folders of which nothing is left.

        What the last run counted would else be missing at the end of a repair.
        """
        known = journal.counted_on().keys()
        books, held = journal.counters(), sum(volume.objects for volume in volumes)
        short = books.stored + books.skipped - held if known == {volume.id for volume in volumes} else 0
        journal.forget_pruned(max(0, min(short, self._objects)), _Left(volumes).has)

    def _empty_trash(self, volume: DiskVolume) -> None:
        for name in volume.trash.expired():
            volume.trash.empty(name)
            self._settings.tell(f"volume {volume.path}: .bucketpull/trash/{name} is removed")

    def _show(self, volume: DiskVolume, group: Sequence[Gone]) -> None:
        write = say_on if self._delete else say  # what goes does so without a reader too
        for each in group:
            if self._settings.json:
                found = {"volume": volume.id, "key": show(each.key), "size": each.size}
                write(json_line(found | {"pack": each.record.pack}))
            elif not self._settings.quiet:
                write(f"{volume.path}: {printable(show(each.key))}")

    def _tell(self, comparison: Comparison, gone: int) -> None:
        if gone > self._most.of(comparison.held):
            tell(
                f"{count(gone)} of {counted(comparison.held, 'objects are')} gone at the source, more than --max-delete "
                f"{self._most.text} allows: nothing is removed; look at them, then raise it"
            )
        else:
            held, room = comparison.held, size(self._freed)
            if not gone:
                self._settings.tell(f"{counted(held, 'objects')}: nothing to remove")
            elif self._delete:
                self._settings.tell(f"{count(self._objects)} of {counted(held, 'objects')}, {room}: removed")
            else:
                self._settings.tell(
                    f"{count(gone)} of {counted(held, 'objects')}, {room}: would be removed; give --delete"
                )
            if comparison.copies:
                self._settings.tell(
                    f"{count(comparison.copies)} of them are older copies of objects that another volume has as listed"
                )
            if self._packed:
                self._settings.tell(
                    f"{count(self._packed)} of them lie in packs: `bucketpull compact` frees the room of packs of which more than "
                    "a fifth is dead"
                )


def _tell_damage(live: LiveObjects) -> None:
    """Say that what a damaged part of a ledger recorded is not pruned, for nobody knows it."""
    for damage in live.damages[:1]:
        text = (
            f"volume {live.path} has a ledger that is damaged from byte {damage.offset} to {damage.end}; "
            f"`bucketpull verify {live.path} --repair` heals it"
        )
        tell(text)


class _Left:
    """What volumes still have of folders, as their ledgers say; blocks that cannot be read may have something of any."""

    def __init__(self, volumes: Sequence[DiskVolume]) -> None:
        self._volumes = {volume.id: volume for volume in volumes}
        self._folders_in = lru_cache(_BLOCKS)(self._read)

    def has(self, directory: bytes, blocks: Sequence[Extent]) -> bool:
        """Whether one of some blocks still has an object of a folder."""
        return any(folders is None or directory in folders for folders in map(self._folders_in, blocks))

    def _read(self, block: Extent) -> Collection[bytes] | None:
        if block.volume in self._volumes:
            with suppress(VolumeError):
                return {record.directory for record in self._volumes[block.volume].read(block.offset)}
        return None


def _is_complete(walk: ListingWalk) -> bool:
    """Tell whether everything could be listed; what could not be was told."""
    if walk.vanished:
        tell(f"{counted(walk.vanished, 'folders')} went while they were listed")
    if walk.unlisted or walk.vanished:
        tell("the listing is not complete, so nothing is removed; run it again")
    return not (walk.unlisted or walk.vanished)
