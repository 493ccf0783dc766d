"""`failures` and `retry`: what could not be had, and making it work again."""

import shutil
import sys
from collections.abc import Iterator
from itertools import islice

import msgspec

from bucketpull.domain.errors import ExitCode, JournalLocked, Reason
from bucketpull.domain.model import Failure, key_of, show
from bucketpull.report.figures import count
from bucketpull.report.reasons import explain
from bucketpull.report.tables import fitted, printable
from bucketpull.wiring.control import ShowJob, ask
from bucketpull.wiring.locate import existing, reading, writing
from bucketpull.wiring.output import say, tell, words
from bucketpull.wiring.settings import Settings

_REASON_COLUMNS = 14
_TRIED_COLUMNS = 6
_LEAST_COLUMNS = 60
_NO_LIMIT = 100_000


def run_failures(settings: Settings, reason: str | None, pattern: str | None, limit: int | None) -> ExitCode:
    """Print failures, in the order of their keys."""
    with reading(settings) as reader:
        found = islice(reader.each_failure(Reason(reason) if reason else None, pattern), limit)
        shown = print_failures(found, json=settings.json)
        total = sum(reader.counters().failures.values())
    if not settings.json and not settings.quiet:
        _print_end(shown, total, chosen=bool(reason or pattern or limit))
    return ExitCode.COMPLETE


def read_failures(settings: Settings, reason: str, pattern: str, limit: int) -> list[Failure]:
    """Return at most so many failures, of a reason and with keys like a pattern ("" is any)."""
    with reading(settings) as reader:
        return list(islice(reader.each_failure(Reason(reason) if reason else None, pattern or None), limit))


def print_failures(found: Iterator[Failure], *, json: bool) -> int:
    """Print failures as a table or as JSON lines; return how many."""
    return _print_json(found) if json else _print_table(found)


def run_retry(settings: Settings, reason: str | None, pattern: str | None) -> ExitCode:
    """Make failures work again.

    Raises:
        JournalLocked: A coordinator has the journal.

    """
    folder = existing(settings)
    try:
        with writing(settings) as journal:
            number = journal.retry(Reason(reason) if reason else None, pattern)
    except JournalLocked:
        if ask(folder, ShowJob(), seconds=3.0) is None:
            raise
        raise JournalLocked(
            f"journal {folder}: its job runs. It tries failures again by itself before it ends; stop it, or wait for its "
            "end, then say `bucketpull retry`"
        ) from None
    if settings.json:
        say(msgspec.json.encode({"retried": number}).decode())
    elif not settings.quiet:
        again = "; run `bucketpull sync` again to do it" if number else ""
        say(f"{count(number)} {'failure is' if number == 1 else 'failures are'} work again{again}")
    return ExitCode.COMPLETE


def failure_dict(failure: Failure) -> dict[str, object]:
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
        say(msgspec.json.encode(failure_dict(failure)).decode())
        shown += 1
    return shown


def _print_table(failures: Iterator[Failure]) -> int:
    """Print two lines a failure: what it is, and the last answer; on a terminal shortened to its width."""
    width = max(_LEAST_COLUMNS, shutil.get_terminal_size().columns) if sys.stdout.isatty() else _NO_LIMIT
    seen: dict[Reason, None] = {}
    shown = 0
    for failure in failures:
        if not shown:
            say(f"{'reason':<{_REASON_COLUMNS}}{'tried':>{_TRIED_COLUMNS}}  key, last answer")
        for line in _lines(failure, width):
            say(line)
        seen[failure.reason] = None
        shown += 1
    for reason in seen:
        meaning, remedy = explain(reason, words().language)
        say(f"{reason}: {meaning}; {remedy}")
    return shown


def _lines(failure: Failure, width: int) -> list[str]:
    key = printable(key_of(failure.directory, failure.name))
    what = key if failure.name else f"{key}/ (a page of its listing)"
    indent = _REASON_COLUMNS + _TRIED_COLUMNS + 2
    first = f"{failure.reason:<{_REASON_COLUMNS}}{failure.attempts:>{_TRIED_COLUMNS}}  "
    lines = [first + fitted(what, width - indent)]
    detail = printable(failure.detail.encode())
    if detail:
        lines.append(" " * indent + fitted(detail, width - indent))
    return lines


def _print_end(shown: int, total: int, *, chosen: bool) -> None:
    if not shown:
        tell("no such failure" if chosen and total else "nothing has failed")
    elif chosen:
        tell(f"{count(shown)} shown of {count(total)}")
    else:
        tell(f"{count(shown)} failed; `bucketpull retry` makes them work again")
