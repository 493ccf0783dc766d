"""The seams: what the engine needs of the outside, and what each implementation promises.

An implementation is chosen in `app`; every one of a port passes the same contract suite in `tests/contracts`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from bucketpull.domain.exchange import Request, Response, Verdict
from bucketpull.domain.model import (
    Control,
    Counters,
    Extent,
    Failure,
    FromWorker,
    Lane,
    Outstanding,
    Page,
    Position,
    VolumeStatus,
    Work,
    WorkKind,
)
from bucketpull.domain.progress import Snapshot
from bucketpull.domain.record import Block, FromProcess, Record, ToProcess, Written


class Source(Protocol):
    """A bucket's dialect. Pure: builds requests, reads answers; `now` is Unix seconds, always given.

    Signatures are made when a request is built, so build it when it is about to be sent.
    """

    def root(self) -> Position:
        """Say where the listing of the whole job begins."""
        ...

    def list_request(self, position: Position, now: float) -> Request:
        """Ask for the page at a position."""
        ...

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Understand a listing answer.

        Raises:
            AnswerError: It is no listing; the reason's remedy says what to do. Never taken for an empty directory.

        """
        ...

    def lanes(self, name: bytes, size: int) -> tuple[Lane, ...]:
        """Say by which lanes an object can be had, in the order in which they are to be tried."""
        ...

    def object_request(
        self, directory: bytes, name: bytes, size: int, lane: Lane, now: float, start: int = 0, etag: str = ""
    ) -> Request:
        """Ask for an object, from byte `start` on (then only if it still has `etag`; "" takes any version)."""
        ...

    def judge(
        self,
        name: bytes,
        size: int,
        lane: Lane,
        response: Response,
        now: float,
        start: int = 0,
        etag: str = "",
    ) -> Verdict:
        """Decide whether an answer holds the object's bytes. Looks at status, headers, length and, if odd, the body.

        `start` and `etag` are those of the request: a part of another version than `etag` (if one was named), or the whole in
        place of a part, is refused (`range`). The verdict's `etag` names the version also where the transfer broke off (failure set).
        """
        ...

    def usage_request(self, now: float) -> Request | None:
        """Ask for the bucket's size, or None where the source cannot tell."""
        ...

    def read_usage(self, response: Response) -> int:
        """Return the bucket's size in bytes.

        Raises:
            AnswerError: The source refuses, or the answer is none.

        """
        ...


class Fetcher(Protocol):
    """Many transfers at once in one thread. Callbacks run in that thread, inside `run_once`."""

    def submit(
        self,
        request: Request,
        done: Callable[[Response], None],
        sink: Callable[[bytes], object] | None = None,
    ) -> None:
        """Start a transfer at once. `done` is called exactly once; with a sink the body goes there chunk by chunk.

        Only the body of a good answer (2xx) goes to the sink, that of another into `chunks`. The sink may raise to end the transfer; the response's failure is then `interrupted`.
        """
        ...

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call back whenever a file descriptor is readable."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, after so many seconds."""
        ...

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """Cap what all transfers together receive."""
        ...

    def run_once(self, timeout_seconds: float) -> None:
        """Wait for something to happen, at most so long, and call back."""
        ...

    @property
    def in_flight(self) -> int:
        """Transfers started and not done."""
        ...

    def close(self) -> None:
        """Abandon all transfers; no callback is made."""
        ...


