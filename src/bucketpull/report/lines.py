"""Plain lines: one an interval, for log files, pipes and dumb terminals, or with `--quiet` nothing but errors."""

import time
from typing import TextIO

from bucketpull.domain.progress import Snapshot
from bucketpull.report import figures
from bucketpull.report.document import exit_code_of, waited_for
from bucketpull.report.printable import printable
from bucketpull.report.summary import by_reason, summary_lines, time_left
from bucketpull.report.words import Words

WIDEST = 159  # columns; a Chinese character takes two


class LineReporter:
    """Writes a line of progress every `interval_seconds`, each note, and the summary at the end.

    A change of state is told at once. What the stream cannot encode is replaced.
    """

    def __init__(self, stream: TextIO, words: Words, interval_seconds: float = 10.0) -> None:
        self._stream = stream
        self._words = words
        self._interval = interval_seconds
        self._due = 0.0
        self._state = ""

    def show(self, snapshot: Snapshot) -> None:
        """Write a line if one is due."""
        if snapshot.at < self._due and snapshot.state == self._state:
            return
        self._due, self._state = snapshot.at + self._interval, snapshot.state
        self._write(f"{_stamp(snapshot.at)} {progress_line(snapshot, self._words)}")

    def note(self, level: str, event: str, text: str) -> None:
        """Write one event."""
        self._write(f"{_stamp(time.time())} {level}: {event}: {self._words.message(text)}")

    def close(self, snapshot: Snapshot) -> None:
        """Write the summary."""
        for line in summary_lines(snapshot, self._words):
            self._write(line)

    def _write(self, line: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(printable(line).encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()


def progress_line(snapshot: Snapshot, words: Words) -> str:
    """Say where the job stands in one line below 140 columns; the least important parts give way."""
    books, rates, estimate = snapshot.counters, snapshot.rates, snapshot.estimate
    parts = [words("state." + snapshot.state)]
    if estimate.knows_share:
        parts[0] += f" {figures.percent(estimate.share)}"
    parts.append(
        f"{words('stored')} {figures.count(books.stored)}"
        f" ({figures.speed(rates.objects_now)}, {figures.size(rates.bytes_now)}/s)"
    )
    parts.extend(
        f"{words(name)} {figures.count(number)}"
        for name, number in (("failed", books.failed), ("skipped", books.skipped))
        if number
    )
    key, still = waited_for(snapshot)
    if key:
        parts.append(words("waiting_for", key, figures.duration(still, words.language)))
    parts.append(time_left(snapshot, words))
    if not snapshot.listing_done:
        parts.append(words("more", figures.count(books.listed)))
    if snapshot.limited_by:
        parts.append(words("limited", words("limit." + snapshot.limited_by)))
    if any(snapshot.retries.values()):
        parts.append(f"{words('retries')} {by_reason(snapshot.retries)}")
    while len(parts) > 2 and _columns("; ".join(parts)) > WIDEST - 20:
        parts.pop()
    return "; ".join(parts)


def missed_text(number: int) -> str:
    """Say how many lines were dropped."""
    return f"{number} lines were dropped: nobody read them in time, or the disk was full"


def missed_lines(number: int) -> str:
    """Return the line that tells of lines which were dropped."""
    return f"warning: output.missed: {missed_text(number)}\n"


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _columns(text: str) -> int:
    return sum(2 if ord(letter) > 0x2E80 else 1 for letter in text)


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
            self._stream.write(self._words("exit", int(code), self._words(f"exit.{int(code)}")) + "\n")
