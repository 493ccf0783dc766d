"""What to do with an object whose answer was not the wanted one. Pure; the table behind it is `retry.BOUNDS`."""

from enum import Enum

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.retry import BOUNDS, Scope, most_tries, next_try, tries_by_chance

# If an object is throttled so often in a row, our pace is not the cause, for it was lowered meanwhile: another endpoint is asked.
# Where the source refuses at random, whatever the pace: so often that chance is hardly the cause.
SINGLED_OUT = 3


class Decision(Enum):
    """What follows a bad answer."""

    AGAIN = 0  # the same endpoint, after back-off
    AT_ONCE = 1  # the same endpoint, now
    NEXT_ROUTE = 2
    DEFER = 3  # in a later pass
    GONE = 4
    FAIL = 5


def decide(
    reason: Reason, is_origin: bool, tries: int, more_routes: bool, passes: int, random_share: float = 0.0
) -> Decision:
    """Decide.

    Args:
        reason: What was wrong with the answer.
        is_origin: Whether it came from an origin, whose answers are final.
        tries: Requests for the object at this endpoint in this pass, this one included.
        more_routes: Whether there is an endpoint that was not tried.
        passes: Earlier passes of the object.
        random_share: The share of requests that the endpoint refuses whatever the pace, as far as that is known.

    """
    remedy = BOUNDS[reason].remedy
    if remedy is Remedy.ORIGIN:
        return _doubtful(reason, is_origin, tries, more_routes)
    if remedy is Remedy.VANISH:
        return Decision.GONE
    if remedy is Remedy.RESIGN:
        return Decision.AT_ONCE if tries < most_tries(reason) else _put_off(passes)
    if remedy is Remedy.FAIL:
        return Decision.NEXT_ROUTE if more_routes and not is_origin else Decision.FAIL
    if remedy is Remedy.STOP:
        # Not the object's fault: once the cause is fixed it can be fetched.
        return _put_off(passes)
    return _passing(reason, tries, more_routes, passes, random_share)


def _doubtful(reason: Reason, is_origin: bool, tries: int, more_routes: bool) -> Decision:
    if more_routes:
        return Decision.NEXT_ROUTE
    if reason is Reason.MISSING and is_origin:
        return Decision.GONE
    return Decision.AT_ONCE if tries < most_tries(reason) else Decision.FAIL


def _passing(reason: Reason, tries: int, more_routes: bool, passes: int, random_share: float) -> Decision:
    most, by_chance = most_tries(reason), tries_by_chance(reason, random_share)
    if more_routes and BOUNDS[reason].remedy is Remedy.SLOW:
        most = min(most, max(SINGLED_OUT, by_chance + 1))
    else:
        most += by_chance
    if tries < most:
        return Decision.AGAIN
    if more_routes and BOUNDS[reason].scope not in {Scope.VOLUME, Scope.MACHINE}:
        return Decision.NEXT_ROUTE  # it may be the edge's trouble with this one object
    return _put_off(passes)


def _put_off(passes: int) -> Decision:
    return Decision.FAIL if next_try(passes) is None else Decision.DEFER
