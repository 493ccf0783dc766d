"""What a job wants of its source: from rules, sizes and dates as they are written, to a source that gives only that."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.moments import parse_moment
from bucketpull.domain.ordering import Order, parse_order
from bucketpull.domain.selection import Rule, Selection
from bucketpull.domain.sizes import parse_size
from bucketpull.ports import Source
from bucketpull.sources.selecting import SelectingSource
from bucketpull.wiring.settings import Settings


def selection_of(settings: Settings) -> Selection:
    """Return what is wanted. The file's rules come first, then those of the flags: the last one that matches decides.

    Raises:
        ConfigError: A rule, a size, a date or the file is not understood.

    """
    now = datetime.now().astimezone()
    return Selection(
        rules=tuple(_rules(settings)),
        smallest=None if settings.min_size is None else parse_size("--min-size", settings.min_size),
        largest=None if settings.max_size is None else parse_size("--max-size", settings.max_size),
        changed_after=None if settings.newer is None else parse_moment("--newer", settings.newer, now),
        order=order_of(settings),
        changed_before=None if settings.older is None else parse_moment("--older", settings.older, now),
    ).checked()


def order_of(settings: Settings) -> Order:
    """Return what is fetched first; see `parse_order` for what it raises."""
    return Order() if settings.first is None else parse_order(settings.first)


def selected(source: Source, selection: Selection) -> Source:
    """Return a source that gives what is wanted: itself where that is everything."""
    return source if selection.is_all else SelectingSource(source, selection)


def _rules(settings: Settings) -> Iterator[Rule]:
    if settings.rules_file is not None:
        yield from _from_file(settings.rules_file)
    yield from (Rule(includes=True, pattern=pattern) for pattern in settings.include)
    yield from (Rule(includes=False, pattern=pattern) for pattern in settings.exclude)
    yield from (_rule("rules", line) for line in settings.rules)


def _from_file(path: str) -> Iterator[Rule]:
    try:
        lines = Path(path).read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise ConfigError(f"--rules-file {path}: {error.strerror}; name a file of rules") from error
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            where = f"--rules-file {path}, line {number}"
            rule = _rule(where, line)
            try:
                rule.check()
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from error
            yield rule


def _rule(where: str, line: str) -> Rule:
    sign, space, pattern = line.partition(" ")
    if sign not in {"+", "-"} or not space:
        raise ConfigError(f"{where}: {line!r} is not a rule; write '+ PATTERN' or '- PATTERN'")
    return Rule(includes=sign == "+", pattern=pattern)
