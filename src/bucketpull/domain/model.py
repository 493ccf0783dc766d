"""The vocabulary as values: what is listed, sent, stored and recorded.

Everything that crosses a process or a machine is one of these, encoded by msgspec as MessagePack arrays.
Objects travel by column (`Part`), because a Python value an object costs more than the transfer of its name.
Names and keys are bytes: the service says UTF-8, but a listing may hold anything, and what was listed must be
stored and found again exactly.
"""

from collections.abc import Sequence
from enum import IntEnum, StrEnum

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.packing import Packing


class Value(msgspec.Struct, array_like=True, gc=False):
    """Base of all values; without cycles, hence unknown to the garbage collector."""


class WorkKind(IntEnum):
    """The two kinds of work."""

    SCAN = 0
    BATCH = 1


class Part(Value):
    """Objects of one directory, by column: `names[i]`, `sizes[i]` (bytes), `mtimes[i]` (Unix seconds).

    `directory` is the key prefix without a trailing slash, b"" for the root; an object's key is
    `directory + b"/" + name`, or the name alone in the root. `cursor` names the listed page it came from.
    `versions` and `urls` are as in `exchange.Wanted`, or empty where no object has one.
    """

    directory: bytes
    cursor: str
    names: list[bytes]
    sizes: list[int]
    mtimes: list[int]
    versions: list[str] = []
    urls: list[str] = []


class Position(Value):
    """Where a listing goes on: a directory and a cursor ("" is its beginning).

    `until` ends a range of a directory that is listed in parallel (the source's own marker, "" is the end).
    `digest` is that of the page as it was last listed and settled, b"" if never: an equal page yields no work.
    `attempt` counts the failed tries of this position.
    """

    directory: bytes
    cursor: str = ""
    until: str = ""
    digest: bytes = b""
    attempt: int = 0


class Page(Value):
    """One page of a directory as the source gave it: files by column, names of sub-directories, what is next.

    `following` lists where the same directory goes on: none at its end, one for a serial listing, several where the
    source splits it into ranges. `excluded` counts the objects that the job does not want: they are not in `part`. `odd` quotes entries that cannot be objects or directories: they fail, the others do not.
    """

    part: Part
    directories: list[bytes]
    following: list[Position]
    odd: Sequence[str] = ()
    excluded: int = 0


