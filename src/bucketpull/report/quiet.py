"""`--quiet`: nothing but errors, and at the end one line if the job is not complete."""

from typing import TextIO

from bucketpull.domain.progress import Snapshot
from bucketpull.report.document import exit_code_of
from bucketpull.report.printable import printable
from bucketpull.report.words import Words


class QuietReporter:
    """Writes errors only."""

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
