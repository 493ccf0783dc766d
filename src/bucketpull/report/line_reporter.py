"""The reporter of plain lines, for people who do not watch a terminal: a log, a file, a pipe."""

import time
from typing import TextIO

from bucketpull.domain.progress import Snapshot
from bucketpull.report.printable import printable
from bucketpull.report.reporters import Regular
from bucketpull.report.summary import progress_line, summary_lines
from bucketpull.report.times import time_stamp
from bucketpull.report.words import Words

LINE_SECONDS = 10.0


class LineReporter:
    """Writes a line of progress every ten seconds, each note, and the summary at the end.

    A change of state is told at once. What the stream cannot encode is replaced.
    """

    def __init__(self, stream: TextIO, words: Words) -> None:
        self._stream = stream
        self._words = words
        self._lines = Regular(LINE_SECONDS)

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if one is due."""
        if self._lines.are_due(snapshot):
            self._write(f"{time_stamp(snapshot.at)} {progress_line(snapshot, self._words)}")

    def note(self, level: str, event: str, text: str) -> None:
        """Write one event."""
        self._write(f"{time_stamp(time.time())} {level}: {event}: {self._words.message(text)}")

    def close(self, snapshot: Snapshot) -> None:
        """Write the summary."""
        for line in summary_lines(snapshot, self._words):
            self._write(line)

    def _write(self, line: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(printable(line).encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()
