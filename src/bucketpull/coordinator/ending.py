"""What a job's state is called, when it has ended, and how: the books are compared with the ledgers of the volumes. Pure.

A volume may hold more than the job counts: objects of other jobs, of an earlier run, second copies. It must not hold less.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from bucketpull.coordinator.effects import Routine, UseJournal
from bucketpull.coordinator.fleet import Fleet
from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import Counters, Outstanding
from bucketpull.domain.progress import JobState
from bucketpull.domain.status import VolumeState, VolumeStatus

_UNKNOWN = frozenset({VolumeState.SICK, VolumeState.AWAY, VolumeState.LOST})


def check_volumes(books: Counters, fleet: Fleet) -> Routine[tuple[int, int]]:
    """Compare the books with the ledgers: return how many objects the ledgers lack, and how many of these were not merely counted twice.

    Where there are any, the next run compares every page, and fetches what is missing.
    """
    counted_on = yield UseJournal(lambda journal: journal.counted_on())
    objects = missing(books, counted_on, fleet.volumes, fleet.left)
    twice = (yield UseJournal(lambda journal: journal.doubt_all())) if objects else 0
    return objects, max(0, objects - twice)


def missing(
    books: Counters, counted_on: Mapping[str, str], told: Mapping[str, VolumeStatus], left: Collection[str]
) -> int:
    """Return how many objects the volumes hold less than the books count; 0 if some volume did not report at the end.

    Args:
        books: Those of the run.
        counted_on: The paths at which the journal's volumes were seen last, by id; "" is one that no machine ever told of.
        told: What machines told last of their volumes, by id.
        left: The machines that left in order: they measured their volumes after all was done.

    """
    for volume, path in counted_on.items():
        status = told.get(volume)
        if status is None and path:
            return 0
        if status is not None and (status.state in _UNKNOWN or status.machine not in left):
            return 0
    held = sum(told[volume].stored_objects for volume in counted_on if volume in told)
    return max(0, books.stored + books.skipped - held)


def working_state(
    left: Outstanding, fleet: Fleet, is_paused: bool, is_spent: bool, has_room: bool
) -> JobState:
    """Return the state of a job that goes on; `is_spent` is said of its budget, `has_room` of the volumes a moment ago."""
    if is_paused:
        return JobState.PAUSED
    if is_spent:
        return JobState.BUDGET_SPENT
    if not fleet.with_volumes:
        return JobState.WAITING
    if left.batches and not has_room:
        return JobState.NO_ROOM
    return JobState.LISTING if left.scans else JobState.TRANSFERRING


def final_state(books: Counters, outstanding: Outstanding, *, is_short: bool) -> JobState:
    """Return the end state of a job that nobody cut short: it is complete if the books balance, with nothing left, are not known to be short, and something was there."""
    accounted = books.stored + books.skipped + books.excluded + books.vanished
    balanced = not outstanding.is_some and books.listed == accounted
    is_complete = balanced and not (is_short or books.failures or books.has_only_vanished)
    return JobState.COMPLETE if is_complete else JobState.INCOMPLETE


class Headway:
    """When machines last made progress with what is `Fleet.unsettled`: less of it was left than ever, or something new appeared.

    When machines can be heard again after an outage, their time begins anew. `at` is in monotonic seconds.
    """

    def __init__(self, now: float) -> None:
        self.at = now
        self._seen: set[tuple[str, int]] = set()
        self._fewest = math.inf
        self._heard = True

    def see(self, unsettled: Sequence[Pulse], now: float, *, hears: bool) -> None:
        """Take what is left now. A machine asks about some batches at a time, and reports how many are left."""
        if hears and not self._heard:
            self.at = now
        self._heard = hears
        left = sum(len(pulse.holds) + pulse.clears for pulse in unsettled)
        works = {(pulse.machine, work) for pulse in unsettled for work in _works(pulse)}
        if left < self._fewest or not works <= self._seen:
            self.at, self._fewest = now, left
            self._seen |= works


def _works(pulse: Pulse) -> set[int]:
    return {0, *pulse.holds, *(block.work for block in pulse.begun)}
