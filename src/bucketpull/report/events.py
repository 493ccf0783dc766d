"""`--json`: one JSON object a line, for programs.

Every line has `event` and `at` (Unix seconds). Fields are only ever added. The events:

* `progress`, once a second and at each change of state: all of a snapshot (`document.snapshot_dict`)
* `note`, when something happens: `level` (info, warning, error), `name` (noun.past-participle), `text`
  (`output.missed`: so many lines before it were dropped, because nobody read them in time)
* `end`, last: `state`, `exit` (the exit code) and `summary`, which is the content of `--summary FILE`
"""

import time
from collections.abc import Callable
from typing import Any, TextIO

from bucketpull.domain.progress import Snapshot
from bucketpull.report.document import exit_code_of, snapshot_dict, summary_dict
from bucketpull.report.lines import missed_text
from bucketpull.report.printable import json_line


class EventReporter:
    """Writes events as JSON lines. `now` returns Unix seconds, for notes."""

    def __init__(
        self,
        stream: TextIO,
        interval_seconds: float = 1.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._interval = interval_seconds
        self._now = now
        self._due = 0.0
        self._state = ""

    def show(self, snapshot: Snapshot) -> None:
        """Write a `progress` event if one is due."""
        if snapshot.at < self._due and snapshot.state == self._state:
            return
        self._due, self._state = snapshot.at + self._interval, snapshot.state
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
