"""Values as people write them, turned into the types of settings; what is wrong is said in words."""

import types
import unicodedata
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

    Raises:
        ConfigError: It is none; says what to write.

    """
    for text in [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []:
        check_text(label, text, secret=secret)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        shown = "" if secret else " " + shown_value(value)
        raise ConfigError(f"{label}{shown}: write {expected(kind)}") from None


def check_text(label: str, text: object, *, secret: bool = False) -> None:
    """Make sure that a text can be written, sent and used as a name.

    Raises:
        ConfigError: It has bytes that are no text in the locale's encoding, or control characters.

    """
    if not isinstance(text, str):
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
