"""What commands write: lines to standard output, in the language of the locale."""

import os
import sys

from bucketpull.domain.errors import BucketpullError, SourceRefused
from bucketpull.report.choice import shown_language
from bucketpull.report.reasons import explain
from bucketpull.report.words import Words


def say(text: str) -> None:
    """Write a line to standard output; what its encoding does not have is escaped."""
    stream = sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def tell(text: str) -> None:
    """Write a line to standard error, for people, beside what goes to a program."""
    encoding = sys.stderr.encoding or "utf-8"
    sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def words() -> Words:
    """Return the texts in the language of the locale."""
    return Words(shown_language(os.environ, sys.stdout))


def tell_error(error: BucketpullError) -> None:
    """Write to standard error what is wrong and what to do, in the language of the locale."""
    words = Words(shown_language(os.environ, sys.stderr))
    if isinstance(error, SourceRefused):
        text = words("refused", *explain(error.reason, words.language), error.detail)
    else:
        text = words.message(str(error))
    tell(f"bucketpull: {text}")
