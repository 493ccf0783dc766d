"""Fixed settings that a coordinator, an agent and its downloaders get at their start."""

import msgspec

from bucketpull.domain.budget import Budget
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.order import ANY, Order


class Bounds(msgspec.Struct, frozen=True):
    """What a process may hold in memory, in bytes and objects.

    `held` bounds the bodies in flight and waiting for writers; `queued` those waiting for one volume's writer.
    `parked` objects of a crowded endpoint may be overtaken by those of another, `stranded` ones of an endpoint that is down. Objects above `streamed` bytes go to disk as they
    come. `in_flight` bounds the transfers, None by nothing but their limiters.
    """

    held: int = 64 << 20
    queued: int = 16 << 20
    parked: int = 256
    stranded: int = 16_384
    streamed: int = 8 << 20
    in_flight: int | None = None


class DownloaderParameters(msgspec.Struct, frozen=True):
    """What a downloader is told at its start; `order` says which of the listed objects come first."""

    bounds: Bounds = Bounds()
    order: Order = ANY


class AgentParameters(msgspec.Struct, frozen=True):
    """What a worker is told at its start. Times in seconds.

    `journal` is the id of the job's journal: it tells this job's ledger entries from those of others.
    `scans` says whether it lists as well. More than `deaths_per_process` deaths a process in ten seconds are a bug. A volume that has not answered for `hang_seconds` is given
    up for this session, if there are others. `packs` says that its processes pack objects. `adopts` says by what files of others are
    taken over: "md5", "date", or "" not at all; where `keeps_foreign`, those that are in the way of an object are put aside first.
    `is_last_resort`: no other machine may have room for what is larger than each of its volumes, so that fails.
    """

    machine: str
    journal: str
    version: str
    incarnation: str
    durability: str = "batch"
    verify: str = "size"
    scans: bool = True
    settle_seconds: float = 1.0
    stop_seconds: float = 8.0
    deaths_per_process: int = 20
    job_digest: str = ""
    hang_seconds: float = 60.0
    packs: bool = False
    endpoints: tuple[EndpointSpec, ...] = ()
    adopts: str = ""
    keeps_foreign: bool = True
    is_last_resort: bool = False


class CoordinatorParameters(msgspec.Struct, frozen=True):
    """How much is listed ahead, and how patient the coordinator is.

    Listing pauses above `high_water` outstanding objects and goes on below half of it: 2 million objects are about
    100 MB of journal and half an hour of work at 1,000 objects a second. Each machine is reminded of its limits every
    `remind_seconds`: the message before may be lost with the queue that it was in. When the source refuses another machine,
    the job ends if for `refusal_seconds` there is no further one. At its end it waits `linger_seconds` for machines that are away,
    or where nothing was given to anybody `meet_seconds`, so that those which wait for it are told of the end.
    For one that is there it waits so long since it last got on with its unconfirmed files, or `removal_seconds` while some are being removed.
    `local_machine` is the one whose agent runs in this process.
    `selection` stands for what the run wants of the source; None goes on with what an unfinished one wanted.
    """

    high_water: int = 2_000_000
    tick_seconds: float = 0.5
    silence_seconds: float = 30.0
    grace_seconds: float = 30.0
    stop_seconds: float = 10.0
    remind_seconds: float = 15.0
    refusal_seconds: float = 12.0
    linger_seconds: float = 15.0
    meet_seconds: float = 5.0
    removal_seconds: float = 600.0
    room_seconds: float = 5.0
    roomless_seconds: float = 1.5
    exits_when_full: bool = False
    local_machine: str = ""
    budget: Budget = Budget()
    selection: str | None = None
