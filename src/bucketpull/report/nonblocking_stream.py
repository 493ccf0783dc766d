"""A stream that never holds up its writer and never fails: output is not worth a job.

A reader that is slow, stopped (Ctrl-S) or gone, and a log on a full disk, cost lines and nothing else. A thread writes; what it cannot
write in time is dropped, the oldest first, and counted.
"""

import atexit
import errno
import io
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

MOST_WAITING_BYTES: Final = 1 << 20
PATIENCE_SECONDS: Final = 5.0  # at the end, for a reader that takes nothing
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


_streams: "weakref.WeakSet[NonblockingStream]" = weakref.WeakSet()


def flush_all(patience_seconds: float) -> None:
    """Write out what all streams hold; see `NonblockingStream.write_out`."""
    for stream in list(_streams):
        stream.write_out(patience_seconds)


class NonblockingStream(io.TextIOBase):
    """Takes text at once, and writes it to the descriptor of `stream` when that can be.

    What its encoding lacks is replaced. `missed` makes the text that tells of a number of dropped pieces; it is written before the
    next piece that goes through.
    """

    def __init__(
        self,
        stream: TextIO,
        missed: Callable[[int], str],
        most_waiting_bytes: int = MOST_WAITING_BYTES,
    ) -> None:
        self.dropped = 0
        self._stream = stream
        self._encoding = stream.encoding or "utf-8"
        self._fd = stream.fileno()
        self._missed = missed
        self._most = most_waiting_bytes
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._untold = 0
        self._gone = False
        self._writing = False
        self._progress = 0
        self._changed = threading.Condition()
        _streams.add(self)
        self._thread: threading.Thread | None = None

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
        return self._writing or bool(self._pieces)

    def write(self, text: str) -> int:
        """Take a piece of text, such as a line."""
        piece = text.encode(self._encoding, "replace")
        with self._changed:
            if self._gone:
                self.dropped += 1
                return len(text)
            self._pieces.append(piece)
            self._waiting_bytes += len(piece)
            while self._waiting_bytes > self._most and len(self._pieces) > 1:
                self._waiting_bytes -= len(self._pieces.popleft())
                self._drop()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nonblocking stream", daemon=True)
                self._thread.start()
                atexit.register(self.write_out)
            self._changed.notify_all()
        return len(text)

    def write_out(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until all is written, unless nothing has been taken for so long."""
        with self._changed:
            progress, deadline = self._progress, time.monotonic() + patience_seconds
            while self.behind and not self._gone and time.monotonic() < deadline:
                self._changed.wait(0.1)
                if self._progress != progress:
                    progress, deadline = self._progress, time.monotonic() + patience_seconds

    def _drop(self) -> None:
        self.dropped += 1
        self._untold += 1

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
                untold, self._untold = self._untold, 0
            if untold:
                piece = self._missed(untold).encode(self._encoding, "replace") + piece
            if not self._put(piece):
                return

    def _put(self, piece: bytes) -> bool:
        """Write a piece; say whether it makes sense to go on."""
        try:
            while piece:
                written = self._write_some(piece)
                piece = piece[written:]
                self._progress += written
        except OSError as error:
            with self._changed:
                self._drop()
                self._gone = error.errno not in _FULL
                if self._gone:
                    self.dropped += len(self._pieces)
                    self._pieces.clear()
                    self._writing = False
                self._changed.notify_all()
        return not self._gone

    def _write_some(self, piece: bytes) -> int:
        try:
            return os.write(self._fd, piece)
        except BlockingIOError:  # somebody who shares the descriptor made it so
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(1000)
            return 0
