"""What each reason calls for, and what bounds it: one row a reason. Pure; `docs/reference/reasons.md` is made from it.

An object is asked for `tries` times at each endpoint that may have it, with back-off between; where `passes` is set it comes again
in later passes, and is a failure after the last. So is a page. Trouble that is an endpoint's, the source's or a volume's as a whole
is nobody's failure: it is found out by what others see there, and objects wait, or go elsewhere, meanwhile.
"""

from enum import StrEnum
from typing import Final, NamedTuple

from bucketpull.domain.errors import Reason, Remedy


class Scope(StrEnum):
    """Whose trouble a reason may be, and so who else is affected if others meet it too."""

    OBJECT = "object"  # nobody else
    ENDPOINT = "endpoint"  # all who are asked of it: it slows down, and is left for another while nothing succeeds there
    SOURCE = "source"  # the whole job, if nothing succeeds
    VOLUME = "volume"  # what goes to it: other volumes take that
    MACHINE = "machine"  # all that this machine does


class Bound(NamedTuple):
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
    Reason.CLOCK: Bound(Remedy.RESIGN, _S, 3),
    Reason.MISSING: Bound(Remedy.ORIGIN, _O),
    # A second answer may be like the first: then it is the object, see `evidence`.
    Reason.SIZE: Bound(Remedy.ORIGIN, _O, 2),
    Reason.CHECKSUM: Bound(Remedy.ORIGIN, _O, 2),
    Reason.STALE: Bound(Remedy.ORIGIN, _O),
    Reason.TRANSFORMED: Bound(Remedy.ORIGIN, _O),
    Reason.WRONG_CONTENT: Bound(Remedy.ORIGIN, _E),
    # A page that is redirected may be a network's that wants a login: it passes.
    Reason.REDIRECTED: Bound(Remedy.ORIGIN, _E, passes=True),
    Reason.RANGE: Bound(Remedy.RESTART, _O, 4, 0.1, 1.0, True),
    Reason.FORBIDDEN: Bound(Remedy.ORIGIN, _E),
    Reason.REJECTED: Bound(Remedy.FAIL, _O),
    Reason.NOT_A_FILE: Bound(Remedy.FAIL, _O),
    Reason.ARCHIVED: Bound(Remedy.FAIL, _O),
    Reason.NOT_FOUND: Bound(Remedy.FAIL, _O),
    # Hardly an object's fault: if the job ends for it, the object is there to be had when the cause is mended.
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

REMEDIES: Final[dict[Reason, Remedy]] = {reason: bound.remedy for reason, bound in BOUNDS.items()}
