"""The reporters of errors only (`--quiet`) and of JSON lines (`--json`), and which reporter a job gets."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

from bucketpull.domain.counting import counted
from bucketpull.domain.progress import Snapshot
from bucketpull.report.document import exit_code_of, exit_words_of, snapshot_dict, summary_dict
from bucketpull.report.nonblocking_stream import NonblockingStream
from bucketpull.report.printable import json_line, printable
from bucketpull.report.words import Words, shown_language

if TYPE_CHECKING:
    from bucketpull.ports import Reporter

EVENT_SECONDS = 1.0


class Regular:
    """Says when something is to be shown again: after so many seconds of the session, and at each change of state."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due = 0.0
        self._state = ""

    def are_due(self, snapshot: Snapshot) -> bool:
        """Tell whether it is time; then the next interval begins."""
        if snapshot.seconds < self._due and snapshot.state == self._state:
            return False
        self._due, self._state = snapshot.seconds + self._seconds, snapshot.state
        return True


def missed_text(number: int) -> str:
    """Say how many lines were dropped."""
    return f"{counted(number, 'lines were')} dropped: nobody read them in time, or the disk was full"


def missed_lines(number: int) -> str:
    """Return the line that tells of lines which were dropped."""
    return f"warning: output.missed: {missed_text(number)}\n"


class QuietReporter:
    """Writes errors, and at the end one line if the job is not complete."""

    def __init__(self, stream: TextIO, words: Words) -> None:
        self._stream = stream
        self._words = words

    def show(self, snapshot: Snapshot) -> None:
        """Say nothing."""

    def note(self, level: str, event: str, text: str) -> None:
        """Write an error; keep the rest back."""
        if level == "error":
            self._stream.write(printable(f"{level}: {event}: {self._words.message(text)}") + "\n")

    def close(self, snapshot: Snapshot) -> None:
        """Say why the job is not complete, if it is not."""
        code = exit_code_of(snapshot)
        if code:
            self._stream.write(self._words("exit", int(code), self._words(exit_words_of(snapshot))) + "\n")


class EventReporter:
    """Writes events as JSON lines, for programs. `now` returns Unix seconds, for notes.

    Every line has `event` and `at` (Unix seconds). Fields are only ever added. The events:

    * `progress`, once a second and at each change of state: all of a snapshot (`document.snapshot_dict`)
    * `note`, when something happens: `level` (info, warning, error), `name` (noun.past-participle), `text`
      (`output.missed`: so many lines before it were dropped, because nobody read them in time)
    * `end`, last: `state`, `exit` (the exit code) and `summary`, which is the content of `--summary FILE`
    """

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._lines = Regular(EVENT_SECONDS)
        self._now = now

    def show(self, snapshot: Snapshot) -> None:
        """Write a `progress` event if one is due."""
        if self._lines.are_due(snapshot):
            self._write("progress", snapshot.at, snapshot_dict(snapshot))

    def note(self, level: str, event: str, text: str) -> None:
        """Write a `note` event."""
        self._write("note", self._now(), {"level": level, "name": event, "text": text})

    def close(self, snapshot: Snapshot) -> None:
        """Write the `end` event."""
        end = {
            "state": snapshot.state,
            "exit": int(exit_code_of(snapshot)),
            "summary": summary_dict(snapshot),
        }
        self._write("end", snapshot.at, end)

    def _write(self, event: str, at: float, fields: dict[str, Any]) -> None:  # JSON
        self._stream.write(json_line({"event": event} | fields | {"at": at}) + "\n")
        self._stream.flush()


def missed_event(number: int) -> str:
    """Return the line that tells of events which were dropped, because the reader was too slow."""
    note = {
        "event": "note",
        "level": "warning",
        "name": "output.missed",
        "text": missed_text(number),
        "at": time.time(),
    }
    return json_line(note) + "\n"


def open_reporter(
    *,
    json: bool = False,
    quiet: bool = False,
    errors: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> Reporter:
    """Choose a reporter: JSON lines to standard output, else errors only, else a live display if `errors` is a capable terminal,
    else plain lines.

    Progress for people goes to `errors` (stderr), so that standard output stays free for a pipe; neither is waited for.
    """
    environ = os.environ if environ is None else environ
    if json:
        return EventReporter(_nonblocking(sys.stdout, missed_event))
    errors = errors or _nonblocking(sys.stderr, missed_lines)
    words = Words(shown_language(environ, errors))
    if quiet:
        return QuietReporter(errors, words)
    if errors.isatty() and environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}:
        from bucketpull.report.terminal import TerminalReporter

        return TerminalReporter(errors, words)
    from bucketpull.report.line_reporter import LineReporter

    return LineReporter(errors, words)


def _nonblocking(stream: TextIO, missed: Callable[[int], str]) -> TextIO:
    return cast("TextIO", NonblockingStream(stream, missed))
