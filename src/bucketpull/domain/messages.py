"""What a worker and the coordinator say to each other: results and signs of life in one direction, orders in the other.

What messages are made of is in `model`; how they travel is the transport's affair (`transport.wire`). In a byte stream between
processes each has its length in front, four bytes, little-endian (`frame`, `Frames`).
"""

import struct

import msgspec

from bucketpull.domain.decoding import Count, Float, Int, Text
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import (
    BatchDraft,
    EndpointStatus,
    Extent,
    Failure,
    Former,
    PageRecord,
    Position,
    Span,
    Value,
    VolumeStatus,
)
from bucketpull.domain.packing import Packing


class ScanReceipt(Value, tag="scan"):
    """What came of a scan. `complete` positions are in `pages`; `positions` is the new work, `batches` too.

    `failures` holds the positions that could not be listed and will not be tried again.
    `vanished` counts directories that the source no longer has, `duplicates` entries that it gave again.
    """

    work: Count
    machine: Text
    pages: list[PageRecord] = []
    positions: list[Position] = []
    batches: list[BatchDraft] = []
    failures: list[Failure] = []
    vanished: Count = 0
    retries: dict[Text, Int] = {}
    duplicates: Count = 0


class BatchReceipt(Value, tag="batch"):
    """What came of a batch: stored + skipped + failed + vanished + deferred + returned + sent on + remainder are all of it.

    `remainder` is still in hand at the machine, as part `next_part` of the same work; None ends the work.

    `failures` includes the vanished (reason `gone`). `deferred` met passing trouble and is tried again later as new work,
    one attempt older; `returned` was not tried, for lack of room or time, and is new work at once, no attempt older.
    `sent_on` is what none of the volumes `compared` holds, where other machines may have it.
    `extents` are the ledger blocks, on durable volumes, that hold the stored and skipped objects. `bytes` counts what was stored in
    this run. `former` tells of copies that are to be removed. `doubts` counts, by reason, what is stored although something about the
    answer was doubted. `recovered` of the stored, `recovered_bytes` of `bytes`, lay there whole when the batch came again.
    """

    work: Count
    machine: Text
    stored: Count = 0
    skipped: Count = 0
    bytes: Int = 0
    extents: list[Extent] = []
    skipped_bytes: Count = 0
    failures: list[Failure] = []
    deferred: BatchDraft | None = None
    returned: BatchDraft | None = None
    retries: dict[Text, Int] = {}
    former: list[Former] = []
    sent_on: BatchDraft | None = None
    compared: list[Text] = []
    part: Count = 0
    remainder: BatchDraft | None = None
    next_part: Int = 0
    doubts: dict[Text, Count] = {}
    recovered: Count = 0
    recovered_bytes: Count = 0


class Handback(Value, tag="handback"):
    """Work that was not done and must be given to somebody, now or later; nothing of it counts."""

    works: list[Int]
    machine: Text


class Begun(Value):
    """A batch that is noted on a volume, because its worker does not know whether all that it left there counts.

    `offset` is that of one of its ledger blocks, which holds no objects but of `spans`; -1, without spans, where it has none.
    """

    work: Count
    volume: Text
    offset: Int
    spans: list[Span] = []


class Pulse(Value, tag="pulse"):
    """A worker's sign of life, twice a second: counters since its start, volumes, endpoints, what it holds.

    `holds` lists the work ids in hand. `window` says how many batches it wants to hold in all, `scan_window` how many
    scans; 0 where its volumes are full, or where it does not list.
    `limited_by` names what holds it back: "source", an endpoint that holds copies, by name, "disk", "cpu", "rate", "bandwidth", "work" or "".
    `begun` are batches whose end it asks for: see `BatchVerdict`.
    `waiting_for` names an object in hand where one of its processes has ended none for `still_seconds`, at least ten.
    `clears` is true while not all files on its volumes are confirmed.
    `placed`, `written` and `settled` count objects since its start, as they pass: given to a process with a volume to go to, written
    there, and durable there with their record. What was tried twice is counted twice. `wasted` are bytes that were received and thrown
    away, by reason.
    """

    machine: Text
    incarnation: Text
    version: Text
    processes: Count
    objects: Count
    bytes: Int
    window: Count
    scan_window: Count
    holds: list[Int]
    retries: dict[Text, Int]
    failures: dict[Text, Int]
    endpoints: dict[Text, EndpointStatus]
    volumes: list[VolumeStatus]
    limited_by: Text = ""
    job_digest: Text = ""
    begun: list[Begun] = []
    waiting_for: Text = ""
    still_seconds: Float = 0.0
    clears: bool = False
    placed: Count = 0
    written: Count = 0
    settled: Count = 0
    wasted: dict[Text, Int] = {}


class Goodbye(Value, tag="goodbye"):
    """A worker leaves in order; it holds nothing any more."""

    machine: Text
    incarnation: Text


class Fatal(Value, tag="fatal"):
    """The source refuses us as a whole; the job must stop."""

    machine: Text
    reason: Reason
    detail: Text


class Poison(Value, tag="poison"):
    """A message that cannot be understood, by its first bytes in hex; it lies with the dead letters."""

    machine: Text
    detail: Text


class Removed(Value, tag="removed"):
    """Former copies, by id, that are on their volume no more."""

    machine: Text
    ids: list[Int]


FromWorker = Removed | ScanReceipt | BatchReceipt | Handback | Pulse | Goodbye | Fatal | Poison


class Limits(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What one worker may use. None is no cap; `concurrency` None is automatic.

    Rates are per second, bandwidth in bytes per second, for all processes of the worker together.
    """

    concurrency: Int | None = None
    requests_per_second: Float | None = None
    bytes_per_second: Float | None = None
    paused: bool = False


class BatchVerdict(Value):
    """What counts of a batch that is outstanding no more, so that no receipt of it can count any more.

    Of the blocks `judged` those `gone` do not count: their files go, and what was never settled of the batch. `kept` are blocks of
    the same volumes that count, and may hold some of the same objects: those files stay.
    """

    work: Int
    judged: list[Extent] = []
    gone: list[Extent] = []
    kept: list[Extent] = []


class Control(Value, tag="control"):
    """The coordinator's word to a worker: its limits, what counts of its batches, volumes to add or drain, whether to stop.

    `booked` names batches whose last receipts, of this worker, count. `verdicts` answer its questions. `remove` are former copies
    that its volumes may hold. `down` are the endpoints that are down for all other workers which ask there; None says nothing of them.
    """

    limits: Limits
    booked: list[Int] = []
    verdicts: list[BatchVerdict] = []
    add_volumes: list[Text] = []
    drain_volumes: list[Text] = []
    stop: bool = False
    remove: list[Former] = []
    down: list[Text] | None = None


class Welcome(Value, tag="welcome"):
    """What a worker on another machine must know of the job. `source` is its configuration as JSON, without secrets.

    `job_digest` names this configuration: a worker that was welcomed to another one is refused. `known` are the ids of the job's
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


_LENGTH = struct.Struct("<I")


def frame(message: bytes) -> bytes:
    """Put the length in front of a message."""
    return _LENGTH.pack(len(message)) + message


class Frames:
    """Takes a stream in pieces of any size, and gives back whole messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Add what was read; return the messages that are whole now."""
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
