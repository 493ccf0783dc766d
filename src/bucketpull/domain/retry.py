"""What each reason calls for, and when to try again: one row a reason. Pure; `docs/reference/reasons.md` is made from the table.

An object is asked for `tries` times at each endpoint that may have it, with back-off between; where `passes` is set it is tried again
in later passes, and is a failure after the last. So is a page. What is wrong with an endpoint, the source or a volume as a whole is
not an object's failure: it is inferred from what others meet there, and objects wait, or go elsewhere, meanwhile.
"""

import math
from enum import StrEnum
from random import Random
from typing import Final

import msgspec

from bucketpull.domain.errors import Reason, Remedy


class Scope(StrEnum):
    """Whose trouble a reason may be, and so who else is affected if others meet it too."""

    OBJECT = "object"  # nobody else
    ENDPOINT = "endpoint"  # all who are asked of it: it slows down, and is left for another while nothing succeeds there
    SOURCE = "source"  # the whole job, if nothing succeeds
    VOLUME = "volume"  # what goes to it: other volumes take that
    MACHINE = "machine"  # all that this machine does


class Bound(msgspec.Struct, frozen=True):
    """One row. `tries` counts requests at one endpoint in one pass, the first included; waits are in seconds, doubled each time."""

    remedy: Remedy
    scope: Scope
    tries: int = 1
    first_seconds: float = 0.0
    longest_seconds: float = 0.0
    passes: bool = False


_O, _E, _S, _V, _M = Scope.OBJECT, Scope.ENDPOINT, Scope.SOURCE, Scope.VOLUME, Scope.MACHINE
_PASSING = (4, 0.5, 8.0, True)

BOUNDS: Final[dict[Reason, Bound]] = {
    Reason.GONE: Bound(Remedy.VANISH, _O),
    # The limiter slows down for all: one object's wait need not be long as well.
    Reason.THROTTLED: Bound(Remedy.SLOW, _E, 8, 0.5, 8.0, True),
    Reason.BANNED: Bound(Remedy.SLOW, _E, 2, 60.0, 300.0, True),
    Reason.CONNECT: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.DNS: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.TLS: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.TIMEOUT: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.STALLED: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.RESET: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.TRUNCATED: Bound(Remedy.RETRY, _O, *_PASSING),
    Reason.SERVER_ERROR: Bound(Remedy.RETRY, _E, *_PASSING),
    Reason.GARBAGE: Bound(Remedy.RETRY, _O, *_PASSING),
    Reason.CURSOR: Bound(Remedy.RETRY, _O, *_PASSING),
    Reason.CLOCK: Bound(Remedy.RESIGN, _S, 4, passes=True),
    Reason.MISSING: Bound(Remedy.ORIGIN, _O),
    # A second answer may be like the first: then it is the object, see `evidence`.
    Reason.SIZE: Bound(Remedy.ORIGIN, _O, 2),
    Reason.CHECKSUM: Bound(Remedy.ORIGIN, _O, 2),
    Reason.STALE: Bound(Remedy.ORIGIN, _O),
    Reason.TRANSFORMED: Bound(Remedy.ORIGIN, _O),
    Reason.WRONG_CONTENT: Bound(Remedy.ORIGIN, _E),
    # The redirect may be a network's login page, which is temporary.
    Reason.REDIRECTED: Bound(Remedy.ORIGIN, _E, passes=True),
    Reason.RANGE: Bound(Remedy.RESTART, _O, 4, 0.1, 1.0, True),
    Reason.FORBIDDEN: Bound(Remedy.ORIGIN, _E),
    Reason.REJECTED: Bound(Remedy.FAIL, _O),
    Reason.NOT_A_FILE: Bound(Remedy.FAIL, _O),
    Reason.ARCHIVED: Bound(Remedy.FAIL, _O),
    Reason.NOT_FOUND: Bound(Remedy.FAIL, _O),
    # Not the object's fault: the job ends, and the object can be fetched when the cause is removed.
    Reason.SKEW: Bound(Remedy.STOP, _S, passes=True),
    Reason.CREDENTIALS: Bound(Remedy.STOP, _S, passes=True),
    Reason.PERMISSION: Bound(Remedy.STOP, _S, passes=True),
    Reason.NO_BUCKET: Bound(Remedy.STOP, _S, passes=True),
    Reason.REGION: Bound(Remedy.STOP, _S, passes=True),
    Reason.UNSTORABLE: Bound(Remedy.FAIL, _O),
    Reason.UNWRITTEN: Bound(Remedy.RETRY, _V, *_PASSING),
    Reason.MACHINE: Bound(Remedy.RETRY, _M, *_PASSING),
    Reason.VOLUME_FULL: Bound(Remedy.HOLD, _V),
    Reason.VOLUME_SICK: Bound(Remedy.HOLD, _V),
    Reason.POISON: Bound(Remedy.FAIL, _O),
    Reason.INTERRUPTED: Bound(Remedy.HOLD, _M),
}

