"""What writes to one volume (`ports.Writer`): in the calling thread while the disk is quick, else in a thread of its own.

A hand-over to a thread costs 4 µs an object, a tenth of fetching and storing it; a slow disk without one would stall the
network and the other disks. So a small object is written at once; when the disk makes that wait, the thread does the work
for ten times as long, and for up to a hundred and sixty times when it does so again: a caller stalls for a hundredth of its
time. A write that took long is no proof, for on a busy core that may be another process's turn (and was, once a second of a
busy machine): after one, the writer watches for a while whether the kernel puts the caller to sleep in a write.
"""

import math
import os
import resource
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any, Final

from bucketpull.domain.errors import MachineShort, ObjectUnwritten, VolumeFull, VolumeSick
from bucketpull.domain.http_exchange import Chunk
from bucketpull.domain.record import Written
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.files.stream import Publisher, StreamFile

_LEAVE_SECONDS: Final = 10.0
_PIECE_BYTES: Final = 1 << 18
_DIRECT_BYTES: Final = 1 << 18
_LONG_SECONDS: Final = 0.0005  # 20 KiB take 15 µs on tmpfs, 60-200 µs on ext4
_PATIENCE_SECONDS: Final = 0.005
_STALL_SECONDS: Final = 0.1
_DOUBTED_WRITES: Final = 16
_RELIEF: Final = 10.0
_MOST_RELIEF: Final = 160.0
_SEIZE_SECONDS: Final = 0.001
_GROUP: Final = 32
_GROUP_SECONDS: Final = 0.005

_ERRORS: Final = {error.reason: error for error in (VolumeFull, VolumeSick, ObjectUnwritten, MachineShort)}

_Job = tuple[int, Callable[..., Written | None], tuple[Any, ...]]


