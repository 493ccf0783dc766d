"""`bucketpull status`: where a job stands."""

from collections.abc import Iterable, Mapping
from typing import Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.model import show
from bucketpull.domain.progress import Snapshot
from bucketpull.journal.directories import Balance
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.report.console import say, tell_error, words
from bucketpull.report.document import snapshot_dict
from bucketpull.report.printable import columns, fitted, json_line, label, printable
from bucketpull.report.summary import status_lines
from bucketpull.wiring.coordinator_client import broker_client
from bucketpull.wiring.job_status import JobStatus, job_status
from bucketpull.wiring.journals import job_folder, journal_to_read
from bucketpull.wiring.settings import Settings


@click.command()
@click.argument("source", required=False)
@click.option("--directories", is_flag=True, help="Show the books of every directory.")
@options.by_broker
@options.prices
@options.common
def status(directories: bool, **flags: Any) -> int:
    """Show where a job stands: its books, speeds and volumes, while it runs and after.

    The job is named by SOURCE, --job or --state; if you have only one, by nothing.

    \b
    bucketpull status --job photos
    bucketpull status --job photos --directories
    bucketpull status --job photos --json
    bucketpull status --job photos --price-per-gb 0.29
    """
    settings, by_broker = options.asking(flags)
    if by_broker and directories:
        raise ConfigError(
            "--directories: only the coordinator's machine has these books; ask there, without --broker"
        )
    if by_broker:
        return _ask_for_status(settings)
    return _read_status(settings, directories=directories)


_DIRECTORY_COLUMNS = 22
_NUMBERS = ("listed", "stored", "skipped", "excluded", "failed", "vanished", "left")
_WIDTHS = tuple(max(8, len(name) + 1) for name in _NUMBERS)  # 80 with the directory, up to seven digits


def _read_status(settings: Settings, *, directories: bool) -> ExitCode:
    folder = job_folder(settings)
    with journal_to_read(settings) as reader:
        if directories:
            _print_directories(reader, as_json=settings.json)
            return ExitCode.COMPLETE
        found = job_status(reader, folder)
        if found.silent:
            tell_error(found.silent)
        _print(settings, found.snapshot, {"journal": folder, "last_run": _run(found)}, running=found.running)
        if not settings.json:
            say(f"{label(words()('journal'))}{folder}")
    return ExitCode.COMPLETE


def _ask_for_status(settings: Settings) -> ExitCode:
    """Print where the job stands as its coordinator answers through the broker."""
    _print(settings, broker_client(settings).get("/api/job", Snapshot), {}, running=True)
    return ExitCode.COMPLETE


def _print(settings: Settings, snapshot: Snapshot, more: Mapping[str, object], *, running: bool) -> None:
    """Print a job; the prices that are given here come before those of the job. `more` is for programs."""
    snapshot = msgspec.structs.replace(snapshot, prices=settings.prices() or snapshot.prices)
    if settings.json:
        say(json_line({**snapshot_dict(snapshot), "running": running, **more}))
        return
    for line in status_lines(snapshot, words(), running=running):
        say(line)


def _run(found: JobStatus) -> dict[str, object] | None:
    """Return the last run for programs."""
    last = found.last_run
    if last is None:
        return None
    return {"run": last.id, "started": last.started, "ended": last.ended, "state": last.state}


def _print_directories(reader: JournalReader, *, as_json: bool) -> None:
    if not as_json:
        say(_row(words()("balance.directory"), [words()(f"balance.{name}") for name in _NUMBERS]))
    for balance in reader.balances():
        if as_json:
            more = {"outstanding": balance.outstanding, "directory": show(balance.directory)}
            say(json_line(msgspec.structs.asdict(balance) | more))
        else:
            say(_balance_line(balance))


def _balance_line(balance: Balance) -> str:
    name = fitted(printable(show(balance.directory)) or "/", _DIRECTORY_COLUMNS - 1)
    numbers = (
        balance.listed,
        balance.stored,
        balance.skipped,
        balance.excluded,
        balance.failed,
        balance.vanished,
        balance.outstanding,
    )
    unlisted = f"  {counted(balance.unlisted, 'pages')} not listed" if balance.unlisted else ""
    return _row(name, map(str, numbers)) + unlisted


def _row(name: str, cells: Iterable[str]) -> str:
    numbers = [" " * max(1, width - columns(cell)) + cell for cell, width in zip(cells, _WIDTHS, strict=True)]
    return label(name, _DIRECTORY_COLUMNS) + "".join(numbers)
