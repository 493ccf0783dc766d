"""Which job a volume belongs to: two jobs on one would fetch the same objects twice, or overwrite each other's."""

from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from bucketpull.domain.errors import BucketpullError, ConfigError, VolumeError
from bucketpull.journal.database import exists
from bucketpull.journal.job_settings import OPTION
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.report.figures import count
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.volumes.identity import Owner, owner_at
from bucketpull.volumes.volume import DiskVolume
from bucketpull.wiring.settings import Settings


def owner_of(journal: str, source: SourceSettings) -> Owner:
    """Return what a volume is told of the job that stores on it."""
    return Owner(journal, source.identity())


def owner_by(journal: SqliteJournal) -> Owner:
    """Return the same of a job's journal."""
    known = journal.configuration()
    source = {
        name: value for name, value in known.items() if name != "layout" and not name.startswith(OPTION)
    }
    return Owner(journal.id, source)


def check_owners(settings: Settings, paths: Sequence[str]) -> None:
    """Make sure that no volume is another job's, before anything is made. Raises ConfigError where one is, and has objects."""
    try:
        journal = _journal_at(settings.state_folder())
    except BucketpullError:
        return  # a damaged journal is told when it is opened, and the volumes are not another job's for that
    for path in paths:
        with suppress(VolumeError):  # a disk that fails is told when it is opened
            owner, objects = owner_at(path)
            _refuse(path, owner, journal, objects)


def _journal_at(folder: Path) -> str:
    """Return the id of the journal in a folder; "" where there is none."""
    if not exists(folder):
        return ""
    with closing(JournalReader.open_to_read(folder)) as reader:
        return reader.id


def take_possession(volume: DiskVolume, owner: Owner) -> None:
    """Note on a volume whose it is. Raises ConfigError where it is another job's, and has objects."""
    _refuse(volume.path, volume.identity.owner, owner.journal, volume.objects)
    volume.belong_to(owner)


def _refuse(path: str, owner: Owner | None, journal: str, objects: int) -> None:
    if owner is None or owner.journal == journal or not objects:
        return
    source = name_of(owner)
    raise ConfigError(
        f"volume {path}: has {count(objects)} objects of the job of {source} with journal {owner.journal}; name another folder (one "
        f"disk may have several), pull from {source} with that job's --job or --state (and --include for a part), or make a journal of "
        "the volume for this job: `bucketpull rebuild`"
    )


def name_of(owner: Owner) -> str:
    """Return the source of a volume's job as a user writes it."""
    place = "/".join(filter(None, (owner.source.get("source", ""), owner.source.get("prefix", ""))))
    style = owner.source.get("style", "")
    return f"{place} --style {style}" if style else place