class DiskWriter:
    """Writes objects in turn; all methods are for one thread.

    The bytes in the queue are the caller's to bound, by `queued_bytes`. `direct` False never writes in the caller's thread.
    """

    def __init__(self, files: FileWriter, direct: bool = True) -> None:
        self.files = files
        self.publisher: Publisher = files
        self.path = files.path
        self._store = files.store
        self._jobs: deque[_Job] = deque()
        self.done: deque[Written] = deque()
        """Outcomes that were not taken yet; the work itself may add some."""
        self._given = 0
        self._taken = 0
        self._idle = False
        self._told = False
        self._bug: BaseException | None = None
        self._closing = self._leaving = False
        self._direct_from = 0.0 if direct else math.inf
        self._doubts = 0
        self._slept = 0.0
        self._relief = _RELIEF
        self._turn = threading.Lock()  # whoever has it may write
        self._wanted = False
        self._work = threading.Lock()
        self._work.acquire()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"write {files.identity.id}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self.release()
            raise MachineShort(files.path, str(error)) from error

    @property
    def queued_bytes(self) -> int:
        """See `ports.Writer`."""
        return self._given - self._taken

    @property
    def wake_fd(self) -> int:
        """See `ports.Writer`."""
        return self._wake

    def put(
        self, directory: bytes, name: bytes, mtime: int, chunks: Sequence[Chunk], token: object
    ) -> Written | None:
        """See `ports.Writer`."""
        size = len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))
        if size <= _DIRECT_BYTES:
            began = time.perf_counter()
            if began >= self._direct_from:
                # An idle thread touches nothing until it is woken, and only this thread wakes it: no lock is needed (1 µs).
                if self._idle and not self._jobs and not self._doubts:
                    written = self._store(directory, name, mtime, chunks, token)
                    self._taken += size
                    self._given += size
                    seconds = time.perf_counter() - began
                    if seconds > _LONG_SECONDS:
                        self._judge(seconds, 0)
                    return written
                if self._do_warily(size, self._store, (directory, name, mtime, chunks, token)):
                    return None
        self.give(size, self._store, (directory, name, mtime, chunks, token))
        return None

    def set_aside(self, directory: bytes, name: bytes) -> bool:
        """See `ports.Writer`."""
        return self.files.set_aside(directory, name)

    def flush(self) -> None:
        """See `ports.Writer`. No object is kept back."""

    def stream(
        self, directory: bytes, name: bytes, size: int, mtime: int, hashed: bool = False
    ) -> "DiskStream":
        """See `ports.Writer`."""
        try:
            return DiskStream(self, StreamFile(self.publisher, directory, name, size, mtime, hashed))
        except OSError as error:
            refused = self.files.failed("part not opened", error, None)
            assert refused.reason is not None
            raise _ERRORS[refused.reason](self.path, refused.detail) from error

    def outcomes(self) -> list[Written]:
        """See `ports.Writer`."""
        if not self._closing:
            with suppress(BlockingIOError):
                os.eventfd_read(self._wake)
        self._told = False
        if self._bug is not None:
            raise self._bug
        done = []
        with suppress(IndexError):
            while True:
                done.append(self.done.popleft())
        return done

    def close(self) -> None:
        """Finish what was handed over, then stop; a disk that does not answer is left after 10 s."""
        if self._closing:
            return
        self._closing = True
        self._rouse()
        self._thread.join(_LEAVE_SECONDS)
        if not self._thread.is_alive():
            self.release()

    def leave(self) -> None:
        """See `ports.Writer`. The thread closes the volume as soon as the disk answers."""
        if not self._closing:
            self._leaving = self._closing = True
            self._rouse()

    def release(self) -> None:
        """Close what is open on the volume."""
        self.files.close()
        os.close(self._wake)

    @property
    def is_closing(self) -> bool:
        """Whether it takes nothing more."""
        return self._closing

    def give(self, size: int, function: Callable[..., Written | None], arguments: tuple[Any, ...]) -> None:
        """Hand over any work on this volume that counts as so many bytes."""
        self._given += size
        self._jobs.append((size, function, arguments))
        if self._idle:
            self._rouse()

    def do(self, size: int, function: Callable[..., Written | None], arguments: tuple[Any, ...]) -> None:
        """Do any work on this volume that counts as so many bytes, here if the disk is quick; its outcome comes by `outcomes`."""
        if time.perf_counter() < self._direct_from or not self._do_warily(size, function, arguments):
            self.give(size, function, arguments)

    def _tell(self) -> None:
        """Make `wake_fd` readable, unless it is."""
        if not self._told and self.done:
            self._told = True
            os.eventfd_write(self._wake, 1)

    def _do_warily(
        self, size: int, function: Callable[..., Written | None], arguments: tuple[Any, ...]
    ) -> bool:
        """Do the thread's waiting work and then this one in the caller's thread; False if that took or takes long."""
        if not self._seize():
            return False
        try:
            self._catch_up()
            if self._jobs:
                return False
            self._write(size, function, arguments)
        finally:
            self._turn.release()
            self._tell()
        return True

    def _seize(self) -> bool:
        """Take over the writing from the thread; False if the thread is in the middle of a long write."""
        if self._turn.acquire(blocking=False):
            return True
        self._wanted = True
        has_it = self._turn.acquire(timeout=_SEIZE_SECONDS)
        self._wanted = False
        return has_it

    def _catch_up(self) -> None:
        """Do the thread's waiting work first, so that it comes to an end; stop if that takes long."""
        while self._jobs and time.perf_counter() >= self._direct_from:
            self._given -= self._jobs[0][0]
            self._write(*self._jobs.popleft())

    def _write(self, size: int, function: Callable[..., Written | None], arguments: tuple[Any, ...]) -> None:
        """Do one piece of work in the caller's thread."""
        began = time.perf_counter()
        sleeps = _sleeps() if self._doubts else 0
        written = function(*arguments)
        if written is not None:
            self.done.append(written)
        self._given += size
        self._taken += size
        seconds = time.perf_counter() - began
        if seconds > _LONG_SECONDS or self._doubts:
            self._judge(seconds, sleeps)

    def _judge(self, seconds: float, sleeps: int) -> None:
        """Leave the writing to the thread for a while if the disk makes the caller wait; `sleeps` is how often it had slept before."""
        if self._doubts:
            self._doubts -= 1
            if seconds > _LONG_SECONDS and _sleeps() > sleeps:
                self._slept += seconds
            elif not self._doubts:
                self._relief = _RELIEF
        elif seconds > _LONG_SECONDS:
            self._doubts, self._slept = _DOUBTED_WRITES, 0.0
        if self._slept > _PATIENCE_SECONDS or seconds > _STALL_SECONDS:
            self._direct_from = time.perf_counter() + max(self._slept, seconds) * self._relief
            self._relief = min(self._relief * 2.0, _MOST_RELIEF)
            self._doubts, self._slept = _DOUBTED_WRITES, 0.0

    def _rouse(self) -> None:
        self._idle = False
        with suppress(RuntimeError):  # released already
            self._work.release()

    def _run(self) -> None:
        """Do the work of the thread; a bug in it is raised where outcomes are taken, for nothing else comes any more."""
        try:
            self._work_off()
        except BaseException as error:  # noqa: BLE001 - see above
            self._bug = error
            os.eventfd_write(self._wake, 1)

    def _work_off(self) -> None:
        """Do the work in the queue. Outcomes are given in groups: waking the caller costs as much as writing a small file."""
        jobs, done, told = self._jobs, self.done, 0.0
        while True:
            while self._wanted:
                time.sleep(_SEIZE_SECONDS)
            with self._turn:
                has_worked = bool(jobs)
                if has_worked:
                    size, function, arguments = jobs.popleft()
                    written = function(*arguments)
                    self._taken += size
                    if written is not None:
                        done.append(written)
            if not has_worked:
                if self._closing:
                    break
                self._rest()
            elif not jobs or len(done) >= _GROUP or time.perf_counter() - told > _GROUP_SECONDS:
                told = time.perf_counter()
                self._tell()
        if self._leaving:
            self.release()

    def _rest(self) -> None:
        """Wait for work. The queue is looked at once more after the flag is set, since work may have come in between."""
        self._idle = True
        if not self._jobs and not self._closing:
            self._work.acquire()
        self._idle = False


