"""What a job wants of its source: from rules, sizes and dates as they are written, to a source that gives only that."""

from __future__ import annotations

import hashlib
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.order import Order, parse_order
from bucketpull.domain.selection import EVERYTHING, Rule, Selection
from bucketpull.domain.user_input import parse_moment, parse_size
from bucketpull.wiring.file_checks import read_settings_file
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.ports import Source

# An option's name, and what was typed for it.
_Typed = tuple[str, str | None]


def selection_of(settings: Settings) -> Selection:
    """Return what is wanted. The file's rules come first, then those of the flags: the last one that matches decides.

    Raises ConfigError where a rule, a size, a date or the file is not understood.
    """
    now = datetime.now().astimezone()
    sizes = _bounds(("--min-size", settings.min_size), ("--max-size", settings.max_size), parse_size)
    dates = _bounds(("--newer", settings.newer), ("--older", settings.older), partial(parse_moment, now=now))
    return Selection(tuple(_rules(settings)), *sizes, *dates, order=order_of(settings)).checked()


def selection_digest(settings: Settings) -> str:
    """Return what stands for the filters: as they are written, because `--newer 30d` is another moment every day."""
    if msgspec.structs.replace(selection_of(settings), order=Order()).is_all:
        return EVERYTHING
    rules = [(rule.includes, rule.pattern) for rule in _rules(settings)]
    bounds = (settings.min_size, settings.max_size, settings.newer, settings.older)
    return hashlib.blake2b(msgspec.json.encode([rules, bounds]), digest_size=16).hexdigest()


def order_of(settings: Settings) -> Order:
    """Return what is fetched first; see `parse_order` for what it raises."""
    return Order() if settings.first is None else parse_order(settings.first)


def selected(source: Source, selection: Selection) -> Source:
    """Return a source that gives what is wanted: itself where that is everything."""
    if selection.is_all:
        return source
    from bucketpull.sources.derived import SelectingSource

    return SelectingSource(source, selection)


def _bounds(low: _Typed, high: _Typed, parse: Callable[[str, str], int]) -> tuple[int | None, int | None]:
    least, most = (None if text is None else parse(name, text) for name, text in (low, high))
    if least is not None and most is not None and least > most:
        raise ConfigError(
            f"{low[0]} {low[1]} and {high[0]} {high[1]} leave nothing: no object is within both; correct one of them"
        )
    return least, most


def _rules(settings: Settings) -> Iterator[Rule]:
    if settings.rules_file is not None:
        yield from _from_file(settings.rules_file)
    yield from (Rule(includes=True, pattern=pattern) for pattern in settings.include)
    yield from (Rule(includes=False, pattern=pattern) for pattern in settings.exclude)
    yield from (_rule("rules", line) for line in settings.rules)


def _from_file(path: str) -> Iterator[Rule]:
    try:
        data = read_settings_file(f"--rules-file {path}", path)[0].removeprefix(BOM_UTF8)
    except OSError as error:
        raise ConfigError(f"--rules-file {path}: {error.strerror}; name a file of rules") from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        bad_line = 1 + data.count(b"\n", 0, error.start)
        raise ConfigError(
            f"--rules-file {path}, line {bad_line}: is not UTF-8; save the file as UTF-8"
        ) from error
    for number, line in enumerate(text.splitlines(), 1):
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
