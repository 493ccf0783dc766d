"""`bucketpull verify`: volumes compared with their ledgers."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.cli.damaged_ledgers import Healed, count_known, damaged_ledgers, heal
from bucketpull.domain.batching import objects_in
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode, VolumeError
from bucketpull.domain.model import Part
from bucketpull.domain.status import VolumeState
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.report.console import News, say_on, tell, words
from bucketpull.report.figures import count, size
from bucketpull.report.printable import json_line, label
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.packs.compacting import Compaction, end_packs, find_waste
from bucketpull.volumes.reader import VolumeReader
from bucketpull.volumes.scratch import scratch_folder
from bucketpull.volumes.verification import Fault, Finding, Verification, repairs
from bucketpull.volumes.volume import open_volume
from bucketpull.wiring.journals import existing_folder, journal_to_read, journal_to_write, with_configuration
from bucketpull.wiring.local_job import run_sync
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import (
    all_opened_to_read,
    check_copies,
    check_given,
    check_idle,
    check_paths,
    opened_to_read,
)

if TYPE_CHECKING:
    from bucketpull.reading.ledger_answers import FaultsPage
    from bucketpull.wiring.ledgers import RemoteLedgers

_FAULT_COLUMNS = 11


@click.command()
@click.argument("volumes", metavar="[VOLUME...]", nargs=-1, type=click.Path())
@click.option(
    "--hash", "hashed", is_flag=True, help="Read every file, and compare its MD5 where one is recorded."
)
@click.option("--repair", is_flag=True, help="Fetch again what is missing or damaged, and nothing else.")
@options.source
@options.by_broker
@options.common
@options.interruptible("interrupted: nothing is lost, run it again")
def verify(hashed: bool, repair: bool, **flags: Any) -> int:
    """Compare VOLUMEs with their ledgers: missing, short, changed, unreadable, extra and kept files.

    It needs neither the job nor the network, but for --repair: that takes the job's journal (--job or --state), and the
    credentials from the environment. Extra and kept files are named and left alone.

    With --broker the machines of a running job look at their own volumes: those named by id, path or machine, or all.

    \b
    bucketpull verify /mnt/d1 --hash
    bucketpull verify /mnt/d1 /mnt/d2 --repair --job photos
    bucketpull verify --job photos --broker
    """
    settings, by_broker = options.asking(flags)
    if by_broker:
        if repair:
            raise click.UsageError("--repair: run it on the volume's own machine, without --broker")
        return _verify_far(settings, flags["volumes"], hashed=hashed)
    return _verify_all(settings, hashed=hashed, repair=repair)


_GROUP = 10_000  # findings a transaction


def _verify_all(settings: Settings, *, hashed: bool, repair: bool) -> ExitCode:
    """Verify volumes one after the other; exit 3 if something is wrong at the end."""
    check_given(settings.volumes)
    check_copies(settings.volumes)
    if repair:
        return _repair(settings, hashed=hashed)
    with all_opened_to_read(settings.volumes) as readers:
        clean = [_verify(settings, reader, hashed=hashed) for reader in readers]
    return ExitCode.COMPLETE if all(clean) else ExitCode.INCOMPLETE


def _verify(settings: Settings, reader: VolumeReader, *, hashed: bool) -> bool:
    """Print what is wrong with a volume; say whether nothing is."""
    verification = _verification(reader, hashed=hashed)
    for finding in _printed(settings, reader, verification):
        del finding
    _print_end(settings, f"{reader.path} ({reader.id})", verification, verification.faults, hashed=hashed)
    _print_waste(settings, reader, verification)
    if verification.faults[Fault.EXTRA] and reader.has_begun_batches():
        settings.tell(
            f"volume {reader.path}: a job was storing objects here when it was ended; run it again, and it takes over those of the extra files that are whole"
        )
    return not verification.faults


def _verification(reader: VolumeReader, *, hashed: bool) -> Verification:
    user = reader.user()
    if user is not None:
        tell(f"volume {reader.path}: process {user} writes to it now, so extra files are not looked for")
    return Verification(reader, hashed=hashed, extra=user is None)


def _printed(settings: Settings, reader: VolumeReader, verification: Verification) -> Iterator[Finding]:
    news = News(quiet=settings.quiet)
    for finding in verification.run():
        found = _finding_dict(reader.id, reader.path, finding)
        _print_finding(settings, found, f"{reader.path}/{finding.path}")
        _tell_news(news, reader.path, verification.objects, verification.bytes)
        yield finding


def _tell_news(news: News, where: str, objects: int, looked_at: int) -> None:
    """Say now and then how far a verification is."""
    if news.are_due():
        tell(f"volume {where}: {counted(objects, 'objects')}, {size(looked_at)} so far")


def _print_finding(settings: Settings, found: dict[str, object], where: str) -> None:
    if settings.json:
        say_on(json_line(found))
    elif not settings.quiet:
        say = words()
        fault = label(say(f"fault.{found['fault']}"), _FAULT_COLUMNS)
        say_on(f"{fault}{where}: {say.message(str(found['detail']))}")


def _finding_dict(volume: str, path: str, finding: Finding) -> dict[str, object]:
    return {
        "fault": str(finding.fault),
        "volume": volume,
        "path": f"{path}/{finding.path}",
        "detail": finding.detail,
    }


def _print_end(
    settings: Settings,
    volume: str,
    looked: "Verification | FaultsPage",
    faults: Mapping[Fault, int],
    *,
    hashed: bool,
) -> None:
    say, found = words(), sorted(faults.items())
    wrong = ", ".join(f"{say(f'fault.{fault}')} {count(number)}" for fault, number in found)
    sums = f", {count(looked.hashed_objects)} compared with their MD5" if hashed else ""
    right = "all as recorded"
    if looked.unhashed_objects:
        unknown = count(looked.unhashed_objects)
        right = f"nothing wrong was found; {unknown} have no MD5 in the ledger, only their size was compared"
    held = f"{counted(looked.objects, 'objects')}, {size(looked.bytes)}{sums}"
    settings.tell(f"volume {volume}: {held}: {wrong or right}")


def _print_waste(settings: Settings, reader: VolumeReader, verification: Verification) -> None:
    """Say how much of the packs is dead, where that is much."""
    much = [waste for waste in verification.waste if waste.is_much]
    if much:
        dead = size(sum(waste.dead for waste in much))
        settings.tell(
            f"volume {reader.path}: {dead} of {counted(len(much), 'packs')} is dead; `bucketpull compact {reader.path}` frees it"
        )


# --- through the broker


def _verify_far(settings: Settings, names: Sequence[str], *, hashed: bool) -> ExitCode:
    """Have each machine verify its own volumes, one after the other; exit 3 if something is wrong, or one is away."""
    from bucketpull.wiring.ledgers import RemoteLedgers

    with closing(RemoteLedgers(settings)) as machines:
        known = [volume for volume in machines.volumes() if volume.state is not VolumeState.LOST]
        chosen = [
            volume for volume in known if not names or {volume.id, volume.path, volume.machine} & set(names)
        ]
        strange = set(names) - {name for volume in known for name in (volume.id, volume.path, volume.machine)}
        if strange:
            raise ConfigError(
                f"volume {min(strange)}: no machine of the job has it; `bucketpull volumes --broker` lists them"
            )
        clean = [_verify_one_far(settings, machines, volume, hashed=hashed) for volume in chosen]
    return ExitCode.COMPLETE if all(clean) else ExitCode.INCOMPLETE


def _verify_one_far(
    settings: Settings, machines: "RemoteLedgers", volume: KnownVolume, *, hashed: bool
) -> bool:
    where, faults = f"{volume.machine}:{volume.path}", Counter[Fault]()
    news = partial(_tell_news, News(quiet=settings.quiet), where)
    try:
        for page in machines.faults(volume, hashed=hashed, told=news):
            for finding in page.findings:
                faults[finding.fault] += 1
                found = _finding_dict(volume.id, volume.path, finding)
                found |= {"machine": volume.machine, "mount": volume.path}
                _print_finding(settings, found, f"{where}/{finding.path}")
    except VolumeError as error:
        tell(f"volume {where}: {error.detail}; it was not verified")
        return False
    if page.user:
        tell(f"volume {where}: its worker writes to it now, so extra files are not looked for")
    _print_end(settings, f"{where} ({volume.id})", page, faults, hashed=hashed)
    return not faults


# --- repair


def _repair(settings: Settings, *, hashed: bool) -> ExitCode:
    with all_opened_to_read(settings.volumes) as readers:
        settings = _as_job(settings, readers)
        settings.source_config()
        # Before work is made that could not be done there.
        check_paths([reader.path for reader in readers])
        for reader in readers:
            check_idle(reader)
        with journal_to_read(settings) as journal:
            last_blocks = journal.last_blocks()
        damaged = damaged_ledgers(readers, last_blocks)
    # First: what damaged entries recorded may be newer than what the others say.
    healed = heal(settings, damaged) if damaged else Healed(ExitCode.COMPLETE, is_done=True)
    if not healed.is_done:
        return healed.code
    left: Counter[Fault] = Counter()
    with all_opened_to_read(settings.volumes) as readers:
        codes = [healed.code, *(_repair_one(settings, reader, left, hashed=hashed) for reader in readers)]
    if left[Fault.EXTRA] or left[Fault.KEPT]:
        settings.tell("extra and kept files are left alone; look at them, and remove what is not wanted")
    return max([code for code in codes if code], default=ExitCode.INCOMPLETE if left else ExitCode.COMPLETE)


def _as_job(settings: Settings, volumes: Sequence[VolumeReader]) -> Settings:
    """Complete the settings by what the journal knows of the job.

    Raises ConfigError where there is no journal, the job is not at rest, or a volume takes nothing new.
    """
    folder = existing_folder(settings)
    with journal_to_read(settings) as reader:
        if reader.outstanding().is_some:
            raise ConfigError(
                f"journal {folder}: work is outstanding; end it with `bucketpull sync`, then repair"
            )
        _check_takes(reader, [volume.id for volume in volumes])
        return with_configuration(settings, reader, folder)


def _check_takes(journal: JournalReader, ids: Collection[str]) -> None:
    """Make sure that what is fetched again can come to its volume. Raises ConfigError where a volume takes nothing new."""
    for volume in journal.volumes():
        if volume.id in ids and volume.state is VolumeState.DRAINING:
            raise ConfigError(
                f"volume {volume.path}: is drained, so that nothing can be fetched to it; `bucketpull volumes add {volume.path}`, "
                "then repair"
            )


def _repair_one(settings: Settings, reader: VolumeReader, left: Counter[Fault], *, hashed: bool) -> ExitCode:
    check_idle(reader)
    verification = _verification(reader, hashed=hashed)
    with journal_to_write(settings) as journal:
        before = journal.counters()
        wanted = _make_work(journal, _printed(settings, reader, verification))
    _print_end(settings, f"{reader.path} ({reader.id})", verification, verification.faults, hashed=hashed)
    _print_waste(settings, reader, verification)
    for fault in {Fault.EXTRA, Fault.KEPT, Fault.LEDGER} & verification.faults.keys():
        left[fault] += verification.faults[fault]
    _correct(reader, verification.objects - wanted, verification.bytes - verification.damaged_bytes)
    code, gone = ExitCode.COMPLETE, 0
    if verification.packs:
        with closing(open_volume(reader.path, reader.id)) as volume:
            end_packs(volume, verification.packs)
    if wanted:
        # What is wrong is replaced: that is what was asked for.
        of_one = msgspec.structs.replace(settings, volumes=[reader.path], reserve="0", foreign="replace")
        code = run_sync(of_one, alone=True)
        with journal_to_read(settings) as after:
            books, left_over = after.counters(), after.outstanding().objects
        gone = books.vanished - before.vanished
        fetched = wanted - gone - left_over - max(0, books.failed - before.failed)
        settings.tell(
            f"volume {reader.path}: {count(fetched)} of {counted(wanted, 'objects were')} fetched again; the sums above are those of the whole job"
        )
    if gone:
        tell(
            f"volume {reader.path}: {counted(gone, 'objects are')} not at the source any more, and stay missing"
        )
        # They are in the ledger, so they are in the totals; `prune` takes them out of both. What has failed is counted when it comes.
        if code is ExitCode.COMPLETE:
            count_known(reader.path, reader.id)
    packs = verification.packs
    is_right = not packs or code is ExitCode.INTERRUPTED or _rewrite(settings, reader, packs)
    return code or (ExitCode.INCOMPLETE if gone or not is_right else ExitCode.COMPLETE)


def _rewrite(settings: Settings, reader: VolumeReader, damaged: Collection[str]) -> bool:
    """Rewrite finished packs without what was damaged and is fetched again, so that their sums are right; say whether all are."""
    is_right = True
    with (
        closing(open_volume(reader.path, reader.id)) as volume,
        opened_to_read(reader.path, reader.id) as now,
        scratch_folder("repair") as folder,
    ):
        live = LiveObjects(now, folder)
        wanted = [waste for waste in find_waste(now, live, damaged) if waste.pack in damaged]
        compaction = Compaction(volume, now, live, wanted)
        for waste in wanted:
            try:
                compaction.rewrite(waste)
            except (VolumeError, OSError) as error:
                is_right = False
                tell(f"volume {reader.path}: pack {waste.pack} was not written anew: {error}")
    if wanted:
        settings.tell(f"volume {reader.path}: {counted(len(wanted), 'damaged packs were')} written anew")
    return is_right


def _correct(reader: VolumeReader, objects: int, size: int) -> None:
    """Put a volume's totals right, if they are not: what is fetched again is not counted until it is there."""
    if (objects, size) == (reader.ledger.objects, reader.ledger.size):
        return
    with closing(open_volume(reader.path, reader.id)) as volume:
        volume.correct(objects, size)


def _make_work(journal: SqliteJournal, findings: Iterable[Finding]) -> int:
    """Make work of what is to be fetched again; return how many objects that is."""
    wanted = 0
    group: list[Part] = []
    for part in repairs(findings):
        group.append(part)
        if objects_in(group) >= _GROUP:
            wanted += journal.refetch(group)
            group = []
    return wanted + (journal.refetch(group) if group else 0)
