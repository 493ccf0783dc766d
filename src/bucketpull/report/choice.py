"""Chooses the reporter of a job: JSON lines, plain lines, errors only, or the live display."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TextIO, cast

from bucketpull.ports import Reporter
from bucketpull.report.events import EventReporter, missed_event
from bucketpull.report.lines import LineReporter, QuietReporter, missed_lines
from bucketpull.report.nonblocking_stream import NonblockingStream
from bucketpull.report.words import Words, language_of

EVENT_SECONDS = 1.0
LINE_SECONDS = 10.0


def open_reporter(
    *,
    json: bool = False,
    quiet: bool = False,
    output: TextIO | None = None,
    errors: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
    interval_seconds: float | None = None,
) -> Reporter:
    """Choose a reporter: JSON lines to `output`, else errors only, else a live display if `errors` is a capable
    terminal, else plain lines.

    People's progress goes to `errors` (stderr), so that `output` (stdout) stays free for a pipe; neither is waited for.
    `interval_seconds` is that of lines and events; None is the reporter's own.
    """
    environ = os.environ if environ is None else environ
    if json:
        stream = output or _nonblocking(sys.stdout, missed_event)
        return EventReporter(stream, EVENT_SECONDS if interval_seconds is None else interval_seconds)
    errors = errors or _nonblocking(sys.stderr, missed_lines)
    words = Words(shown_language(environ, errors))
    if quiet:
        return QuietReporter(errors, words)
    if errors.isatty() and environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}:
        from bucketpull.report.terminal import TerminalReporter

        return TerminalReporter(errors, words)
    return LineReporter(errors, words, LINE_SECONDS if interval_seconds is None else interval_seconds)


def _nonblocking(stream: TextIO, missed: Callable[[int], str]) -> TextIO:
    return cast("TextIO", NonblockingStream(stream, missed))


def shown_language(environ: Mapping[str, str], stream: TextIO) -> str:
    """Return the locale's language, "en" or "zh", if the stream can encode it."""
    language = language_of(environ)
    try:
        "中".encode(stream.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "en"
    return language
