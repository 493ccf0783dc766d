"""The one place that makes text fit to be shown, in the last step before a terminal, a pipe or a log file.

Keys, answers, messages and paths come from others. Whatever they hold, a terminal obeys nothing of it and a line stays a line.
What programs read has escapes of its own: a line of JSON is ASCII without DEL, so that it survives a terminal or a log in GBK.
`list --format keys0` writes bytes as they are.
"""

import json
import re
from typing import Final

import msgspec

_SPACES: Final = frozenset("\u3000\xa0")
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7e]+")


def printable(text: str) -> str:
    r"""Return a text in one line: control characters, line ends, invisible marks and bytes that are no text as escapes (`\x1b`).

    So are the marks that turn the direction of writing: with them a name shows another one (`gpj.exe` for `exe.jpg`).
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _SPACES else ascii(mark)[1:-1] for mark in text)


def json_line(value: object) -> str:
    """Return a value as one line of JSON without its end."""
    text = msgspec.json.encode(value).decode()
    return _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
