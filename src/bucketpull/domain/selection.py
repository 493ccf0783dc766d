r"""Which objects of a listing a job wants: by key, size and date.

A rule is a glob over the whole key; of the rules that match a key, the last one decides. A key that no rule matches is wanted,
unless the first rule is an include: who begins with what he wants does not want the rest.

    *      any characters but `/`                    {a,b}   either
    **     any characters, `/` too                   [a-z]   one character of a set; [!a-z] one that is not
    ?      one character but `/`                     \x      x itself

A pattern that begins with `/` is compared with the whole key; another may begin at any folder. A pattern that ends in `/` means
everything below that folder.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import text_of
from bucketpull.domain.order import Order

# `{1..100000}` is a mistake or an attack, not a choice.
MOST_ALTERNATIVES: Final = 1000


class Rule(msgspec.Struct, array_like=True, frozen=True):
    """One `--include` or `--exclude`."""

    includes: bool
    pattern: str

    def check(self) -> None:
        """Raise ConfigError if the pattern is not a glob."""
        _expression(self.pattern)


class Selection(msgspec.Struct, array_like=True, frozen=True):
    """What is wanted, and what of it first. Sizes are in bytes, dates in Unix seconds; None is no bound.

    Bounds hold for what the listing says: an object whose size or date is not known (-1) is within them.
    """

    rules: tuple[Rule, ...] = ()
    smallest: int | None = None
    largest: int | None = None
    changed_after: int | None = None
    changed_before: int | None = None
    order: Order = Order()

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out, in any order."""
        return self == _ALL

    def checked(self) -> "Selection":
        """Return itself. Raises ConfigError where a pattern is not a glob."""
        for rule in self.rules:
            rule.check()
        return self

    def wants(self, key: bytes, size: int, mtime: int) -> bool:
        """Tell whether an object is wanted; 1 µs a rule."""
        return (
            _is_within(size, self.smallest, self.largest)
            and _is_within(mtime, self.changed_after, self.changed_before)
            and self._wants_key(text_of(key))
        )

    def may_want_below(self, directory: bytes) -> bool:
        """Tell whether anything below a directory can be wanted; if not, it need not be listed.

        The answer errs on the side of listing: only a later include that is anchored is known to lie elsewhere.
        """
        folder = text_of(directory) + "/" if directory else ""
        for rule in reversed(self.rules):
            if rule.includes:
                if not folder or _above_some(rule.pattern, folder.count("/")).fullmatch(folder):
                    return True
            elif _above_all(rule.pattern).fullmatch(folder):
                return False
        return self._wants_the_rest

    @property
    def _wants_the_rest(self) -> bool:
        return not self.rules or not self.rules[0].includes

    def _wants_key(self, key: str) -> bool:
        for rule in reversed(self.rules):
            if _expression(rule.pattern).fullmatch(key):
                return rule.includes
        return self._wants_the_rest


EVERYTHING: Final = "everything"
"""What stands in the books for a selection that leaves nothing out."""

_ALL: Final = Selection()


def _is_within(value: int, least: int | None, most: int | None) -> bool:
    return value < 0 or ((least is None or value >= least) and (most is None or value <= most))


@lru_cache(maxsize=4096)
def _expression(pattern: str) -> re.Pattern[str]:
    """Return what a key must be, as a regular expression over all of it."""
    try:
        return _either(_translated(tokens) for tokens in _alternatives(pattern))
    except ValueError as error:
        raise ConfigError(f"pattern {pattern!r}: {error}") from error


@lru_cache(maxsize=4096)
def _above_all(pattern: str) -> re.Pattern[str]:
    """Return what a folder must be, with its slash, if the pattern matches every key below it."""
    heads = (_before_everything(tokens) for tokens in _alternatives(pattern))
    return _either(_translated(head) + _ANYTHING for head in heads if head is not None)


