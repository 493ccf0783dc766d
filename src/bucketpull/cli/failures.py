"""`bucketpull failures`: what could not be had, and why."""

import shutil
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from bucketpull.cli import options
from bucketpull.cli.translation import wrapped
from bucketpull.domain.errors import ExitCode, Reason
from bucketpull.domain.model import Failure, key_of, show
from bucketpull.report.console import say, tell, words
from bucketpull.report.figures import count
from bucketpull.report.printable import columns, fitted, json_line, label, printable
from bucketpull.report.reasons import explain
from bucketpull.web.api import MOST_FAILED
from bucketpull.wiring.coordinator_client import broker_client
from bucketpull.wiring.journals import journal_to_read
from bucketpull.wiring.settings import Settings


@click.command()
@options.chosen
@click.option("--limit", type=options.count, metavar="N", help="List at most N (default: all).")
@options.of_job
def failures(reason: str | None, match: str | None, limit: int | None, **flags: Any) -> int:
    """List what could not be had: reason, attempts, key and last answer.

    \b
    bucketpull failures --job photos
    bucketpull failures --job photos --reason forbidden --match '2024/*'
    bucketpull failures --job photos --json
    """
    settings, by_broker = options.asking(flags)
    if by_broker:
        return _ask_for_failures(settings, reason, match, limit)
    return _read_failures(settings, reason, match, limit)


_REASON_COLUMNS = 14
_TRIED_COLUMNS = 6
_LEAST_COLUMNS = 60
_NO_LIMIT = 100_000


def _read_failures(
    settings: Settings, reason: str | None, pattern: str | None, limit: int | None
) -> ExitCode:
    """Print failures as the journal has them, in the order of their keys."""
    with journal_to_read(settings) as reader:
        found = islice(reader.failures(Reason(reason) if reason else None, pattern), limit)
        shown = _print(found, json=settings.json)
        total = sum(reader.counters().failures.values())
    if not settings.json and not settings.quiet:
        _print_end(shown, total, chosen=bool(reason or pattern or limit))
    return ExitCode.COMPLETE


def _ask_for_failures(
    settings: Settings, reason: str | None, pattern: str | None, limit: int | None
) -> ExitCode:
    """Print failures as the coordinator answers through the broker."""
    most = min(limit or MOST_FAILED, MOST_FAILED)
    client = broker_client(settings)
    found = client.get("/api/failed", list[Failure], limit=most, reason=reason, match=pattern)
    shown = _print(iter(found), json=settings.json)
    if shown == MOST_FAILED:
        settings.tell(f"the first {shown:,}; choose others with --reason or --match")
    elif not shown and not settings.json:
        settings.tell("no such failure" if reason or pattern else "nothing has failed")
    return ExitCode.COMPLETE


def _print(found: Iterator[Failure], *, json: bool) -> int:
    """Print failures as a table or as JSON lines; return how many."""
    return _print_json(found) if json else _print_table(found)


def _failure_dict(failure: Failure) -> dict[str, object]:
    """Return a failure as `failures --json` writes it; `page` is true where a page of a directory could not be listed."""
    return {
        "key": show(key_of(failure.directory, failure.name)),
        "page": not failure.name,
        "reason": str(failure.reason),
        "attempts": failure.attempts,
        "status": failure.status,
        "detail": failure.detail,
        "size": failure.size,
        "mtime": failure.mtime,
    }


def _print_json(failures: Iterator[Failure]) -> int:
    shown = 0
    for failure in failures:
        say(json_line(_failure_dict(failure)))
        shown += 1
    return shown


def _print_table(failures: Iterator[Failure]) -> int:
    """Print what failed, and below it the last answer, whole; on a terminal keys are shortened to its width."""
    width = max(_LEAST_COLUMNS, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _NO_LIMIT
    seen: dict[Reason, None] = {}
    shown = 0
    for failure in failures:
        if not shown:
            tried = words()("failures.tried")
            head = label(words()("failures.reason"), _REASON_COLUMNS)
            say(f"{head}{' ' * (_TRIED_COLUMNS - columns(tried))}{tried}  {words()('failures.key')}")
        for line in _lines(failure, width):
            say(line)
        seen[failure.reason] = None
        shown += 1
    for reason in seen:
        meaning, remedy = explain(reason, words().language)
        say(words()("failures.means", reason, meaning, remedy))
    return shown


def _lines(failure: Failure, width: int) -> list[str]:
    key = printable(show(key_of(failure.directory, failure.name)))
    what = key if failure.name else words()("failures.page", key.rstrip("/"))
    indent = _REASON_COLUMNS + _TRIED_COLUMNS + 2
    first = f"{failure.reason:<{_REASON_COLUMNS}}{failure.attempts:>{_TRIED_COLUMNS}}  "
    lines = [first + fitted(what, width - indent)]
    detail = printable(failure.detail)
    if detail:
        rows = [detail] if width == _NO_LIMIT else wrapped(detail, width - indent)
        lines += [" " * indent + row for row in rows]
    return lines


def _print_end(shown: int, total: int, *, chosen: bool) -> None:
    if not shown:
        tell("no such failure" if chosen and total else "nothing has failed")
    elif chosen:
        tell(f"{count(shown)} shown of {count(total)}")
    else:
        tell(f"{count(shown)} failed; `bucketpull retry` makes them work again")
