"""What a worker reports of its volumes and of its endpoints."""

from enum import StrEnum
from typing import Final

from bucketpull.domain.decoding import Count, Float, Int, Text
from bucketpull.domain.endpoints import State
from bucketpull.domain.model import Value


class VolumeState(StrEnum):
    """Whether a volume takes new objects."""

    OPEN = "open"
    FULL = "full"
    DRAINING = "draining"
    SICK = "sick"
    LOST = "lost"
    AWAY = "away"


IN_PLACE: Final = frozenset({VolumeState.OPEN, VolumeState.FULL, VolumeState.DRAINING})
"""States of volumes that are present, whether they take new objects or not."""


class VolumeStatus(Value):
    """A volume as its worker sees it. Sizes in bytes; speeds in bytes a second.

    `detail` says why it takes no objects, `warning` what is unusual although it does. `packs` counts its packs, `open_packs`
    those of them that are appended to, and `pack_bytes` is what all of them take. `ledger_end` is the length of its ledger, which only
    grows, in bytes. `kept_bytes` stay free: `free_bytes` are above them.
    """

    id: Text
    machine: Text
    path: Text
    state: VolumeState
    free_bytes: Int
    total_bytes: Int
    free_inodes: Int
    total_inodes: Int
    reserved_bytes: Int = 0
    queued_bytes: Int = 0
    stored_objects: Int = 0
    stored_bytes: Int = 0
    written_per_second: Float = 0.0
    detail: Text = ""
    warning: Text = ""
    packs: Int = 0
    open_packs: Int = 0
    pack_bytes: Int = 0
    ledger_end: Int = 0
    kept_bytes: Int = 0


class EndpointStatus(Value):
    """One endpoint of one worker: transfers in flight, the level its limiter allows, and what it counted so far.

    `state` is the machine's judgement, for how many seconds, and why. `away` names those of its addresses that are left alone, and says
    why. `rest_seconds` is for how long it still asks to be left alone itself, `most_seconds` for how long objects wait for it before
    they are held to be at fault; 0 is for as long as the state lasts.
    """

    in_flight: Count
    level: Float
    requests: Count
    throttled: Count
    seconds: Float  # sum of the durations of finished requests
    is_origin: bool = True
    received: int = 0  # bytes, those of failed transfers too, and of those that are not done
    state: State = State.UP
    state_seconds: Float = 0.0
    detail: Text = ""
    away: dict[Text, Text] = {}
    rest_seconds: Float = 0.0
    most_seconds: Float = 0.0

    def add(self, other: "EndpointStatus") -> None:
        """Add the counters of another process or machine; the judgement does not change."""
        self.in_flight += other.in_flight
        self.level += other.level
        self.requests += other.requests
        self.throttled += other.throttled
        self.seconds += other.seconds
        self.received += other.received