class Extent(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Where a batch lies: a volume, and the offset in bytes of a block of its ledger."""

    volume: str
    offset: int


class Work(Value):
    """What a worker is given. `body` is encoded already: `list[Position]` for a scan, `list[Part]` for a batch.

    The id is given by the journal and never reused. `candidates` are the ledger blocks that may hold some of the
    objects from an earlier run, newest last: they are compared first, and a changed object is replaced where it lies.
    `attempt` counts earlier tries of these objects. `elsewhere` says that more candidates lie with other machines that are there:
    what is not found here goes back, to be looked for there. `part` numbers what is left of a batch: 0 is all of it, 1 the
    remainder of its first receipt, and so on.
    """

    id: int
    kind: WorkKind
    body: bytes
    attempt: int = 0
    candidates: list[Extent] = []
    elsewhere: bool = False
    part: int = 0


class Failure(Value):
    """An object (or, with an empty name, a directory's page) that could not be had, and why.

    `status` is the last HTTP status (0: none); `detail` is the last answer in words, at most 300 characters.
    """

    directory: bytes
    name: bytes
    size: int
    mtime: int
    cursor: str
    reason: Reason
    attempts: int
    status: int
    detail: str


class PageRecord(Value):
    """What the journal keeps of a listed page. `first` and `last` are the smallest and largest object name.

    `unchanged` is true where the digest equals the position's: then no batch was made of it. `excluded` objects, which the
    job does not want, are in none of the other numbers.
    """

    directory: bytes
    cursor: str
    first: bytes
    last: bytes
    digest: bytes
    objects: int
    bytes: int
    unchanged: bool
    excluded: int = 0


class Span(Value):
    """The part of one directory that a batch covers: the page it belongs to, and its smallest and largest name."""

    directory: bytes
    cursor: str
    first: bytes
    last: bytes


class BatchDraft(Value):
    """A batch on its way into the journal: `body` is the encoded `list[Part]`."""

    body: bytes
    objects: int
    bytes: int
    spans: list[Span]


class ScanReceipt(Value, tag="scan"):
    """What came of a scan. `complete` positions are in `pages`; `positions` is the new work, `batches` too.

    `failures` holds the positions that could not be listed and will not be tried again.
    `vanished` counts directories that the source no longer has.
    """

    work: int
    machine: str
    pages: list[PageRecord] = []
    positions: list[Position] = []
    batches: list[BatchDraft] = []
    failures: list[Failure] = []
    vanished: int = 0
    retries: dict[str, int] = {}


class Former(Value):
    """Objects that may lie on a volume in a copy that counts no more, for a batch stored them on volume `by` since.

    `offsets` are the blocks of the volume's ledger in which they may be; `parts` is an encoded `list[Part]`. `id` is the journal's.
    """

    volume: str
    offsets: list[int]
    by: str
    parts: bytes
    id: int = 0


class BatchReceipt(Value, tag="batch"):
    """What came of a batch: stored + skipped + failed + vanished + deferred + returned + sent on + remainder are all of it.

    `remainder` is still in hand at the machine, as part `part + 1` of the same work; None ends the work.

    `failures` includes the vanished (reason `gone`). `deferred` met passing trouble and is tried again later as new work,
    one attempt older; `returned` was not tried, for lack of room or time, and is new work at once, no attempt older.
    `sent_on` is what none of the volumes `compared` holds, where other machines may have it.
    `extents` are the ledger blocks, on durable volumes, that hold the stored and skipped objects; `spans` the pages
    concerned. `bytes` counts what was stored in this run. `former` tells of copies that are to be removed.
    """

    work: int
    machine: str
    stored: int = 0
    skipped: int = 0
    bytes: int = 0
    extents: list[Extent] = []
    spans: list[Span] = []
    skipped_bytes: int = 0
    failures: list[Failure] = []
    deferred: BatchDraft | None = None
    returned: BatchDraft | None = None
    retries: dict[str, int] = {}
    former: list[Former] = []
    sent_on: BatchDraft | None = None
    compared: list[str] = []
    part: int = 0
    remainder: BatchDraft | None = None


class Handback(Value, tag="handback"):
    """Work that was not done and must be given to somebody, now or later; nothing of it counts."""

    works: list[int]
    machine: str
    reason: Reason


class Counters(Value):
    """The books of the present run: listed = stored + skipped + excluded + failed + vanished + outstanding.

    `bytes` are the bytes stored in this run; `listed_bytes` those listed and wanted, `skipped_bytes` those found in place.
    `retries` counts repeated requests by reason, `failures` what failed for good, now, by reason.
    """

    listed: int = 0
    listed_bytes: int = 0
    stored: int = 0
    skipped: int = 0
    failed: int = 0
    vanished: int = 0
    directories: int = 0
    pages: int = 0
    bytes: int = 0
    skipped_bytes: int = 0
    retries: dict[str, int] = {}
    failures: dict[str, int] = {}
    excluded: int = 0


class Outstanding(Value):
    """What is left: work ready or sent, by kind; objects and bytes are those of batches."""

    scans: int = 0
    scans_sent: int = 0
    batches: int = 0
    batches_sent: int = 0
    objects: int = 0
    bytes: int = 0


class VolumeState(StrEnum):
    """Whether a volume takes new objects."""

    OPEN = "open"
    FULL = "full"
    DRAINING = "draining"
    SICK = "sick"
    LOST = "lost"
    AWAY = "away"


class VolumeStatus(Value):
    """A volume as its worker sees it. Sizes in bytes; speeds in bytes a second."""

    id: str
    machine: str
    path: str
    state: VolumeState
    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int
    reserved_bytes: int
    queued_bytes: int
    stored_objects: int
    stored_bytes: int
    written_per_second: float
    detail: str = ""


class LaneStatus(Value):
    """One endpoint of one worker: transfers in flight, the level its limiter allows, and what it counted so far."""

    in_flight: int
    level: float
    requests: int
    throttled: int
    seconds: float  # sum of the durations of finished requests
    is_origin: bool = True


class Begun(Value):
    """A batch that was begun on a volume, and of which its worker does not know whether it is booked.

    `offset` is that of its ledger block, -1 where it was only begun; then `directory` and `name` are empty. Else they are the
    key of an object of the block.
    """

    work: int
    volume: str
    offset: int
    directory: bytes = b""
    name: bytes = b""


class Pulse(Value, tag="pulse"):
    """A worker's sign of life, twice a second: counters since its start, volumes, lanes, what it holds.

    `holds` lists the work ids in hand. `window` says how many batches it wants to hold in all, `scan_window` how many
    scans; 0 where its volumes are full, or where it does not list.
    `limited_by` names what holds it back: "source", "cdn", "disk", "cpu", "rate", "bandwidth", "work" or "".
    `begun` are the batches that it asks about, having heard neither `booked` nor `discard` for too long.
    `waiting_for` names an object in hand where one of its processes has ended none for `still_seconds`, at least ten.
    """

    machine: str
    incarnation: str
    version: str
    processes: int
    objects: int
    bytes: int
    skipped: int
    window: int
    scan_window: int
    holds: list[int]
    retries: dict[str, int]
    failures: dict[str, int]
    lanes: dict[str, LaneStatus]
    volumes: list[VolumeStatus]
    limited_by: str = ""
    job_digest: str = ""
    begun: list[Begun] = []
    waiting_for: str = ""
    still_seconds: float = 0.0


class Goodbye(Value, tag="goodbye"):
    """A worker leaves in order; it holds nothing any more."""

    machine: str
    incarnation: str


class Fatal(Value, tag="fatal"):
    """The source refuses us as a whole; the job must stop."""

    machine: str
    reason: Reason
    detail: str


class Poison(Value, tag="poison"):
    """A message that cannot be understood, by its first bytes in hex; it lies with the dead letters."""

    machine: str
    detail: str


class Removed(Value, tag="removed"):
    """Former copies, by id, that are on their volume no more."""

    machine: str
    ids: list[int]


FromWorker = Removed | ScanReceipt | BatchReceipt | Handback | Pulse | Goodbye | Fatal | Poison


# The cursor of a failure that is no object's and no page's, but that of a message nobody understands.
MESSAGE_CURSOR = "(message)"


class Limits(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What one worker may use. None is no cap; `concurrency` None is automatic.

    Rates are per second, bandwidth in bytes per second, for all processes of the worker together.
    """

    concurrency: int | None = None
    requests_per_second: float | None = None
    bytes_per_second: float | None = None
    paused: bool = False


class Control(Value, tag="control"):
    """The coordinator's word to a worker: its limits, work to discard, volumes to add or drain, whether to stop.

    `booked` names batches whose last receipts are in the journal: they will not come again. `discard` names work whose
    receipts were dropped because another worker's came first: its copies are removed. `abandon` names work that was begun before a restart and
    has gone elsewhere since: what is left of it is removed. `remove` are former copies that the worker's volumes may hold.
    """

    limits: Limits
    booked: list[int] = []
    discard: list[int] = []
    abandon: list[int] = []
    add_volumes: list[str] = []
    drain_volumes: list[str] = []
    stop: bool = False
    remove: list[Former] = []


class Welcome(Value, tag="welcome"):
    """What a worker on another machine must know of the job. `source` is its configuration as JSON, without secrets.

    `job_digest` names this configuration: a worker that was welcomed to another one is refused. `known` are the ids of the job's
    volumes on this machine, by the path at which each was seen last.
    """

    job: str
    journal: str
    job_digest: str
    source: bytes
    layout: str
    durability: str
    verify: str
    known: dict[str, str] = {}
    packing: Packing | None = None


class Refusal(Value, tag="refusal"):
    """Why a worker cannot take part."""

    reason: str


def key_of(directory: bytes, name: bytes) -> bytes:
    """Join a directory and a name into an object's key."""
    return directory + b"/" + name if directory else name


def show(key: bytes) -> str:
    """Write a key for people: UTF-8 where it is, escapes where it is not."""
    return key.decode("utf-8", "backslashreplace")
