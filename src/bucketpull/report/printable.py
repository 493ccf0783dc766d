"""The one place that makes text fit to be shown, in the last step before a terminal, a pipe or a log file.

Keys, answers, messages and paths come from others. Whatever they hold, a terminal obeys nothing of it and a line stays a line.
What programs read does not pass here: JSON has escapes of its own, and `list --format keys0` writes bytes as they are.
"""

from typing import Final

_SPACES: Final = frozenset("\u3000\xa0")


def printable(text: str) -> str:
    r"""Return a text in one line: control characters, line ends, invisible marks and bytes that are no text as escapes (`\x1b`).

    So are the marks that turn the direction of writing: with them a name shows another one (`gpj.exe` for `exe.jpg`).
    """
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark in _SPACES else ascii(mark)[1:-1] for mark in text)
