"""The messages between workers and the coordinator, and those between an agent and its processes: results one way, work and orders the other.

What they are made of is in `model`; how they travel is decided by the transport (`transport.wire`). In a byte stream between
processes each follows its length, four bytes, little-endian (`frame`, `Frames`).
"""

import struct

from bucketpull.domain.batching import Batch
from bucketpull.domain.counting import add_counts
from bucketpull.domain.decoding import Count, Float, Int, Text
from bucketpull.domain.endpoints import Pace, State, Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import (
    Counters,
    Extent,
    Failure,
    Former,
    PageRecord,
    Part,
    Position,
    Span,
    Value,
    WorkKind,
)
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Claim
from bucketpull.domain.status import EndpointStatus, VolumeStatus
from bucketpull.domain.user_limits import Limits


class ScanReceipt(Value, tag="scan"):
    """The result of a scan. `pages` are those that were listed; `positions`, some of which may be its own, and `batches` are new work.

    `failures` has the positions that could not be listed and will not be tried again.
    `vanished` counts directories that the source no longer has, `duplicates` entries that it listed again.
    """

    work: Count
    machine: Text
    pages: list[PageRecord] = []
    positions: list[Position] = []
    batches: list[Batch] = []
    failures: list[Failure] = []
    vanished: Count = 0
    retries: dict[Text, Int] = {}
    duplicates: Count = 0


class BatchReceipt(Value, tag="batch"):
    """The result of a batch. Each object is in exactly one of: stored, skipped, failures, deferred, returned, sent_on, remainder.

    `remainder` is still in hand at the machine, as part `next_part` of the same work; None ends the work.

    `failures` includes vanished objects (reason `gone`). `deferred` failed for reasons that may pass, and is tried again later as new
    work, one pass older; `returned` was not tried, for lack of room or time, and is new work at once, no pass older.
    `sent_on` is on none of the volumes `compared`, but may be on another machine's.
    `extents` are the ledger blocks, on durable volumes, that hold the stored and skipped objects. `bytes` counts what was stored in
    this run. `former` are stale copies to be removed. `doubts` counts, by reason, what is stored although something about the
    answer was doubted. `recovered` of the stored, `recovered_bytes` of `bytes`, were on the disk already when the batch came again.
    """

    work: Count
    machine: Text
    stored: Count = 0
    skipped: Count = 0
    bytes: Int = 0
    extents: list[Extent] = []
    skipped_bytes: Count = 0
    failures: list[Failure] = []
    deferred: Batch | None = None
    returned: Batch | None = None
    retries: dict[Text, Int] = {}
    former: list[Former] = []
    sent_on: Batch | None = None
    compared: list[Text] = []
    part: Count = 0
    remainder: Batch | None = None
    next_part: Int = 0
    doubts: dict[Text, Count] = {}
    recovered: Count = 0
    recovered_bytes: Count = 0

    @property
    def objects(self) -> int:
        """How many objects it tells of: all that its work has, or this part of it."""
        batches = (self.deferred, self.returned, self.sent_on, self.remainder)
        given_back = sum(batch.objects for batch in batches if batch is not None)
        return self.stored + self.skipped + len(self.failures) + given_back

    def failed(self) -> list[Failure]:
        """Return what could not be had; an object that is gone at the source has vanished instead."""
        return [failure for failure in self.failures if failure.reason is not Reason.GONE]

    def add_to(self, counters: Counters) -> None:
        """Count what came of the objects that have ended."""
        failed = len(self.failed())
        counters.stored += self.stored
        counters.skipped += self.skipped
        counters.failed += failed
        counters.vanished += len(self.failures) - failed
        counters.bytes += self.bytes
        counters.skipped_bytes += self.skipped_bytes
        counters.recovered += self.recovered
        counters.recovered_bytes += self.recovered_bytes
        add_counts(counters.retries, self.retries)
        add_counts(counters.doubts, self.doubts)


class Handback(Value, tag="handback"):
    """Work that was not done, and must be given again; nothing of it counts."""

    works: list[Int]
    machine: Text


class Begun(Value):
    """A batch that is noted on a volume: its worker does not know yet whether all files that it left there count.

    `offset` is that of one of its ledger blocks, which holds no objects but of `spans`; -1, without spans, where it has none.
    """

    work: Count
    volume: Text
    offset: Int
    spans: list[Span] = []