class Journal(Protocol):
    """The books of one job on disk, with one writer. Each call is one transaction and durable when it returns.

    A call is made by one thread at a time; reading by other processes (`status`, `where`) is always possible.
    """

    def begin(self, root: Position, now: float) -> bool:
        """Go on with outstanding work (True), or start a new run with the root as its first scan (False)."""
        ...

    def claim(self, kind: WorkKind, limit: int, machine: str, now: float) -> list[Work]:
        """Take work that is due, oldest first, and mark it sent to a machine ("" is any).

        Work with candidates goes only to the machine that has their volumes, or to "" when none is known.
        """
        ...

    def commit(self, receipts: Sequence[FromWorker], now: float) -> list[int]:
        """Book receipts and handbacks, their new work and the counters, in one transaction.

        Returns:
            The ids of receipts that were dropped, because their work was booked before.

        """
        ...

    def sent(self) -> list[tuple[int, WorkKind, str]]:
        """Return the work that was claimed and not booked: id, kind and machine."""
        ...

    def release(self, works: Sequence[int]) -> None:
        """Make sent work ready again."""
        ...

    def holders(self, works: Sequence[int]) -> dict[int, str]:
        """Return which of these are outstanding, and the machine that each was sent to ("" where it is with none)."""
        ...

    def note_poison(self, details: Sequence[str]) -> None:
        """Record messages that nobody understands as failures, by their description; the same one counts once."""
        ...

    def see_volumes(self, volumes: Sequence[VolumeStatus]) -> None:
        """Note where volumes are and how: work with candidates goes to the machine that has them."""
        ...

    def machines(self) -> set[str]:
        """Return the machines that have volumes of the job, those given up left out."""
        ...

    def counters(self) -> Counters:
        """Return the books of the present run."""
        ...

    def outstanding(self) -> Outstanding:
        """Return what is left to do."""
        ...

    def check_room(self) -> None:
        """Make sure that the journal can go on growing.

        Raises:
            JournalError: Its own disk is nearly full.

        """
        ...

    def next_due(self) -> float | None:
        """Return when the earliest deferred work is due (Unix seconds); None if none is deferred."""
        ...

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """Return the ledger blocks in which an object may lie, newest first."""
        ...

    def failures(self, limit: int | None = None) -> list[Failure]:
        """Return what failed for good, in key order."""
        ...

    def close(self) -> None:
        """Let go of the journal."""
        ...


class Transport(Protocol):
    """The coordinator's end of the way to its workers. All calls from one event loop."""

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """Give work to a machine, or with "" to whichever takes it first. Durable when it returns, if the transport is."""
        ...

    async def receive(self) -> Sequence[FromWorker]:
        """Wait for messages of workers; each is given again after a restart until `settle`."""
        ...

    async def settle(self, messages: Sequence[FromWorker]) -> None:
        """Say that the messages are in the journal."""
        ...

    @property
    def hears(self) -> bool:
        """Whether workers can be heard at present; while they cannot, their silence means nothing."""
        ...

    async def control(self, control: Control, machine: str) -> None:
        """Send a control message to a machine."""
        ...

    async def forget(self, machine: str) -> None:
        """Drop what waits for a machine that is taken for dead: it is given to others."""
        ...

    async def close(self) -> None:
        """Leave; what was sent stays with the workers."""
        ...


class Inbox(Protocol):
    """A worker's end of the transport. All calls from one event loop."""

    async def receive(self) -> Sequence[Work | Control]:
        """Wait for work or a word from the coordinator."""
        ...

    async def reply(self, message: FromWorker) -> None:
        """Send a receipt (durable when it returns, and only then is its work acknowledged), a handback or a pulse."""
        ...

    async def pause(self, paused: bool) -> None:
        """Take no more work for now (what is held may be handed back), or take work again."""
        ...

    async def close(self) -> None:
        """Leave; what is not acknowledged goes to others."""
        ...


class Crew(Protocol):
    """A worker's processes. All calls from one event loop; a process that dies is replaced by a new one.

    A new process knows no volumes: after `Died` the worker introduces them again.
    """

    @property
    def size(self) -> int:
        """How many processes there are."""
        ...

    def send(self, process: int, message: ToProcess) -> None:
        """Hand a message to a process, at once."""
        ...

    async def receive(self) -> list[tuple[int, FromProcess]]:
        """Wait for messages of the processes."""
        ...

    async def close(self, seconds: float) -> None:
        """Wait so long for the processes to leave, then end them."""
        ...


