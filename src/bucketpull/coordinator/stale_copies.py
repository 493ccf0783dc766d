"""Which of several copies count: a batch may be done twice, and then only one machine's copies may stay. Runs beside the journal."""

from collections.abc import Iterable
from typing import NamedTuple

from bucketpull.domain.model import BatchReceipt, Begun
from bucketpull.ports import Journal


class Verdict(NamedTuple):
    """What a machine is told of its batches, and which it is given `again`; those not named are undecided."""

    booked: list[int]
    discard: list[int]
    abandon: list[int]
    again: list[int]


def judge_dropped(journal: Journal, receipts: Iterable[BatchReceipt]) -> dict[int, bool]:
    """Say of receipts that came second whether their copies must go: not where the journal counts on the same volumes.

    That is so where a receipt came twice, or a batch was done twice by the same machine: the files are the same.
    """
    return {receipt.work: not _counts(journal, receipt) for receipt in receipts}


def judge_begun(journal: Journal, machine: str, begun: Iterable[Begun]) -> Verdict:
    """Answer a machine that has not heard what became of batches.

    One that nobody has is given to this machine again, which may have done some of it. A settled one is decided when it is
    outstanding no more. One that is only begun has no receipt: another does it from the start.
    """
    asked = list(begun)
    holders = journal.holders([each.work for each in asked])
    verdict = Verdict([], [], [], [])
    for each in asked:
        holder = holders.get(each.work)
        if holder == "":
            verdict.again.append(each.work)
        elif each.offset < 0:
            if holder != machine:
                verdict.abandon.append(each.work)
        elif holder is None:
            (verdict.booked if _is_booked(journal, each) else verdict.discard).append(each.work)
    return verdict


def _counts(journal: Journal, receipt: BatchReceipt) -> bool:
    volumes = {extent.volume for extent in receipt.extents}
    return not volumes or any(
        extent.volume in volumes
        for span in receipt.spans
        for extent in journal.where(span.directory, span.first)
    )


def _is_booked(journal: Journal, begun: Begun) -> bool:
    return any(extent.volume == begun.volume for extent in journal.where(begun.directory, begun.name))