class Pulse(Value, tag="pulse"):
    """A worker's regular report, twice a second: counters since its start, volumes, endpoints, work in hand.

    `holds` lists the work in hand by id. `window` is how many batches the worker wants to have in all, `scan_window` how many
    scans; 0 if its volumes are full, or if it does not list.
    `limited_by` names what holds it back: "source", an endpoint that holds copies, by name, "disk", "cpu", "rate", "bandwidth", "work" or "".
    `begun` are batches about which it asks what counts: see `BatchVerdict`.
    `waiting_for` is the key of an object in hand if a process has not ended any object for `still_seconds`, at least ten.
    `clears` is the number of batches of which not all files on its volumes are confirmed to count; `removes` is true while files are
    being removed.
    `placed`, `written` and `settled` count objects since its start: given to a process for a volume, written there, and durable there
    with their record. What was tried twice counts twice. `wasted` are bytes that were received and discarded, by reason. `deaths`
    counts processes of the worker that died. `arriving` are bytes that have come of what is not done, and are not in `bytes`: of what
    fails they count no more.
    """

    machine: Text
    incarnation: Text
    version: Text
    processes: Count
    objects: Count = 0
    bytes: Int = 0
    window: Count = 0
    scan_window: Count = 0
    holds: list[Int] = []
    retries: dict[Text, Int] = {}
    failures: dict[Text, Int] = {}
    endpoints: dict[Text, EndpointStatus] = {}
    volumes: list[VolumeStatus] = []
    limited_by: Text = ""
    job_digest: Text = ""
    begun: list[Begun] = []
    waiting_for: Text = ""
    still_seconds: Float = 0.0
    clears: Count = 0
    placed: Count = 0
    written: Count = 0
    settled: Count = 0
    wasted: dict[Text, Int] = {}
    removes: bool = False
    deaths: Count = 0
    arriving: Count = 0


class Goodbye(Value, tag="goodbye"):
    """A worker leaves in order, with no work in hand."""

    machine: Text
    incarnation: Text


class Fatal(Value, tag="fatal"):
    """The source refuses us as a whole; the job must stop."""

    machine: Text
    reason: Reason
    detail: Text


class Poison(Value, tag="poison"):
    """A message that cannot be decoded, by its first bytes in hex; it is with the dead letters."""

    machine: Text
    detail: Text


class Removed(Value, tag="removed"):
    """Stale copies, by id, that were removed from their volumes."""

    machine: Text
    ids: list[Int]


FromWorker = Removed | ScanReceipt | BatchReceipt | Handback | Pulse | Goodbye | Fatal | Poison


class Work(Value):
    """A piece of work for a worker. `body` is encoded already: `list[Position]` for a scan, a `Batch` for a batch.

    The journal gives the id, and never uses it again. `candidates` are ledger blocks that may hold some of the objects from an earlier
    run, newest last: they are compared first, and a changed object is replaced where it is. `passes` says how many passes
    these objects have had. `elsewhere`: other machines have more candidates, so what is not found here is sent on to them. `part` identifies what is
    left of a batch: 0 is all of it, else the number that its machine gave to the remainder in a receipt.
    """

    id: Count
    kind: WorkKind
    body: bytes
    passes: Int = 0
    candidates: list[Extent] = []
    elsewhere: bool = False
    part: Count = 0


class BatchVerdict(Value):
    """What counts of a batch that has ended, and of which no receipt can be booked any more.

    Of the blocks `judged`, those in `gone` do not count: their files are removed, and what was never settled of the batch. `kept` are
    blocks of the same volumes that count and may hold some of the same objects: those files stay.
    """

    work: Int
    judged: list[Extent] = []
    gone: list[Extent] = []
    kept: list[Extent] = []


class Control(Value, tag="control"):
    """An order of the coordinator: limits (None: as before), what counts of batches, volumes to add or drain, whether to stop.

    `booked` are batches whose last receipts, from this worker, are booked. `verdicts` answer its questions. `remove` are stale copies
    that its volumes may hold. `down` are the endpoints that are down for all other workers which ask there; None says nothing of them.
    `release`: others have nothing to do, so half of what is not begun is to be handed back.
    """

    limits: Limits | None = None
    booked: list[Int] = []
    verdicts: list[BatchVerdict] = []
    add_volumes: list[Text] = []
    drain_volumes: list[Text] = []
    stop: bool = False
    remove: list[Former] = []
    down: list[Text] | None = None
    release: bool = False


class Welcome(Value, tag="welcome"):
    """What a worker on another machine has to know about the job. `source` is the source's configuration as JSON, without secrets.

    `job_digest` identifies this configuration: a worker that was welcomed to another one is refused. `known` are the ids of the job's
    volumes on this machine, by the path at which each was seen last.
    """

    job: Text
    journal: Text
    job_digest: Text
    source: bytes
    layout: Text
    durability: Text
    verify: Text
    known: dict[Text, Text] = {}
    packing: Packing | None = None


class Refusal(Value, tag="refusal"):
    """Why a worker cannot take part."""

    reason: Text


# --- between an agent and its processes


class Mount(Value, tag="mount"):
    """A volume made known to a process: it opens `path` and finds `id` there, or reports the volume sick."""

    id: str
    path: str
    durability: str
    verify: str


