"""When to try again: inside a batch with back-off, then in later passes, by the table in `trouble`."""

import math
from typing import Protocol

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.trouble import BOUNDS

FIRST_SHARE = 0.1
"""Of the first wait, after a first failure."""

LAST_PASS = math.inf
"""Due only when nothing else is outstanding."""

RETRY_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 300.0  # of a Retry-After, however large
# Seconds from the end of one pass to the next. A network's bad hour must not end as a million failures, hence the last
# pass after everything else.
PASSES: tuple[float, ...] = (RETRY_SECONDS, 300.0, LAST_PASS)
# A page that is given up loses a subtree, so it has more patience: 18 minutes, then the last pass.
PAGE_PASSES: tuple[float, ...] = (RETRY_SECONDS, 60.0, 120.0, 300.0, 300.0, 300.0, LAST_PASS)


class Random(Protocol):
    """What jitter needs of `random.Random`."""

    def random(self) -> float:
        """Return a number from 0 to 1."""
        ...


def attempts(reason: Reason) -> int:
    """Return how many requests an object gets inside one batch before it is put off; 1 is no second one."""
    return BOUNDS[reason].tries


def backoff_seconds(
    reason: Reason, attempt: int, random: Random, asked_seconds: float | None = None
) -> float:
    """Return how long to wait after the attempt of this number (from 1), at least what the source asked for, within reason.

    Jitter takes up to half away, so that what failed together does not come back together. What failed once is tried again nearly
    at once, for most trouble is one answer's; only a source that asks for less gets the whole wait then, too.
    """
    bound = BOUNDS[reason]
    longest = min(bound.longest_seconds, bound.first_seconds * 2.0 ** min(attempt - 1, 32))
    if attempt == 1 and bound.remedy is not Remedy.SLOW:
        longest *= FIRST_SHARE
    return max(longest * (0.5 + 0.5 * random.random()), min(asked_seconds or 0.0, LONGEST_ASKED_SECONDS))


def next_try(attempt: int, first_seconds: float = RETRY_SECONDS) -> float | None:
    """Return in how many seconds a batch's failed objects are due again after pass `attempt` (from 0).

    `LAST_PASS` is when nothing else is outstanding; None is never. `first_seconds` is the wait after the first pass;
    the later ones keep their proportion.
    """
    return PASSES[attempt] * (first_seconds / RETRY_SECONDS) if attempt < len(PASSES) else None


def next_page_try(reason: Reason, attempt: int, first_seconds: float = RETRY_SECONDS) -> float | None:
    """Return in how many seconds a page is due again after pass `attempt` (from 0), as `next_try`."""
    if not BOUNDS[reason].passes or BOUNDS[reason].remedy is Remedy.STOP:
        return None
    scale = first_seconds / RETRY_SECONDS
    return PAGE_PASSES[attempt] * scale if attempt < len(PAGE_PASSES) else None