FIRST_SHARE = 0.1
"""Of the first wait, after a first failure, and after a refusal that is no more than chance."""

HARDLY = 0.001
"""What is rarer than that is hardly chance."""
MOST_BY_CHANCE = 8

LAST_PASS = math.inf
"""Due only when nothing else is outstanding."""

RETRY_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 300.0  # of a Retry-After, however large
# Seconds from the end of one pass to the next. An hour without network must not end as a million failures, hence the last
# pass after everything else.
PASSES: tuple[float, ...] = (RETRY_SECONDS, 300.0, LAST_PASS)
# A page that is given up loses a subtree, so it has more patience: 18 minutes, then the last pass.
PAGE_PASSES: tuple[float, ...] = (RETRY_SECONDS, 60.0, 120.0, 300.0, 300.0, 300.0, LAST_PASS)
# What is refused for good is not worth that wait, but a page is lost with all behind it: a chance refusal must not do that, nor
# one that ends the job, after which the next run goes on.
REFUSED_PAGE_PASSES: tuple[float, ...] = (RETRY_SECONDS, LAST_PASS)


def tries_by_chance(reason: Reason, random_share: float) -> int:
    """Return how often in a row an object may be refused by chance, where this share of requests is refused whatever the pace."""
    most = MOST_BY_CHANCE if reason is Reason.THROTTLED else 0
    return next((number for number in range(most) if random_share ** (number + 1) < HARDLY), most)


def backoff_seconds(
    reason: Reason, attempt: int, random: Random, asked_seconds: float | None = None, by_chance: int = 0
) -> float:
    """Return how long to wait after the attempt of this number (from 1), at least what the source asked for, within reason.

    The wait is shortened at random by up to half, so that objects that failed together are not retried together. After the first
    failure only a tenth of it is waited, except where the source asked for fewer requests. The first `by_chance` failures say
    nothing of the object or of the pace: a tenth of the first wait follows each, and the doubling begins after them.
    """
    bound = BOUNDS[reason]
    doublings = min(max(0, attempt - by_chance - 1), 32)
    longest = min(bound.longest_seconds, bound.first_seconds * 2.0**doublings)
    if attempt <= by_chance or (attempt == 1 and bound.remedy is not Remedy.SLOW):
        longest *= FIRST_SHARE
    return max(longest * (0.5 + 0.5 * random.random()), min(asked_seconds or 0.0, LONGEST_ASKED_SECONDS))


def next_try(passes: int, first_seconds: float = RETRY_SECONDS) -> float | None:
    """Return in how many seconds a batch's failed objects are due again that have had so many passes before this one.

    `LAST_PASS` is when nothing else is outstanding; None is never. `first_seconds` is the wait after the first pass;
    the later ones keep their proportion.
    """
    return PASSES[passes] * (first_seconds / RETRY_SECONDS) if passes < len(PASSES) else None


def next_page_try(reason: Reason, passes: int, first_seconds: float = RETRY_SECONDS) -> float | None:
    """Return in how many seconds a page is due again, as `next_try`."""
    if not BOUNDS[reason].passes:
        return None
    waits = REFUSED_PAGE_PASSES if BOUNDS[reason].remedy is Remedy.STOP else PAGE_PASSES
    return waits[passes] * (first_seconds / RETRY_SECONDS) if passes < len(waits) else None
