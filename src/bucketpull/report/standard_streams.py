"""The standard streams of every command, made so that no reader, disk or encoding can break a command in the middle.

A reader of standard output that is gone ends a command quietly, by `ReaderGone`, unless the command does more than to show.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from bucketpull.domain.errors import BucketpullError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class OutputFailed(BucketpullError):
    """Standard output cannot be written, as on a full disk."""


class ReaderGone(Exception):
    """Nobody reads standard output any more, as after `| head`."""


class GuardedOutput(io.BufferedWriter):
    """Standard output in bytes, with errors that say what to do.

    `write` and `flush` raise `ReaderGone` where nobody reads, and `OutputFailed` where it cannot be written: once, then `has_failed`.
    """

    has_failed = False

    def write(self, data: "ReadableBuffer") -> int:
        """Write."""
        with self._guarded():
            return super().write(data)

    def flush(self) -> None:
        """Flush."""
        with self._guarded():
            super().flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            _forget()
            raise ReaderGone from None
        except OSError as error:
            self.has_failed = True
            _forget()
            raise OutputFailed(
                f"standard output: {error.strerror}; free some space, or write elsewhere"
            ) from error


class ErrorStream(io.FileIO):
    """Standard error in bytes; what cannot be written there is lost, whoever writes it."""

    def write(self, data: "ReadableBuffer") -> int | None:  # type: ignore[override]
        """Write."""
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def open_streams() -> None:
    """Replace standard output and standard error, and point streams that were closed at the start to /dev/null.

    Else files, such as a journal, would be opened under their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is sys.__stdout__:
        encoding = "utf-8" if sys.stdout is None else sys.stdout.encoding
        output = GuardedOutput(io.FileIO(1, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(output, encoding, "backslashreplace", line_buffering=os.isatty(1))
    if sys.stderr is sys.__stderr__:
        encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
        errors = io.BufferedWriter(ErrorStream(2, "w", closefd=False))
        sys.stderr = io.TextIOWrapper(errors, encoding, "backslashreplace", line_buffering=True)


def _forget() -> None:
    """Send what is still buffered to /dev/null, so that the interpreter does not fail at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
