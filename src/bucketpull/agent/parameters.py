"""Fixed settings that an agent gets at its start."""

import msgspec

from bucketpull.domain.endpoints import EndpointSpec


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
