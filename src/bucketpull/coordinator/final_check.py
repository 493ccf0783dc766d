"""The books held against what the volumes' own ledgers say, when a job has ended. Pure.

A volume may hold more than the job counts: objects of other jobs, of an earlier run, second copies. It must not hold less.
"""

from collections.abc import Collection, Mapping

from bucketpull.domain.model import Counters, Outstanding, VolumeState, VolumeStatus
from bucketpull.domain.progress import JobState

# A bucket that changes while it is listed names some objects twice, and they are counted twice: fewer than one in so many.
TOLERATED_ONE_IN = 1_000
_UNKNOWN = frozenset({VolumeState.SICK, VolumeState.AWAY, VolumeState.LOST})


def missing(
    books: Counters, counted_on: Mapping[str, str], told: Mapping[str, VolumeStatus], left: Collection[str]
) -> int:
    """Return how many objects fewer the volumes hold than the books count; 0 where some volume did not tell at the end.

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


def final_state(books: Counters, outstanding: Outstanding, missing_objects: int) -> JobState:
    """Name the end of a job that was not cut short: complete is one of which the books balance, with nothing left or lost."""
    left = outstanding.scans or outstanding.batches
    accounted = books.stored + books.skipped + books.excluded + books.vanished
    balanced = not left and books.listed == accounted and not _is_loss(missing_objects, books)
    return JobState.COMPLETE if balanced and not books.failures else JobState.INCOMPLETE


def _is_loss(objects: int, books: Counters) -> bool:
    """Whether so many missing objects are more than those that were counted twice."""
    return objects > books.duplicates + (books.stored + books.skipped) // TOLERATED_ONE_IN