class Unmount(Value, tag="unmount"):
    """A sick volume that a process is to close: what was not begun for it goes back.

    Sent again when nothing is on its way there any more: only then it is closed.
    """

    id: str


class Assignment(Value, tag="assignment"):
    """A batch, or the part of one that goes to one volume, for one process. `id` is the worker's own.

    `claims` are files that lie there and may be some of the objects.
    """

    id: int
    volume: str
    passes: int
    parts: bytes  # encoded list[Part]
    claims: list[Claim] = []


class ScanAssignment(Value, tag="scan"):
    """A scan for one process: the work's id and its encoded `list[Position]`."""

    work: int
    positions: bytes


class Outcome(Value, tag="outcome"):
    """What became of an assignment since its last outcome; every object is in exactly one field of one outcome.

    `rest` are the objects that have not ended; an outcome without any is the last.
    `records` is the encoded `list[Record]` of the stored objects (b"" for none). `deferred` have met passing trouble and
    are to be tried again later; `unplaced` could not be written to this volume, because of `trouble`. `doubts` counts, by
    reason, what is stored although something about the answer was doubted. `claimed` of the stored, `claimed_bytes` long and not
    in `stored_bytes`, are files that lay there before and are taken over. `is_recovered` says that all of it was written by a
    process that ended before it could tell.
    """

    id: int
    stored: int = 0
    stored_bytes: int = 0
    records: bytes = b""
    failures: list[Failure] = []
    deferred: list[Part] = []
    unplaced: list[Part] = []
    trouble: Reason | None = None
    detail: str = ""
    retries: dict[str, int] = {}
    rest: list[Part] = []
    doubts: dict[str, int] = {}
    claimed: int = 0
    claimed_bytes: int = 0
    is_recovered: bool = False


class Tick(Value, tag="tick"):
    """A process's counters since its start, sent twice a second. `unstarted` objects wait for a transfer slot.

    `queued` are bytes waiting for each volume's writer, `written` bytes written to it since the start. `waiting_for` names an
    object in hand when no object has ended for `still_seconds`, at least ten. `cpu_seconds` is what the process has computed. The cap
    on bandwidth (`is_capped`), or on requests (`is_at_rate`), keeps it from beginning more. `wasted` are bytes that were received and
    thrown away, by reason; `arriving` are those of transfers that are not done, which the endpoints count as received, `partial` those
    of large objects that came before by transfers that are.
    """

    objects: int
    bytes: int
    unstarted: int
    endpoints: dict[str, EndpointStatus]
    queued: dict[str, int]
    written: dict[str, int]
    retries: dict[str, int]
    failures: dict[str, int]
    waiting_for: str = ""
    still_seconds: float = 0.0
    cpu_seconds: float = 0.0
    is_capped: bool = False
    is_at_rate: bool = False
    symptoms: dict[str, Symptoms] = {}
    wasted: dict[str, int] = {}
    arriving: int = 0
    partial: int = 0


class Stop(Value, tag="stop"):
    """Order to end: hand back what is not started, finish or abandon the rest within `seconds`, then leave."""

    seconds: float


class Release(Value, tag="release"):
    """Order to hand back half of what is not started."""


class Tune(Value, tag="tune"):
    """The share of the limits that a process may use."""

    limits: Limits


class Judged(Value, tag="judged"):
    """A machine's judgement of its endpoints, by name: the states of those not up, and for how many seconds some are to be left alone.

    `tries` are for this process to try, to see whether they are back. For what fails at those that are `cleared` the object is at fault:
    the service answers, though nothing ever came from them.
    """

    states: dict[str, State] = {}
    rests: dict[str, float] = {}
    tries: list[str] = []
    cleared: list[str] = []


class Paces(Value, tag="paces"):
    """How fast a process is to ask endpoints that refuse more than a number, by endpoint and address."""

    paces: dict[str, dict[str, Pace]]


class Died(Value, tag="died"):
    """A process ended unasked; what it held is to be given again."""


ToProcess = Mount | Unmount | Assignment | ScanAssignment | Tune | Judged | Paces | Release | Stop
FromProcess = Outcome | ScanReceipt | Tick | Fatal | Died


_LENGTH = struct.Struct("<I")


def frame(message: bytes) -> bytes:
    """Put the length in front of a message."""
    return _LENGTH.pack(len(message)) + message


class Frames:
    """Joins the pieces of a stream into whole messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was read; return the messages that are complete now."""
        rest = self._rest
        rest += data
        found: list[bytes] = []
        start = 0
        while len(rest) - start >= _LENGTH.size:
            end = start + _LENGTH.size + _LENGTH.unpack_from(rest, start)[0]
            if end > len(rest):
                break
            found.append(bytes(memoryview(rest)[start + _LENGTH.size : end]))
            start = end
        if start:
            del rest[:start]
        return found
