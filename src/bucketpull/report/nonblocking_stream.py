"""Output that never holds up its writer and never fails: it is not worth a job.

A reader that is slow, stopped (Ctrl-S) or gone, and a log on a full disk, cost lines and nothing else. A thread writes; what it cannot
write in time is dropped, the oldest first, and counted.
"""

import atexit
import io
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

MOST_WAITING_BYTES: Final = 1 << 20
PATIENCE_SECONDS: Final = 5.0  # at the end, for a reader that takes nothing


class PieceQueue:
    """Takes pieces, such as lines, at once. `put` writes some bytes of one and returns how many; it may wait, and raise OSError.

    `missed` makes the text that tells of a number of dropped pieces; it is written before the next piece that goes through. Before
    `start` pieces are written then and there, so that a process may fork while it has no threads.
    """

    def __init__(self, put: Callable[[bytes], int], missed: Callable[[int], bytes], most_bytes: int) -> None:
        self.reason = "nothing is taken"  # why the last one that could not be written was not
        self._put = put
        self._missed = missed
        self._most = most_bytes
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._untold = 0
        self._writing = False
        self._progress = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> int:
        """How many pieces wait to be written."""
        return self._writing + len(self._pieces)

    @property
    def lost(self) -> int:
        """How many pieces are not written, as it stands now, and nothing says so."""
        return self._untold + self.waiting

    def start(self) -> None:
        """Begin to write in a thread. Where none can be had now, pieces are still written then and there."""
        with self._changed, suppress(RuntimeError):  # several threads write their first line at once
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="nonblocking output", daemon=True)
                thread.start()
                self._thread = thread

    def take(self, piece: bytes) -> None:
        """Take a piece."""
        if self._thread is None:
            self._write(piece)
            return
        with self._changed:
            self._pieces.append(piece)
            self._waiting_bytes += len(piece)
            while self._waiting_bytes > self._most and len(self._pieces) > 1:
                self._waiting_bytes -= len(self._pieces.popleft())
                self._untold += 1
            self._changed.notify_all()

    def write_out(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is written, unless nothing has been taken for so long."""
        with self._changed:
            progress, deadline = self._progress, time.monotonic() + patience_seconds
            while self.waiting and time.monotonic() < deadline:
                self._changed.wait(0.1)
                if self._progress != progress:
                    progress, deadline = self._progress, time.monotonic() + patience_seconds

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                while not self._pieces:
                    self._changed.wait()
                piece = self._pieces.popleft()
                self._waiting_bytes -= len(piece)
                self._writing = True
            self._write(piece)

    def _write(self, piece: bytes) -> None:
        with self._changed:
            untold, self._untold = self._untold, 0
        piece = self._missed(untold) + piece if untold else piece
        try:
            while piece:
                written = self._put(piece)
                piece = piece[written:]
                self._progress += written
        except OSError as error:
            with self._changed:
                self._untold += untold + 1
                self.reason = error.strerror or str(error)


_streams: "weakref.WeakSet[NonblockingStream]" = weakref.WeakSet()


def flush_all(patience_seconds: float) -> None:
    """Write out what all streams hold; see `PieceQueue.write_out`."""
    for stream in list(_streams):
        stream.write_out(patience_seconds)


class NonblockingStream(io.TextIOBase):
    """Takes text at once, and writes it to the descriptor of `stream` when that can be. What its encoding lacks is replaced."""

    def __init__(
        self, stream: TextIO, missed: Callable[[int], str], most_waiting_bytes: int = MOST_WAITING_BYTES
    ) -> None:
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._fd = stream.fileno()
        self._queue = PieceQueue(self._put, lambda number: self._encoded(missed(number)), most_waiting_bytes)
        _streams.add(self)
        self.write_out = self._queue.write_out
        atexit.register(self.write_out)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return self._encoding

    def fileno(self) -> int:
        """Return the descriptor, to ask a terminal for its size."""
        return self._fd

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Say so; a reader that is gone is no reason to stop."""
        return True

    @property
    def behind(self) -> bool:
        """Whether something waits to be written."""
        return self._queue.waiting > 0

    def write(self, text: str) -> int:
        """Take a piece of text, such as a line."""
        self._queue.start()
        self._queue.take(self._encoded(text))
        return len(text)

    def _encoded(self, text: str) -> bytes:
        return text.encode(self._encoding, "replace")

    def _put(self, piece: bytes) -> int:
        try:
            return os.write(self._fd, piece)
        except BlockingIOError:  # somebody who shares the descriptor made it so
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(1000)
            return 0
