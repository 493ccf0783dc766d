"""What people write, turned into the types of settings: sizes, numbers, dates, ages. What is wrong is said in words.

Sizes are binary (512, 64K, 100M, 5G, 4T: K is 1,024 bytes). Dates are 2024-05-01 or 2024-05-01T12:30,
with a zone or in this machine's; ages are 36h, 30d, 6w.
"""

import ipaddress
import re
import types
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import msgspec

from bucketpull.domain.errors import ConfigError

Rate = Annotated[
    float, msgspec.Meta(ge=0.001, le=1e9, description="requests a second, from 0.001 on, such as 50")
]
Price = Annotated[float, msgspec.Meta(ge=0, le=1e6, description="a sum of money, such as 0.29")]
Speed = Annotated[float, msgspec.Meta(ge=1, le=1e15, description="bytes a second, from 1 on")]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=100_000, description="a number from 1 to 100000")]

_LONGEST_SHOWN: Final = 100
_WORDS: Final[dict[type, str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: 'a list of texts, such as ["a", "b"]',
    tuple: 'a list of texts, such as ["a", "b"]',
}


def converted(label: str, value: object, kind: Any, *, secret: bool = False) -> Any:  # noqa: ANN401 - any type
    """Return a value as a type of a setting. `label` names it for the user; a `secret` is not shown.

    Raises ConfigError, which says what to write, where it is none.
    """
    for text in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []:
        check_text(label, text, secret=secret)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        shown = "" if secret else " " + shown_value(value)
        raise ConfigError(f"{label}{shown}: write {expected(kind)}") from None


def check_text(label: str, text: object, *, secret: bool = False) -> None:
    """Check that a text can be written, sent and used as a name.

    Raises ConfigError where it has bytes that are no text in the locale's encoding, or control characters.
    """
    if not isinstance(text, str) or text.isprintable():
        return
    shown = "" if secret else " " + shown_value(text)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ConfigError(
            f"{label}{shown}: has bytes that are not text in this locale; rename it, or set LC_ALL"
        )
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        raise ConfigError(f"{label}{shown}: has a control character; leave it out")


def shown_value(value: object) -> str:
    """Write a value for a message: short, and without what a terminal would obey."""
    text = ascii(value) if not isinstance(value, str) or not value.isprintable() else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def expected(kind: Any) -> str:  # noqa: ANN401 - any type
    """Say in words what a type takes."""
    origin = get_origin(kind)
    if origin is Annotated:
        told = [meta.description for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta)]
        return told[0] or expected(kind.__origin__)
    if origin is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}" if others else last
    if origin in {Union, types.UnionType}:
        return " or ".join(expected(each) for each in get_args(kind) if each is not type(None))
    return _WORDS.get(origin or kind, "something else")


_POWERS: Final = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_MOST: Final = 1 << 63
_MOST_DIGITS: Final = 30


def parse_size(name: str, text: str) -> int:
    """Return a number of bytes; `name` is the option's, for the error. Raises ConfigError where it is no size."""
    bare = text.strip().upper()
    size = _amount(bare.removesuffix("IB" if bare.endswith("IB") else "B"), 1024)
    if size is None:
        raise ConfigError(
            f"{name}: {shown_value(text)} is not a size; write a number with K, M, G or T, such as 100M"
        )
    return size


@contextmanager
def or_off() -> Iterator[None]:
    """Say in the error for a wrong limit that 'off' is none."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{error}; for no limit write 'off'") from None


def parse_count(name: str, text: str) -> int:
    """Return a number of things, such as 5M: here K, M and G are thousands, millions and billions (10^9). Raises ConfigError where it is no number."""
    count = _amount(text.strip().upper(), 1000)
    if count is None:
        raise ConfigError(
            f"{name}: {shown_value(text)} is not a number; write one, with K, M or G if you like, such as 5M"
        )
    return count


def _amount(text: str, thousand: int) -> int | None:
    """Return what a number with a prefix amounts to; None where it is none, or a part of a single thing."""
    power = _POWERS.get(text[-1:], 0)
    number = (text[:-1] if power else text).rstrip()
    whole, point, fraction = number.partition(".")
    if not _is_number(whole) or (point and not (power and _is_number(fraction))):
        return None
    amount = int(float(number) * thousand**power)
    return amount if amount < _MOST else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS


_AGE: Final = r"(\d+(?:\.\d+)?)\s*([smhdwy])"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def parse_age(text: str) -> float | None:
    """Return an age in seconds, such as 30d or 1d12h; None if the text is none."""
    if not re.fullmatch(rf"(?:{_AGE}\s*)+", text.strip(), re.IGNORECASE):
        return None
    return sum(
        float(number) * _SECONDS[unit.lower()] for number, unit in re.findall(_AGE, text, re.IGNORECASE)
    )


def parse_moment(name: str, text: str, now: datetime) -> int:
    """Return a date, or an age counted back from `now` (with a zone), as Unix seconds; `name` is the option's, for the error.

    Raises ConfigError where it is neither.
    """
    try:
        age = parse_age(text)
        if age is not None:
            return int((now - timedelta(seconds=age)).timestamp())
        date = datetime.fromisoformat(text.strip())
        return int((date if date.tzinfo else date.replace(tzinfo=now.tzinfo)).timestamp())
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{name}: {text!r} is neither a date nor an age; write 2024-05-01, 2024-05-01T12:30 or 30d"
        ) from error


@lru_cache(maxsize=256)
def is_ip_address(host: str) -> bool:
    """Tell whether a host is named by its address; one of IPv6 may stand in brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