@lru_cache(maxsize=4096)
def _above_some(pattern: str, depth: int) -> re.Pattern[str]:
    """Return what a folder with so many slashes, its own included, must be if the pattern may match a key below it."""
    heads = (_head(tokens, depth) for tokens in _alternatives(pattern))
    return _either(head for head in heads if head is not None)


def _either(expressions: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(expressions) or _NOTHING, re.DOTALL)


@lru_cache(maxsize=4096)
def _alternatives(pattern: str) -> tuple[tuple[str, ...], ...]:
    """Write out `{a,b}`, what a pattern that ends in `/` means, and that one without a `/` in front begins anywhere."""
    import bracex

    if not pattern.strip("/"):
        raise ConfigError(f"pattern {pattern!r} names no key; write '**' for all keys")
    try:
        alternatives = bracex.expand(pattern, keep_escapes=True, limit=MOST_ALTERNATIVES)
    except bracex.ExpansionLimitException as error:
        raise ConfigError(
            f"pattern {pattern!r} stands for more than {MOST_ALTERNATIVES} patterns; shorten its braces"
        ) from error
    except RecursionError as error:
        raise ConfigError(
            f"pattern {pattern!r} has too many braces in braces; write several rules"
        ) from error
    return tuple(map(_tokens, alternatives))


def _tokens(plain: str) -> tuple[str, ...]:
    rooted = plain[1:] if plain.startswith("/") else "**/" + plain
    return tuple(re.findall(_TOKENS, rooted + "**" if plain.endswith("/") else rooted, re.DOTALL))


def _translated(tokens: Iterable[str]) -> str:
    return "".join(map(_piece, tokens))


# `**/` may stand for nothing: `a/**/b` matches `a/b`.
_TOKENS: Final = r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|\\.|."
_PIECES: Final = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
_ANYTHING: Final = _PIECES["**"]
_NOTHING: Final = r"(?!)"
_SLASHES: Final = {"/", r"\/"}


# What is left of a set or a choice that is not whole: nobody means these characters by themselves.
_TORN: Final = {"[": ("set", "[a-z]"), "{": ("choice", "{a,b}"), "}": ("choice", "{a,b}")}


def _piece(token: str) -> str:
    if token in _PIECES:
        return _PIECES[token]
    if token in _TORN:
        kind, example = _TORN[token]
        raise ValueError(f"{token} belongs to no {kind} such as {example}; complete it, or write \\{token}")
    if token[0] == "[" and len(token) > 1:
        return _set(token)
    return re.escape(token[1:] if token[0] == "\\" and len(token) > 1 else token)


def _set(token: str) -> str:
    body, negated = (token[2:-1], True) if token[1] == "!" else (token[1:-1], False)
    quoted = re.sub(r"([\\\[\]^&~|])", r"\\\1", body)
    expression = f"(?!/)[{'^' if negated else ''}{quoted}]"
    try:
        re.compile(expression)
    except re.error as error:
        raise ValueError(
            f"{token} is not a set of characters ({error.msg}); write \\[ for a bracket"
        ) from error
    return expression


def _before_everything(tokens: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return what comes before an end that matches any characters, such as `**` or `**/*`; None if that is not its end."""
    start = len(tokens)
    while start and tokens[start - 1] in {"**/", "**", "*"}:
        start -= 1
    end = tokens[start:]
    matches_all = "**" in end or ("**/" in end and "*" in end[end.index("**/") :])
    return tokens[:start] if matches_all else None


def _head(tokens: tuple[str, ...], depth: int) -> str | None:
    """Return what matches the first folders of a key, down to a depth; None if the pattern does not go so deep.

    Only slashes and `**` match a slash, so the depth says where the folder ends in the pattern.
    """
    slashes = 0
    for index, token in enumerate(tokens):
        if token in {"**", "**/"}:
            return _translated(tokens[:index]) + _ANYTHING
        slashes += token in _SLASHES
        if slashes == depth:
            return _translated(tokens[: index + 1])
    return None
