"""`--log-file`: what is told of a job, a line each with its time, in a file that is rotated.

A log is not worth a job: a thread writes, and lines that a full, slow or broken disk does not take are dropped and counted.
"""

import logging
import queue
import sys
import threading
import time
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from bucketpull.domain.progress import Snapshot
from bucketpull.report.output_files import append
from bucketpull.report.printable import printable
from bucketpull.report.reporters import Regular, missed_text
from bucketpull.report.summary import progress_line, summary_lines
from bucketpull.report.words import Words

MOST_BYTES: Final = 16 << 20  # then it becomes FILE.1, and FILE.1 becomes FILE.2
OLD_FILES: Final = 4
PATIENCE_SECONDS: Final = 5.0  # at the end, for a disk that takes nothing
PROGRESS_SECONDS: Final = 60.0
_MOST_WAITING: Final = 10_000  # lines
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LogFile:
    """Takes lines at once. Before `start` they are written then and there, so that a process may fork while it has no threads.

    Raises OSError where the file cannot be opened.
    """

    def __init__(self, path: str, most_bytes: int = MOST_BYTES) -> None:
        self._handler = _Rotating(path, maxBytes=most_bytes, backupCount=OLD_FILES, encoding="utf-8")
        self._handler.setFormatter(_Formatter())
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()

    def write(self, level: str, text: str) -> None:
        """Take a line."""
        record = logging.LogRecord("bucketpull", _LEVELS[level], "", 0, printable(text), None, None)
        if self._thread is None:
            self._handler.handle(record)
            return
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self._handler.missed += 1

    @property
    def lost(self) -> int:
        """How many lines are not in the file, as it stands now, and nothing in it says so."""
        return self._handler.missed + sum(each is not None for each in self._waiting.queue)

    @property
    def reason(self) -> str:
        """Why the last line that could not be written was not."""
        return self._handler.reason

    def close(self) -> None:
        """Write what waits, unless nothing is taken for some seconds."""
        self.start()
        assert self._thread is not None
        with suppress(queue.Full):
            self._waiting.put(None, timeout=PATIENCE_SECONDS)
        self._thread.join(PATIENCE_SECONDS)
        if not self._thread.is_alive():
            with suppress(OSError):
                self._handler.close()

    def _run(self) -> None:
        while (record := self._waiting.get()) is not None:
            self._handler.handle(record)


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


class _Rotating(RotatingFileHandler):
    """A file that only its owner reads; what cannot be written is counted, and told once something can."""

    missed = 0
    reason = "the disk takes nothing"

    def _open(self) -> TextIOWrapper:
        fd = append(Path(self.baseFilename), 0o600)
        return open(fd, "a", encoding=self.encoding, errors="backslashreplace")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, and after it how many before it were not."""
        before = self.missed
        super().emit(record)
        if before and self.missed == before:
            self.missed = 0
            text = missed_text(before)
            super().emit(logging.LogRecord(record.name, logging.WARNING, "", 0, text, None, None))
            self.missed += before if self.missed else 0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's
        """Count a line that could not be written."""
        self.missed += 1
        error = sys.exception()
        if isinstance(error, OSError) and error.strerror:
            self.reason = error.strerror


class _Formatter(logging.Formatter):
    """Local time with its distance from UTC, the level, and the text."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as one line."""
        at = time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(record.created))
        return f"{at} {record.levelname.lower()}: {record.msg}"
