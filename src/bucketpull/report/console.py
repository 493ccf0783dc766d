"""What commands write: lines to standard output, and words for people to standard error, in the language of the locale.

What goes to standard error never stops anything. A running job writes through `report.nonblocking_stream`, which waits for nobody.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO, cast

from bucketpull.domain.errors import BucketpullError, SourceRefused
from bucketpull.report.printable import PrintableStream, printable
from bucketpull.report.reasons import explain
from bucketpull.report.standard_streams import OutputFailed, ReaderGone
from bucketpull.report.times import time_stamp
from bucketpull.report.words import Words, language_of, shown_language

_listener: Callable[[str, str], None] | None = None


def say(text: str) -> None:
    """Write one line to standard output; what cannot be printed, and what its encoding does not have, is escaped.

    Raises ReaderGone where nobody reads it, and OutputFailed where it cannot be written.
    """
    _write(sys.stdout, text)


def result_stream(form: str) -> BinaryIO:
    """Return standard output for bytes of a form that programs read; a terminal gets them printable, for keys come from others."""
    stream: BinaryIO = sys.stdout.buffer
    if not sys.stdout.isatty():
        return stream
    return cast("BinaryIO", PrintableStream(stream, is_csv=form in {"csv", "csv-safe"}))


def say_on(text: str) -> None:
    """Write a line to standard output, of a command that goes on to its result without a reader too."""
    try:
        say(text)
    except ReaderGone:
        pass
    except OutputFailed as error:
        tell_error(error)


def inform(text: str) -> None:
    """Write a line for people to standard output, in the language of the locale; without a reader the command goes on."""
    say_on(words().message(text))


@contextmanager
def heard_by(listener: Callable[[str, str], None] | None) -> Iterator[None]:
    """Pass the level and text of what is told meanwhile to a log."""
    global _listener  # noqa: PLW0603 - as there is one standard error, there is one who hears it
    _listener = listener
    try:
        yield
    finally:
        _listener = None


def tell(text: str, *, level: str = "info", private: bool = False, timed: bool = False) -> None:
    """Write a line to standard error, for people, in the language of the locale, beside what goes to a program.

    A log has its `level`, "info", "warning" or "error", beside it. What is `private`, as the dashboard's token, does not go into a log.
    What is `timed` has its local time before it, as what a program says that runs for weeks.
    """
    if _listener is not None and not private:
        _listener(level, words_for_file().message(text))
    with suppress(OSError, ReaderGone, OutputFailed):
        sys.stdout.flush()  # so that both come in order where they are read together
    with suppress(OSError):
        stamp = f"{time_stamp(time.time())} " if timed else ""
        _write(sys.stderr, stamp + _words(sys.stderr).message(text))


class News:
    """Says when it is time to tell how far something is: every so many seconds, never if it is to be quiet."""

    def __init__(self, *, quiet: bool, seconds: float = 10.0) -> None:
        self._is_quiet = quiet
        self._seconds = seconds
        self._next = time.monotonic() + seconds

    def are_due(self) -> bool:
        """Tell whether it is time; then the next interval begins."""
        now = time.monotonic()
        if self._is_quiet or now < self._next:
            return False
        self._next = now + self._seconds
        return True


def tell_error(error: BucketpullError) -> None:
    """Write to standard error what is wrong and what to do, in the language of the locale."""
    words = _words(sys.stderr)
    if isinstance(error, SourceRefused):
        detail = words("semicolon").join(map(words.message, error.detail.split("; ")))  # one of each endpoint
        text = words("refused", *explain(error.reason, words.language, error.credentials), detail)
    else:
        text = words.message(str(error))
    with suppress(OSError):
        _write(sys.stderr, f"bucketpull: {text}")


def said(text: str) -> str:
    """Return a text in the language of the locale, for standard error."""
    return _words(sys.stderr).message(text)


def words_for_file() -> Words:
    """Return the texts in the language of the locale, for a file in UTF-8."""
    return Words(language_of(os.environ))


def words() -> Words:
    """Return the texts in the language of the locale, for standard output."""
    return _words(sys.stdout)


def _words(stream: TextIO) -> Words:
    return Words(shown_language(os.environ, stream))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
