"""Ledgers that are damaged somewhere: what they recorded there is listed and compared again; when that is done, the damage is blanked out."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

import msgspec

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.selection import EVERYTHING
from bucketpull.domain.status import VolumeState
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.report.console import tell
from bucketpull.volumes.ledger import Damage
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.volume import open_volume
from bucketpull.wiring.journals import journal_to_read, journal_to_write
from bucketpull.wiring.local_job import run_sync
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import check_owners, opened_to_read, with_known


class DamagedLedger(NamedTuple):
    """A volume with what is damaged of its ledger, and what follows its end (and was there once, where journals count on it)."""

    path: str
    volume: str
    damages: Sequence[Damage]
    rest: Damage


class Healed(NamedTuple):
    """How the run ended that compared them, and whether nothing is left to compare."""

    code: ExitCode
    is_done: bool


def damaged_ledgers(readers: Sequence[VolumeReader], last_blocks: Mapping[str, int]) -> list[DamagedLedger]:
    """Read ledgers from end to end, and return those that are damaged, or end before the last block that the journal knows of the volume."""
    found = [
        DamagedLedger(
            reader.path,
            reader.id,
            [entry for entry in reader.ledger.salvage() if isinstance(entry, Damage)],
            Damage(reader.ledger.end, sys.maxsize),
        )
        for reader in readers
    ]
    return [each for each in found if each.damages or each.rest.offset <= last_blocks.get(each.volume, -1)]


def heal(settings: Settings, ledgers: Sequence[DamagedLedger]) -> Healed:
    """Have the objects that damaged entries recorded compared with the source, and taken over or fetched; then make the ledgers whole.

    The damage stays until that is done, so that it is told until then. It may be called again at any time. Where the job wants only a
    part of the source, or has volumes that are not here, its own next run does the work, and a second call the rest.

    Raises:
        ConfigError: A volume is another job's, or not known to this one.
        BucketpullError: The job could not begin.

    """
    paths = [each.path for each in ledgers]
    check_owners(settings, paths)
    with journal_to_write(settings) as journal:
        _check_known(ledgers, journal)
        pages = sum(
            journal.doubt_blocks(
                each.volume, [(part.offset, part.end) for part in (*each.damages, each.rest)]
            )
            for each in ledgers
        )
        is_done_here = _is_done_here(settings, journal, paths)
    for each in ledgers if pages else ():
        count_known(each.path, each.volume)
    if pages:
        settings.tell(
            f"{counted(pages, 'pages are')} listed again, because entries of ledgers about their objects are damaged"
        )
    code = run_sync(_as_whole(settings, paths)) if pages and is_done_here else ExitCode.COMPLETE
    with journal_to_read(settings) as reader:
        left = reader.outstanding()
        is_open = left.is_some or reader.listing_failed() or (pages and not is_done_here)
    if is_open:
        tell(
            "run `bucketpull sync` as usual, which compares these pages and fetches what is missing; then `bucketpull verify --repair` "
            "again, which makes the ledgers whole"
        )
        return Healed(code or ExitCode.INCOMPLETE, is_done=False)
    for each in ledgers:
        _blank(each)
    return Healed(code, is_done=True)


def _check_known(ledgers: Sequence[DamagedLedger], journal: SqliteJournal) -> None:
    known = {volume.id for volume in journal.volumes()}
    for each in ledgers:
        if each.volume not in known:
            raise ConfigError(
                f"volume {each.path}: its ledger is damaged, and the job does not know it; name the job that it is of with --job or --state"
            )


def _is_done_here(settings: Settings, journal: SqliteJournal, paths: Sequence[str]) -> bool:
    """Whether a run without the job's own options does what is outstanding, and only that: it wants everything, and all volumes are here."""
    machine = settings.machine_name()
    known = [volume for volume in journal.volumes() if volume.state is not VolumeState.LOST]
    _, away = with_known(paths, known, machine)
    are_here = not away and all(volume.machine == machine for volume in known)
    return are_here and journal.outstanding().scans > 0 and not journal.abandons(EVERYTHING)


def _as_whole(settings: Settings, paths: Sequence[str]) -> Settings:
    """Return settings that take over what lies whole on disk, and replace nothing of others."""
    has_lengths = not settings.source_config().identity().get("style")
    return msgspec.structs.replace(
        settings, volumes=list(paths), reserve="0", adopt="md5" if has_lengths else None
    )


def count_known(path: str, identity: str) -> None:
    """Have a volume's totals count what its ledger names, and nothing else: what is recorded again later counts once then."""
    with (
        closing(open_volume(path, identity)) as volume,
        opened_to_read(path, identity) as reader,
        scratch_folder("repair") as folder,
    ):
        live = LiveObjects(reader, folder)
        volume.correct(live.count, sum(stored.location.length for stored in live.objects()))


def _blank(ledger: DamagedLedger) -> None:
    with closing(open_volume(ledger.path, ledger.volume)) as volume:
        for damage in ledger.damages:
            if not volume.blank(damage):
                tell(
                    f"volume {ledger.path}: bytes {damage.offset} to {damage.end} of its ledger stay damaged; nothing counts on them any more"
                )
