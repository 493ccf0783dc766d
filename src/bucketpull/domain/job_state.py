"""What a job is doing, or how it ended."""

from enum import StrEnum


class JobState(StrEnum):
    """One word for people, JSON and metrics; each means one thing everywhere."""

    STARTING = "starting"
    LISTING = "listing"
    TRANSFERRING = "transferring"
    FINISHING = "finishing"
    PAUSED = "paused"
    NO_ROOM = "no-room"
    BUDGET_SPENT = "budget-spent"
    WAITING = "waiting"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    REFUSED = "refused"


RUNNING = frozenset({JobState.LISTING, JobState.TRANSFERRING, JobState.FINISHING})
"""Things should move."""
ENDED = frozenset({JobState.COMPLETE, JobState.INCOMPLETE, JobState.INTERRUPTED, JobState.REFUSED})
"""Nothing new begins."""
CUT_SHORT = frozenset({JobState.INTERRUPTED, JobState.REFUSED, JobState.NO_ROOM, JobState.BUDGET_SPENT})
"""It ended, or will, before all was done, whatever the books say."""
