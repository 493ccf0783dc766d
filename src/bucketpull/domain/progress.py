"""Where a job stands, as one value that every reporter, the dashboard and `status` show."""

from enum import StrEnum

import msgspec

from bucketpull.domain.budget import NO_PRICES, Prices, Spending
from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import Counters, Outstanding, Value
from bucketpull.domain.status import VolumeStatus
from bucketpull.domain.user_limits import Limits


class JobState(StrEnum):
    """One word for people, JSON and metrics; each means one thing everywhere."""

    STARTING = "starting"
    LISTING = "listing"
    TRANSFERRING = "transferring"
    FINISHING = "finishing"
    PAUSED = "paused"
    NO_ROOM = "no-room"
    BUDGET_SPENT = "budget-spent"
    NO_BROKER = "no-broker"
    WAITING = "waiting"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"


RUNNING = frozenset({JobState.LISTING, JobState.TRANSFERRING, JobState.FINISHING})
"""Things should move."""
STANDING = frozenset(
    {JobState.PAUSED, JobState.WAITING, JobState.NO_ROOM, JobState.BUDGET_SPENT, JobState.NO_BROKER}
)
"""Nothing new is given out until somebody changes that, or a day ends."""
ENDED = frozenset({JobState.COMPLETE, JobState.INCOMPLETE, JobState.INTERRUPTED, JobState.REFUSED})
"""Nothing new begins."""
CUT_SHORT = frozenset({JobState.INTERRUPTED, JobState.REFUSED, JobState.NO_ROOM, JobState.BUDGET_SPENT})
"""It ended, or will, before all was done, whatever the books say."""


class Estimate(Value):
    """When the job ends. Seconds from the snapshot on; `low` and `high` are the band, None where nothing can be said.

    `total_bytes` is what the bucket is believed to hold, `total_objects` likewise (0: unknown yet).
    """

    seconds: float | None = None
    low: float | None = None
    high: float | None = None
    total_bytes: int = 0
    total_objects: int = 0
    share: float = 0.0  # of the bytes, 0..1; of the objects where no size is known

    @property
    def knows_share(self) -> bool:
        """Whether all is known of which `share` is a part: the bytes, or where those are not, the objects."""
        return self.total_bytes > 0 or (self.share > 0 and self.high is not None)


class Rates(Value):
    """Speeds: of the last seconds, and of the whole session; objects, and bytes as they arrive, per second."""

    objects_now: float = 0.0
    objects_mean: float = 0.0
    bytes_now: float = 0.0
    bytes_mean: float = 0.0
    listed_now: float = 0.0


class StageProgress(Value):
    """How many objects have passed a stage of their way in this session, and how many a second in the last ones."""

    objects: int = 0
    per_second: float = 0.0


class Note(Value):
    """One event worth telling: Unix seconds, "info", "warning" or "error", noun.past-participle, words.

    Of two events about the same thing (`about`, if it is not empty) the later one says how things are.
    """

    at: float
    level: str
    event: str
    text: str
    about: str = ""


class Snapshot(Value):
    """Where a job stands, as `wiring.monitor` finds it while the job runs and `wiring.job_status` when it does not.

    `machines` are the last pulses of the live workers; `volumes` are those of all known volumes, also when away.
    `failures` counts final failures by reason, `retries` repeated requests by reason; `limited_by` as in `messages.Pulse`.
    `stages` are those of an object's way, in their order: listed, placed, fetched, written, settled, booked. Where one is slower than
    the one before it, objects wait. `spent` is what all runs of the job received and asked for, on all machines.
    `unheard_seconds` is for how long the broker has not been reached, 0 if it is: machines go on with what they hold meanwhile.
    """

    job: str
    source: str
    state: JobState
    at: float
    started: float
    seconds: float
    listing_done: bool
    counters: Counters
    outstanding: Outstanding
    rates: Rates
    estimate: Estimate
    machines: list[Pulse]
    volumes: list[VolumeStatus]
    retries: dict[str, int]
    failures: dict[str, int]
    limits: Limits
    limited_by: str
    notes: list[Note]
    stages: dict[str, StageProgress] = {}
    spent: Spending = msgspec.field(default_factory=Spending)
    prices: Prices = NO_PRICES
    unheard_seconds: float = 0.0

    @property
    def waits_for(self) -> list[str]:
        """The machines that all that is left waits for now."""
        goes_on = self.state not in RUNNING or self.outstanding.again_at > self.at
        return [] if goes_on else self.outstanding.waits_for

    @property
    def cost(self) -> float | None:
        """What was spent in money; None where nothing has a price."""
        return self.prices.of(self.spent)


class DirectoryState(Value):
    """One directory as the tree shows it.

    All is of what is in it and below it. `state` is "waiting" (known, not listed), "transferring" (objects are outstanding),
    "listing" (none are, and the job goes on listing), "done" or "failed" (a part could not be listed). `objects` and `bytes`
    are those listed and wanted, `outstanding` and `failed` objects of them; `directories` is 0 where none are below it, else None.
    `partial` says that there is more than was summed up.
    """

    directory: bytes
    state: str
    objects: int = 0
    bytes: int = 0
    outstanding: int = 0
    failed: int = 0
    directories: int | None = None
    partial: bool = False
