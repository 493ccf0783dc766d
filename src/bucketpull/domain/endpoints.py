"""Endpoints: where a source is asked, for what, and how many requests at once; each source declares its own."""

import math
from enum import StrEnum

import msgspec

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.retry import BOUNDS


class Purpose(StrEnum):
    """What an endpoint is asked for."""

    LIST = "list"
    FETCH = "fetch"


class State(StrEnum):
    """How an endpoint does, as far as a machine can tell from all its processes.

    `slow` has not answered for seconds, `refusing` answers nothing but refusals, `down` does not answer, or with errors only.
    """

    UP = "up"
    SLOW = "slow"
    REFUSING = "refusing"
    DOWN = "down"


class Advice(msgspec.Struct, frozen=True):
    """What a check of the source tells: what it is about, what was found, what to do."""

    about: str
    found: str
    remedy: str


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a source. It has a limiter of its own, and its state is shown under its name.

    `name` stands in metrics and JSON; that of the one that lists is its purpose, "list". `title` is what people are told ("the
    CDN img.example.com"). `sites` are its equivalent addresses ("https://host:port"), of which one is chosen for each request; empty
    where objects bring their own URLs.
    `is_origin` says that its answers are final: what it does not have is gone, what it has of another size has changed. An
    endpoint that is no origin keeps copies, and what it says is checked with the next one. `first` and `highest` bound the
    transfers in flight of one process, at the start and ever. `advice` is what those are told who have no other endpoint to
    fetch from; `hint` names what to check if it refuses everything.
    """

    name: str
    purpose: Purpose
    sites: tuple[str, ...] = ()
    title: str = ""
    is_origin: bool = True
    advice: Advice | None = None
    hint: str = ""
    first: int = 16
    highest: int = 1024


# What is the endpoint's, or the way's to it, if no other object fares better.
OUTAGE = frozenset(
    {
        Reason.CONNECT,
        Reason.DNS,
        Reason.TLS,
        Reason.TIMEOUT,
        Reason.STALLED,
        Reason.RESET,
        Reason.SERVER_ERROR,
        Reason.TRUNCATED,
        Reason.GARBAGE,
    }
)
THROTTLES = frozenset({Reason.THROTTLED, Reason.BANNED})
# Answers that are final for their object at this endpoint; all objects alike mean that it refuses us.
REFUSALS = frozenset(
    {
        Reason.FORBIDDEN,
        Reason.REDIRECTED,
        Reason.WRONG_CONTENT,
        Reason.MISSING,
        Reason.REJECTED,
        Reason.NOT_A_FILE,
        Reason.SKEW,
        Reason.CREDENTIALS,
        Reason.PERMISSION,
        Reason.NO_BUCKET,
        Reason.REGION,
    }
)
SYMPTOMS = OUTAGE | THROTTLES | REFUSALS

# So many different objects fail without a success between, and it is perhaps not they.
SUSPECT = 3
# The same for answers that are final for their object, or are about the pace: they say less about other objects than no answer.
SUSPECT_ANSWERS = 20


def needed(reason: Reason) -> int:
    """Return how many different objects must fail for a reason before their endpoint is suspected."""
    if BOUNDS[reason].remedy is Remedy.STOP or reason in OUTAGE:
        return SUSPECT
    return SUSPECT_ANSWERS


class Counted(msgspec.Struct, array_like=True, frozen=True):
    """What one process has counted at one address of an endpoint since it began: answers, refusals for the pace among them, and those of retries.

    `ceiling` is the requests a second that it believes the source to bear of it, 0 if it was never refused one. Of its retries so many
    were `expected` to fail if they do as first requests do, and so many did (`came`).
    """

    ceiling: float = 0.0
    in_flight: int = 0
    answers: int = 0
    refused: int = 0
    refused_retries: int = 0
    expected: float = 0.0
    came: float = 0.0


class Pace(msgspec.Struct, array_like=True, frozen=True):
    """The pace at which a machine's processes ask an address, as the machine found it from what all of them count.

    `per_second` is for each process; they ask one after the other: `phase` is how many turns this one had at `since` (monotonic
    seconds, as all processes of a machine have them), and it asks when that is a whole number. `random_share` of the requests is
    refused at any pace. Nothing is asked for `rest_seconds`. `is_once` says that failures of first requests tell nothing of the pace.
    """

    per_second: float
    since: float = 0.0
    phase: float = 0.0
    random_share: float = 0.0
    rest_seconds: float = 0.0
    is_once: bool = False

    def next_turn(self, now: float, last: float) -> float:
        """Return when it asks next that asked last at a moment."""
        latest = math.floor(self._turns(last) + 0.5)  # the turn that it used, perhaps late
        turn = max(math.floor(self._turns(now)), latest) + 1
        return self.since + (turn - self.phase) / self.per_second

    def _turns(self, moment: float) -> float:
        return self.phase + (moment - self.since) * self.per_second

    def at(self, now: float, per_second: float) -> "Pace":
        """Return what follows at a moment, at another pace from then on."""
        return msgspec.structs.replace(self, per_second=per_second, since=now, phase=self._turns(now) % 1.0)


class Symptoms(msgspec.Struct, array_like=True):
    """What one process sees of an endpoint.

    `good` counts the wanted answers so far. `failing` is how many different objects failed since the last of them, `ailing_seconds`
    for how long, `reason` and `detail` say how the latest did. `silent_seconds` is for how long nothing at all has come, though
    `unanswered` requests wait. `rest_seconds` is for how long the source asked to be left alone. `has_work` says that there is
    something to ask for, `is_missed` that something waits which can be had nowhere else. `away` names those of its addresses that are
    left alone, and says why. `counted` is what was counted at each of them, by its name. `has_probe` says that an object can be asked
    for again which the source gave before.
    """

    good: int = 0
    failing: int = 0
    ailing_seconds: float = 0.0
    reason: Reason | None = None
    detail: str = ""
    silent_seconds: float = 0.0
    unanswered: int = 0
    rest_seconds: float = 0.0
    has_work: bool = False
    is_missed: bool = False
    in_flight: int = 0
    away: dict[str, str] = {}
    counted: dict[str, Counted] = {}
    has_probe: bool = False


class Standing(msgspec.Struct, array_like=True, frozen=True):
    """A machine's judgement of an endpoint: its state, since when (monotonic seconds), and why.

    `most_seconds` is for how long objects wait for it before they are held to be at fault; 0 is for as long as it lasts.
    """

    state: State = State.UP
    since: float = 0.0
    reason: Reason | None = None
    detail: str = ""
    most_seconds: float = 0.0