class Volume(Protocol):
    """One disk (directory) with its identity, ledger and reserve, as the worker's main process sees it.

    Files are written by `Writer`s in other processes; the volume keeps the books. Blocking calls; one thread at a time.
    """

    id: str
    path: str

    def status(self) -> VolumeStatus:
        """Measure free space and return the state.

        Raises:
            VolumeSick: The volume no longer answers, or is another one.

        """
        ...

    def probe(self) -> None:
        """Write a little and remove it, to see whether a disk that was full takes files again.

        Raises:
            VolumeFull: It does not.
            VolumeSick: It fails.

        """
        ...

    def intend(self, journal: str, work: int, body: bytes = b"") -> None:
        """Note that a batch is about to be written here, so that after a crash it comes back here.

        `body`, its encoded `list[Part]`, says which files to remove if it goes elsewhere instead; "" where some of them may
        have been here before.
        """
        ...

    def pending(self, journal: str) -> list[tuple[int, int]]:
        """Return the batches that are noted: work id, and the offset of the ledger block, -1 where there is none."""
        ...

    def abandon(self, journal: str, work: int) -> None:
        """Remove the files of a batch that was begun and not settled; only while nothing is being written here."""
        ...

    def recall(self, journal: str, work: int) -> Extent | bool:
        """Return the ledger block that settled a batch before, True if it was only intended here, False if neither."""
        ...

    def settle(self, blocks: Sequence[Block]) -> list[Extent]:
        """Make all files written so far durable, then append the blocks to the ledger, durably, and say where.

        Raises:
            VolumeFull: The ledger could not grow; nothing was appended.
            VolumeSick: The disk refused; nothing may be called stored.

        """
        ...

    def forget(self, journal: str, work: int) -> None:
        """Note that a batch is booked: it will not come again."""
        ...

    def discard(self, journal: str, work: int) -> None:
        """Remove the files of a batch that another worker's receipt settled first."""
        ...

    def read(self, offset: int) -> list[Record]:
        """Return the objects of one ledger block.

        Raises:
            LedgerError: There is no whole block at that offset.

        """
        ...

    def close(self) -> None:
        """Let go of the volume."""
        ...


class Stream(Protocol):
    """A large object on its way to a volume. Calls cost nothing; the work is done by the writer it came from, in order."""

    offset: int
    """Bytes that an earlier attempt left, when the stream was begun; 0 after `restart`."""

    trouble: Written | None
    """Set as soon as the disk refused a piece, so that the transfer can be ended."""

    def append(self, chunk: bytes) -> None:
        """Add bytes at the end."""
        ...

    def restart(self) -> None:
        """Begin again at byte 0."""
        ...

    def publish(self, length: int, md5: bytes, token: object) -> None:
        """Give the object its name if it has this length (bytes) and, unless b"", this MD5. The outcome comes by `outcomes`.

        Its reason is `truncated`, `size` or `checksum` where the content is not as said.
        """
        ...

    def close(self, keep: bool) -> None:
        """Let go without publishing; what is there is kept for a later attempt, or removed."""
        ...


class Writer(Protocol):
    """Creates files on one volume, in a thread of its own, bounded in bytes."""

    def put(self, directory: bytes, name: bytes, mtime: int, chunks: list[bytes], token: object) -> None:
        """Hand over a whole object. The outcome comes back by `outcomes`, with the token."""
        ...

    def stream(self, directory: bytes, name: bytes, size: int, mtime: int, hashed: bool = False) -> Stream:
        """Begin, or go on with, a large object of that listed version; `hashed` keeps up an MD5 on the way.

        Raises:
            VolumeFull: There is no room to begin it.
            VolumeSick: The disk refused.

        """
        ...

    def outcomes(self) -> list[Written]:
        """Take what was done since the last call, in order."""
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes handed over and not yet written."""
        ...

    @property
    def wake_fd(self) -> int:
        """A file descriptor that is readable while there are outcomes."""
        ...

    def close(self) -> None:
        """Finish what was handed over, then stop."""
        ...


class Reporter(Protocol):
    """Shows a job to a person or a program. Called from the event loop, twice a second and at the end."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where the job stands."""
        ...

    def note(self, level: str, event: str, text: str) -> None:
        """Tell one event, such as a sick disk."""
        ...

    def close(self, snapshot: Snapshot) -> None:
        """Show the end."""
        ...


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...
