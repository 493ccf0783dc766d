"""Fixed settings that a coordinator gets at its start."""

import msgspec

from bucketpull.coordinator.fleet import GRACE_SECONDS, SILENCE_SECONDS
from bucketpull.domain.budget import Budget


class CoordinatorParameters(msgspec.Struct, frozen=True):
    """How much is listed ahead, and how patient the coordinator is.

    A machine that sends no pulse for `silence_seconds` is taken for dead; work that its machine does not hold `grace_seconds` after it was
    sent is taken for lost on the way. Listing pauses above `high_water` outstanding objects and goes on below half of it: 2 million objects are about
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
    silence_seconds: float = SILENCE_SECONDS
    grace_seconds: float = GRACE_SECONDS
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
