"""Finds and opens the journal that a command is about: by --state, --job, or SOURCE, or because there is only one; and what it says of the job."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bucketpull import __version__
from bucketpull.domain.errors import ConfigError, JournalError, Reason, VolumeError
from bucketpull.domain.model import Extent, Failure
from bucketpull.domain.progress import DirectoryState
from bucketpull.journal.database import OPTION, check_ours, exists, refuse_another
from bucketpull.journal.journal_reader import JobRecord, JournalReader
from bucketpull.report.console import tell
from bucketpull.volumes.identity import identify
from bucketpull.wiring.file_checks import refuse_foreign_link
from bucketpull.wiring.settings import Settings, jobs_folder

if TYPE_CHECKING:
    from bucketpull.journal.sqlite_journal import SqliteJournal

T = TypeVar("T")


def job_folder(settings: Settings) -> str:
    """Return the folder of the job's journal, absolute. Raises ConfigError where no job is named, and there is none or more than one."""
    if settings.state == "":
        raise ConfigError("--state '': name the folder of a journal")
    if settings.state is None and settings.job is None and not settings.source:
        return _only_job()
    return os.path.join(os.getcwd(), settings.state_folder())


def known_jobs() -> list[str]:
    """Return the names of the jobs in the user's state folder."""
    folder = jobs_folder()
    if not os.path.isdir(folder):
        return []
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and _has_journal(entry.path))


def existing_folder(settings: Settings) -> str:
    """Return the folder of the job's journal, which must exist.

    Raises:
        ConfigError: There is none, and the jobs that there are are named. Or somebody else may change it, or what leads there:
            SQLite opens files by path alone, and reading a journal may write beside it.

    """
    folder = job_folder(settings)
    refuse_foreign_link(f"--state {folder}", folder)
    try:
        if os.path.isdir(folder):
            check_ours(folder)
        there = exists(folder)
    except OSError as error:
        text = f"journal {folder}: {error.strerror}; ask as the user whose job it is"
        raise ConfigError(text) from error
    if not there:
        raise ConfigError(
            f"no journal in {folder}; name the job with --job or its folder with --state{_hint()}"
        )
    return folder


def journal_to_read(settings: Settings) -> AbstractContextManager[JournalReader]:
    """Open the job's journal to read, also while its coordinator writes."""
    return closing(JournalReader.open_to_read(existing_folder(settings)))


def journal_to_write(settings: Settings) -> "AbstractContextManager[SqliteJournal]":
    """Open the job's journal, which must exist, to write; see `SqliteJournal.open` for what it raises."""
    from bucketpull.journal.sqlite_journal import SqliteJournal  # 3 ms, for what those who read do not need

    folder = existing_folder(settings)
    return closing(SqliteJournal.open(folder, os.path.basename(folder), None))


def identity_of(settings: Settings) -> dict[str, str]:
    """Return the settings by which a journal knows its job."""
    return settings.source_settings().identity() | {"layout": settings.layout}


@contextmanager
def own_journal(
    settings: Settings, folder: str, *, any_layout: bool = False
) -> Iterator[JournalReader | None]:
    """Open the journal of the job that settings describe to read; None where there is none yet.

    Raises JobMismatch where it is another job's; a layout that differs makes none if it may be `any_layout`.
    """
    if not exists(folder):
        yield None
        return
    with closing(JournalReader.open_to_read(folder)) as reader:
        known, asked = reader.configuration(), identity_of(settings)
        if any_layout:
            asked["layout"] = known.get("layout", "")
        refuse_another(folder, settings.job_name(), known, asked)
        yield reader


def source_in(known: Mapping[str, str]) -> str:
    """Return the source of a job as a user writes it, of what its journal knows."""
    return "/".join(filter(None, (known.get("source", ""), known.get("prefix", ""))))


def with_configuration(settings: Settings, reader: JournalReader, folder: str) -> Settings:
    """Return settings that name the journal's job; addresses of the service count as given, if they were."""
    known = reader.configuration()
    options = {name.removeprefix(OPTION): value for name, value in known.items() if name.startswith(OPTION)}
    return msgspec.structs.replace(
        settings,
        source=settings.source or source_in(known),
        job=reader.job,
        state=folder,
        layout="hashed" if known.get("layout") == "hashed" else "key",
        options=options | settings.options,
    )


def volumes_here(settings: Settings) -> list[str]:
    """Return the paths of the job's volumes that can be seen from here.

    Raises ConfigError where there is no such job, or none of its volumes is here.
    """
    with journal_to_read(settings) as reader:
        known = {volume.id: volume.path for volume in reader.volumes()}
    here = []
    for volume, path in known.items():
        try:
            if path and identify(path) == volume:
                here.append(path)
        except VolumeError as error:
            tell(str(error))
    if not here:
        raise ConfigError("none of the job's volumes is on this machine; mount one, or name its path")
    return here


def _only_job() -> str:
    jobs = known_jobs()
    if len(jobs) == 1:
        return os.path.join(jobs_folder(), jobs[0])
    if not jobs:
        raise ConfigError(f"no job in {jobs_folder()}; start one with `bucketpull sync`, or give --state")
    raise ConfigError(f"which job? Name it with --job{_hint()}")


def _hint() -> str:
    jobs = known_jobs()
    return f"; known jobs: {', '.join(jobs)}" if jobs else ""


def _has_journal(folder: str) -> bool:
    try:
        return exists(folder)
    except (JournalError, OSError):
        return True


class JournalView:
    """What is shown of the journal: a part of `web.api.JobView`, of a job that runs or not.

    It is read by another connection than the coordinator's, which is not held up.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def failures(self, limit: int, reason: str | None, pattern: str | None) -> Sequence[Failure]:
        """See `JobView`. To go through millions takes seconds."""
        chosen = None if reason is None else Reason(reason)
        return await self._ask(lambda reader: list(islice(reader.failures(chosen, pattern), limit)))

    async def directories(self, prefix: bytes, limit: int) -> Sequence[DirectoryState]:
        """See `JobView`. To sum up what is below a directory takes a while."""
        return await self._ask(lambda reader: reader.directories(prefix, limit))

    async def books(self) -> JobRecord:
        """See `JobView`."""
        return await self._ask(
            lambda reader: JobRecord(__version__, reader.configuration(), reader.volumes())
        )

    async def where(self, directory: bytes, name: bytes) -> Sequence[Extent]:
        """See `JobView`."""
        return await self._ask(lambda reader: reader.where(directory, name))

    async def _ask(self, what: Callable[[JournalReader], T]) -> T:
        import asyncio  # 14 ms: commands that read a journal once need no loop

        def read() -> T:
            with journal_to_read(self._settings) as reader:
                return what(reader)

        return await asyncio.to_thread(read)