class DiskStream:
    """A large object that a `DiskWriter` writes. `offset` is what was there at the beginning, in bytes."""

    def __init__(self, writer: DiskWriter, file: StreamFile) -> None:
        self._writer = writer
        self._file = file
        self._pieces: list[bytes] = []
        self._size = 0
        self.offset = file.offset
        self.left = file.left
        self.trouble: Written | None = None
        """Set when the disk refused a piece, so that the transfer can be ended; `publish` reports it too."""

    def note(self, etag: str, changed: str) -> None:
        """See `ports.Stream`."""
        self._writer.give(0, self._guard, (self._file.note, etag, changed))

    def append(self, chunk: bytes) -> None:
        """See `ports.Stream`."""
        self._pieces.append(chunk)
        self._size += len(chunk)
        if self._size >= _PIECE_BYTES:
            self._flush()

    def restart(self) -> None:
        """See `ports.Stream`."""
        self._pieces, self._size, self.offset = [], 0, 0
        self._writer.give(0, self._guard, (self._file.restart,))

    def publish(self, length: int, accepts: Collection[bytes] | None, token: object, mtime: int = -1) -> None:
        """Give the object its final name; see `StreamFile.publish`. The outcome comes by `outcomes`."""
        self._flush()
        self._writer.give(0, self._publish, (length, accepts, token, mtime))

    def close(self, keep: bool) -> None:
        """Close without publishing; what is there is kept for a later resumption, or removed."""
        if keep:
            self._flush()
        self._writer.give(0, self._file.close, (keep,))

    def _flush(self) -> None:
        if self._pieces:
            self._writer.give(self._size, self._guard, (self._file.append, self._pieces))
            self._pieces, self._size = [], 0

    def _guard(self, function: Callable[..., None], *arguments: object) -> None:
        if self.trouble is None:
            try:
                function(*arguments)
            except OSError as error:
                self.trouble = self._writer.files.failed("part not written", error, None)

    def _publish(self, length: int, accepts: Collection[bytes] | None, token: object, mtime: int) -> Written:
        if self.trouble is None:
            return self._file.publish(length, accepts, token, mtime)
        self._file.close(keep=True)
        return Written(token, self.trouble.reason, self.trouble.detail)


def _sleeps() -> int:
    """Return how often this thread has waited for something other than a core; 1.5 µs."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def open_writer(path: str, volume: str, durability: str) -> DiskWriter:
    """Open the volume that must lie at a path for writing; `durability` "file" syncs each file.

    Raises VolumeSick where it does not lie there, or cannot be written.
    """
    sync = durability == "file"
    return DiskWriter(FileWriter.open(path, volume, sync), direct=not sync)
