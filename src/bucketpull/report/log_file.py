"""`--log-file`: what is told of a job, a line each with its time, in a file that is rotated.

A log is not worth a job: lines that a full, slow or broken disk does not take are dropped and counted.
"""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from bucketpull.domain.progress import Snapshot
from bucketpull.report.nonblocking_stream import MOST_WAITING_BYTES, PieceQueue
from bucketpull.report.output_files import append
from bucketpull.report.printable import printable
from bucketpull.report.reporters import Regular, missed_text
from bucketpull.report.summary import progress_line, summary_lines
from bucketpull.report.times import zoned_time_stamp
from bucketpull.report.words import Words

MOST_BYTES: Final = 16 << 20  # then it becomes FILE.1, and FILE.1 becomes FILE.2
OLD_FILES: Final = 4
PROGRESS_SECONDS: Final = 60.0


class LogFile:
    """Takes lines at once, each with a level: "info", "warning" or "error". Before `start` they are written then and there.

    Raises OSError where the file cannot be opened.
    """

    def __init__(self, path: str, most_bytes: int = MOST_BYTES) -> None:
        self._file = _RotatingFile(path, most_bytes)
        self._queue = PieceQueue(
            self._file.write, lambda number: _line("warning", missed_text(number)), MOST_WAITING_BYTES
        )
        self.start = self._queue.start

    def write(self, level: str, text: str) -> None:
        """Take a line."""
        self._queue.take(_line(level, text))

    @property
    def lost(self) -> int:
        """How many lines are not in the file, as it stands now, and nothing in it says so."""
        return self._queue.lost

    @property
    def reason(self) -> str:
        """Why the last line that could not be written was not."""
        return self._queue.reason

    def close(self) -> None:
        """Write what waits, unless nothing is taken for some seconds."""
        self._queue.write_out()
        if not self._queue.waiting:
            self._file.close()


def _line(level: str, text: str) -> bytes:
    """Return a line with local time and its distance from UTC, and the level."""
    return f"{zoned_time_stamp(time.time())} {level}: {printable(text)}\n".encode("utf-8", "backslashreplace")


class _RotatingFile:
    """A file that only its owner reads; one that is large enough becomes an old one, of which a few are kept."""

    def __init__(self, path: str, most_bytes: int) -> None:
        self._paths = [os.path.abspath(path)]
        self._paths += [f"{self._paths[0]}.{number}" for number in range(1, OLD_FILES + 1)]
        self._most_bytes = most_bytes
        self._fd = append(Path(path), 0o600)

    def write(self, piece: bytes) -> int:
        """Write as much of a line as can be."""
        found = os.fstat(self._fd)
        if stat.S_ISREG(found.st_mode) and 0 < self._most_bytes - len(piece) < found.st_size:
            self._rotate()
        return os.write(self._fd, piece)

    def _rotate(self) -> None:
        if os.path.lexists(self._paths[0]):  # else they were renamed before, and no new file could be made
            for number in range(OLD_FILES, 0, -1):
                with suppress(FileNotFoundError):
                    os.replace(self._paths[number - 1], self._paths[number])
        fresh = append(Path(self._paths[0]), 0o600)
        self.close()
        self._fd = fresh

    def close(self) -> None:
        """Close it; what comes later fails, and goes into no file that has got its number."""
        os.close(self._fd)
        self._fd = -1


class LogReporter:
    """Writes a job's events, a line of progress every minute and at each change of state, and the summary."""

    def __init__(self, log: LogFile, words: Words) -> None:
        self._log = log
        self._words = words
        self._lines = Regular(PROGRESS_SECONDS)

    def show(self, snapshot: Snapshot) -> None:
        """Write a line of progress if one is due."""
        if self._lines.are_due(snapshot):
            self._log.write("info", progress_line(snapshot, self._words))

    def note(self, level: str, event: str, text: str) -> None:
        """Write one event."""
        self._log.write(level, f"{event}: {self._words.message(text)}")

    def close(self, snapshot: Snapshot) -> None:
        """Write the summary."""
        for line in summary_lines(snapshot, self._words):
            self._log.write("info", line)
