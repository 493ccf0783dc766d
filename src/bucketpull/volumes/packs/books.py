"""The packs of one volume as its agent sees them: where each writer's settled part ends, what is durable, what is to be sealed.

The ledger is the truth. `.bucketpull/packs/state` repeats what it said up to some offset, so that opening a volume reads the
ledger only from there; if it is lost, the whole ledger is read.
"""

import os
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from bucketpull import kill_points
from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.record import Record, Sealed
from bucketpull.volumes.beneath import opener
from bucketpull.volumes.ledger import Damage, Kind, Ledger
from bucketpull.volumes.packs import folder, sealing, tar

_STATE: Final = f"{folder.STATE}/state"
_OPEN_PACKS: Final = 64
_LEAVE_SECONDS: Final = 20.0
_reach = kill_points.reach


class _State(msgspec.Struct):
    """`writers` has, by writer, the number of its newest pack that holds something settled, and where that ends in bytes."""

    ledger: int = 0
    files: bool = False
    writers: dict[int, tuple[int, int]] = {}


_decode_state = json_decoder(_State)
_decode_sealed = json_decoder(Sealed)


class PackBooks:
    """See above. `has_files` tells whether objects may lie as files on this volume too.

    Args:
        root: The volume's root, which stays the caller's.
        sealed: Called in a thread with each pack that was sealed, before that shows in `SHA256SUMS`.

    What the agent does with the ledger and here belongs together: the caller holds one lock for `note` and `save`.

    """

    def __init__(self, root: int, volume: str, ledger: Ledger, sealed: Callable[[Sealed], None]) -> None:
        self._root = root
        self._volume = volume
        self._ledger = ledger
        self._sealed = sealed
        self._fds: OrderedDict[str, int] = OrderedDict()
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._sealer: threading.Thread | None = None
        self._state = self._catch_up()
        self.has_files = self._state.files

    def recover(self) -> None:
        """Cut every pack that was being written back to its settled end, and say where to go on.

        A writer that another process still is is left alone: it will take no more work, and somebody else is the next writer.
        """
        numbers = folder.packs_of(self._root, self._volume)
        sealed = sealing.in_sums(self._root) if numbers else set()
        writers = sorted({*numbers, *self._state.writers})
        for writer in writers:
            lock = folder.lock(self._root, writer)
            if lock is not None:
                try:
                    self._recover(writer, numbers.get(writer, []), sealed)
                finally:
                    os.close(lock)
        if writers:
            self.save()

    def sync(self, packs: Iterable[str]) -> None:
        """Make all that was written to these packs durable.

        Raises:
            OSError: The disk refused; what it has of them is not known.

        """
        for pack in packs:
            os.fdatasync(self.open(pack))
        if _reach is not None:
            _reach("packs_synced")

    def note(self, records: Iterable[Record]) -> None:
        """Note what the ledger says of packs now. A writer that has begun a new pack has finished the one before."""
        for record in records:
            for writer, number in self._note(self._state, record):
                self._seal_later(folder.pack_name(self._volume, writer, number))

    def stop_sealing(self) -> None:
        """Seal what is known to be finished, and no more."""
        if self._sealer is not None:
            self._waiting.put(None)
            self._sealer.join(_LEAVE_SECONDS)

    def close(self) -> None:
        """Let go."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def _catch_up(self) -> _State:
        """Learn from the ledger what the state does not say."""
        if not folder.is_made(self._root):
            return _State(self._ledger.end, files=self._ledger.objects > 0)
        state = self._read()
        for frame in self._ledger.salvage(state.ledger):
            if not isinstance(frame, Damage) and frame.kind is Kind.BLOCK:
                for record in frame.records():
                    self._note(state, record)
        state.ledger = self._ledger.end
        return state

    def _note(self, state: _State, record: Record) -> list[tuple[int, int]]:
        """Take a record over; return writer and number of the packs that it shows to be finished."""
        place = folder.parse_name(record.pack) if record.pack else None
        if place is None:
            self.has_files = state.files = True
            return []
        writer, number = place
        last, end = state.writers.get(writer, (0, 0))
        if number >= last:
            state.writers[writer] = (number, max(end if number == last else 0, _end_of(record)))
        return [(writer, older) for older in range(last, number)]

    def _recover(self, writer: int, numbers: list[int], sealed: set[str]) -> None:
        number, end = self._state.writers.get(writer, (-1, 0))
        for newer in (each for each in numbers if each > number):
            os.unlink(folder.path_of(self._name(writer, newer)), dir_fd=self._root)
        for older in numbers:
            if older < number and self._name(writer, older) not in sealed:
                self._seal_later(self._name(writer, older))
        if number < 0:
            return
        pack = self._name(writer, number)
        size = self._size_of(pack)
        if pack in sealed or size < end:  # short: something was lost, `verify` says what
            folder.leave_open(self._root, writer, number, folder.NEXT)
            return
        if size > end:
            fd = os.open(folder.path_of(pack), os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
            try:
                os.ftruncate(fd, end)
            finally:
                os.close(fd)
        folder.leave_open(self._root, writer, number, end)

    def _name(self, writer: int, number: int) -> str:
        return folder.pack_name(self._volume, writer, number)

    def _size_of(self, pack: str) -> int:
        with suppress(FileNotFoundError):
            return os.stat(folder.path_of(pack), dir_fd=self._root, follow_symlinks=False).st_size
        return -1

    def open(self, pack: str) -> int:
        """Return a descriptor of a pack, which stays ours, and may be closed by the next call."""
        fd = self._fds.get(pack)
        if fd is None:
            fd = self._fds[pack] = os.open(
                folder.path_of(pack), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root
            )
            self._sync_names()
            if len(self._fds) > _OPEN_PACKS:
                os.close(self._fds.popitem(last=False)[1])
        return fd

    def _sync_names(self) -> None:
        """Make the names of new packs, and of their folder, durable."""
        for name in (folder.FOLDER, "."):
            fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._root)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    # --- sealing

    def _seal_later(self, pack: str) -> None:
        if self._sealer is None:
            self._sealer = threading.Thread(target=self._seal_all, name=f"seal {self._volume}", daemon=True)
            self._sealer.start()
        self._waiting.put(pack)

    def _seal_all(self) -> None:
        while (pack := self._waiting.get()) is not None:
            # One that cannot be sealed now is when the volume is opened next; its objects are settled all the same.
            with suppress(OSError, VolumeError, msgspec.DecodeError):
                self._seal([pack, *self._more_waiting()])

    def _more_waiting(self) -> list[str]:
        """Take what else is to be sealed: a process for several costs less than one each."""
        more = []
        with suppress(queue.Empty):
            while (pack := self._waiting.get_nowait()) is not None:
                more.append(pack)
            self._waiting.put(None)
        return more

    def _seal(self, packs: list[str]) -> None:
        import subprocess  # some milliseconds of every start, for what few need

        command = [sys.executable, "-m", sealing.__name__, str(self._root), *packs]
        with subprocess.Popen(command, pass_fds=(self._root,), stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
            assert process.stdout is not None
            for line in process.stdout:
                sealed = _decode_sealed(line)
                self._sealed(sealed)
                sealing.write_sums(self._root, sealed)

    # --- the state

    def _read(self) -> _State:
        with (
            suppress(OSError, msgspec.DecodeError),
            open(_STATE, "rb", opener=opener(self._root)) as file,
        ):
            state = _decode_state(file.read())
            if state.ledger <= self._ledger.end:
                return state
        return _State()

    def save(self) -> None:
        """Write down what the ledger says so far. The state may be older than the ledger, never newer."""
        self._state.ledger = self._ledger.end
        with open(f"{_STATE}.new", "wb", opener=opener(self._root)) as file:
            file.write(msgspec.json.encode(self._state))
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{_STATE}.new", _STATE, src_dir_fd=self._root, dst_dir_fd=self._root)


def _end_of(record: Record) -> int:
    """Return where the last object of a record ends in its pack, in bytes, with its padding."""
    sizes = record.stored or record.sizes
    blocks = max(offset + -(-size // tar.BLOCK) for offset, size in zip(record.offsets, sizes, strict=True))
    return blocks * tar.BLOCK
