"""What commands write: lines to standard output, in the language of the locale."""

import os
import sys
from typing import TextIO

from bucketpull.domain.errors import BucketpullError, SourceRefused
from bucketpull.report.choice import shown_language
from bucketpull.report.reasons import explain
from bucketpull.report.words import Words


def say(text: str) -> None:
    """Write a line to standard output; what its encoding does not have is escaped."""
    _write(sys.stdout, text)


def tell(text: str) -> None:
    """Write a line to standard error, for people, in the language of the locale, beside what goes to a program."""
    _write(sys.stderr, _words(sys.stderr).message(text))


def tell_error(error: BucketpullError) -> None:
    """Write to standard error what is wrong and what to do, in the language of the locale."""
    words = _words(sys.stderr)
    if isinstance(error, SourceRefused):
        text = words("refused", *explain(error.reason, words.language), error.detail)
    else:
        text = words.message(str(error))
    _write(sys.stderr, f"bucketpull: {text}")


def words() -> Words:
    """Return the texts in the language of the locale, for standard output."""
    return _words(sys.stdout)


def _words(stream: TextIO) -> Words:
    return Words(shown_language(os.environ, stream))


def _write(stream: TextIO, text: str) -> None:
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
