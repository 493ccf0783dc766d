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
from bucketpull.volumes.beneath import OwnDirectory, closing_fd
from bucketpull.volumes.ledger import Damage, Kind, Ledger
from bucketpull.volumes.packs import folder
from bucketpull.volumes.packs.folder import NEXT, Folders

_STATE: Final = "state"
_OPEN_PACKS: Final = 64
_LEAVE_SECONDS: Final = 20.0
_USAGE_SECONDS: Final = 1.0  # for each hundred packs: looking takes a millisecond then


class _State(msgspec.Struct):
    """`writers` has, by writer, the number of its newest pack that holds something settled, and where that ends in bytes.

    `finished` has where the same ends in packs that are not known to be sealed yet.
    """

    ledger: int = 0
    files: bool = False
    writers: dict[int, tuple[int, int]] = {}
    finished: dict[str, int] = {}


_decode_state = json_decoder(_State)
_decode_sealed = json_decoder(Sealed)


class VolumePacks:
    """See above.

    `root` and `home` stay the caller's, `path` is for messages; `sealed` is called in a thread with each pack that was sealed, before
    that shows in `SHA256SUMS`. What the agent does with the ledger and here belongs together: the caller holds one lock for `note`, `note_files` and `save`.
    """

    def __init__(
        self,
        root: int,
        home: OwnDirectory,
        volume: str,
        path: str,
        ledger: Ledger,
        sealed: Callable[[Sealed], None],
    ) -> None:
        self._root = root
        self._home = home
        self._volume = volume
        self._path = path
        self._ledger = ledger
        self._sealed = sealed
        self._found = self._make() if folder.is_made(home) else None
        self._fds: OrderedDict[str, int] = OrderedDict()
        self._waiting: queue.Queue[str | None] = queue.Queue()
        self._sealer: threading.Thread | None = None
        self.warning = ""
        """Why a pack could not be sealed, which is tried again when the volume is opened next, or what is wrong with it."""
        self._state = _State()
        self._usage, self._used_at = folder.Usage(), 0.0

    @property
    def has_files(self) -> bool:
        """Whether objects may lie as files on this volume too."""
        return self._state.files

    def _make(self) -> Folders:
        return Folders(self._root, self._home, self._volume, self._path)

    @property
    def folders(self) -> Folders:
        """The folders of the packs, which are made when they are first asked for."""
        if self._found is None:
            self._found = self._make()
        return self._found

    def recover(self) -> None:
        """Cut every pack that was being written back to its settled end, and say where to go on.

        A writer that another process still is is left alone: it will take no more work, and somebody else is the next writer.
        """
        self._state = self._catch_up()
        if self._found is None:
            return
        numbers = self._found.numbers()
        sealed = self._found.sealed() if numbers else set()
        for pack in sealed & self._state.finished.keys():
            del self._state.finished[pack]
        writers = sorted({*numbers, *self._state.writers})
        for writer in writers:
            lock = self._found.lock(writer)
            if lock is not None:
                try:
                    self._recover(self._found, writer, numbers.get(writer, []), sealed)
                finally:
                    os.close(lock)
        if writers:
            self.save()

    def sync(self, packs: Iterable[str]) -> None:
        """Make all that was written to these packs durable. Raises OSError where the disk refused; what it has of them is not known."""
        for pack in packs:
            os.fdatasync(self.open(pack))
        kill_points.at("packs_synced")

    def note(self, records: Iterable[Record]) -> None:
        """Note what the ledger says of packs now. A writer that has begun a new pack has finished the one before."""
        for record in records:
            for writer, number in self._note(self._state, record):
                self._seal_later(folder.pack_name(self._volume, writer, number))
        self._state.ledger = self._ledger.end

    def note_files(self) -> None:
        """Note that the ledger says of objects that they lie as files."""
        self._state.files = True
        self._state.ledger = self._ledger.end

    def usage(self, now: float) -> folder.Usage:
        """Say how many packs there are and what they take; looked at afresh the more seldom, the more there are (`now` is monotonic)."""
        if self._found is not None and now - self._used_at >= _USAGE_SECONDS * (self._usage.packs // 100):
            self._usage, self._used_at = folder.usage(self._root, self._volume), now
        return self._usage

    def stop_sealing(self) -> None:
        """Seal what is known to be finished, and no more."""
        if self._sealer is not None:
            self._waiting.put(None)
            self._sealer.join(_LEAVE_SECONDS)

    def close(self) -> None:
        """Close the packs that are open, and their folders; what waits to be sealed is left."""
        self._waiting.put(None)
        while self._fds:
            os.close(self._fds.popitem()[1])
        if self._found is not None:
            self._found.close()

    def _catch_up(self) -> _State:
        """Learn from the ledger what the state does not say."""
        if self._found is None:
            return _State(self._ledger.end, files=self._ledger.objects > 0)
        state = self._read(self._found)
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
            state.files = True
            return []
        writer, number = place
        last, end = state.writers.get(writer, (0, 0))
        if number > last:
            state.finished[folder.pack_name(self._volume, writer, last)] = end
        if number >= last:
            state.writers[writer] = (number, max(end if number == last else 0, folder.settled_end(record)))
        elif record.pack in state.finished:
            state.finished[record.pack] = max(state.finished[record.pack], folder.settled_end(record))
        return [(writer, older) for older in range(last, number)]

    def _recover(self, folders: Folders, writer: int, numbers: list[int], sealed: set[str]) -> None:
        number, end = self._state.writers.get(writer, (-1, 0))
        for newer in (each for each in numbers if each > number):
            folders.remove(folders.name(writer, newer))
        for older in numbers:
            if older < number and folders.name(writer, older) not in sealed:
                self._seal_later(folders.name(writer, older))
        if number < 0:
            return
        pack = folders.name(writer, number)
        size = folders.size(pack)
        ended = (number, NEXT)
        # Short: something was lost, `verify` says what.
        if pack in sealed or size < end or folders.left_open(writer) == ended:
            folders.leave_open(writer, number, NEXT)
            return
        if size > end:
            with closing_fd(folders.open(pack, os.O_WRONLY)) as fd:
                os.ftruncate(fd, end)
        folders.leave_open(writer, number, end)

    def open(self, pack: str) -> int:
        """Return a descriptor of a pack, which stays ours, and may be closed by the next call."""
        fd = self._fds.get(pack)
        if fd is None:
            fd = self._fds[pack] = self.folders.open(pack, os.O_RDONLY)
            self.folders.sync_names()
            if len(self._fds) > _OPEN_PACKS:
                os.close(self._fds.popitem(last=False)[1])
        return fd

    # --- sealing

    def _seal_later(self, pack: str) -> None:
        if self._sealer is None:
            sealer = threading.Thread(target=self._seal_all, name=f"seal {self._volume}", daemon=True)
            with suppress(RuntimeError):  # no thread may be started now: the next pack tries again
                sealer.start()
                self._sealer = sealer
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
        # 10 ms of every start that only those need who fill a pack.
        import subprocess

        from bucketpull.volumes.packs import sealing

        directory = self.folders.packs.fd
        if directory < 0:  # the volume was let go of before this one's turn came
            return
        settled = self._state.finished
        finished = [f"{pack}:{settled.get(pack, 0)}" for pack in packs]
        command = [sys.executable, "-m", sealing.__name__, str(directory), *finished]
        with subprocess.Popen(command, pass_fds=(directory,), stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(sealing.NOT):
                    self.warning = line[1:].decode(errors="replace").strip()
                    continue
                sealed = _decode_sealed(line)
                self._sealed(sealed)
                self.folders.note_sealed(sealed)
                settled.pop(sealed.pack, None)

    # --- the state

    def _read(self, folders: Folders) -> _State:
        with suppress(OSError, msgspec.DecodeError):
            state = _decode_state(folders.state.read(_STATE))
            if state.ledger <= self._ledger.end:
                return state
        return _State()

    def save(self) -> None:
        """Write down what was noted so far, which may be less than the ledger says: Ctrl-C may come between the two."""
        self.folders.state.replace(_STATE, msgspec.json.encode(self._state))
