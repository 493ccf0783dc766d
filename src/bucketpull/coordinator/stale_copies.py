"""Which of several copies count: a batch may be done twice, and then only one machine's copies may stay. Runs beside the journal."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from bucketpull.domain.messages import BatchReceipt, Begun, Discard
from bucketpull.domain.model import Extent
from bucketpull.ports import Journal


class Verdict(NamedTuple):
    """What a machine is told of its batches, and which it is given `again`; those not named are undecided."""

    booked: list[int]
    discard: list[Discard]
    abandon: list[int]
    again: list[int]


class Answers(NamedTuple):
    """What receipts are answered: by machine the batches that are booked and the copies that must go; `free` is with nobody."""

    booked: dict[str, list[int]]
    discard: dict[str, list[Discard]]
    free: list[int]


def judge_receipts(journal: Journal, receipts: Collection[BatchReceipt], dropped: Collection[int]) -> Answers:
    """Say which batches are through: of others a part is outstanding, which a last receipt that was dropped sets free."""
    answers = Answers({}, {}, [])
    late = [receipt for receipt in receipts if receipt.work in dropped]
    holders = journal.holders([receipt.work for receipt in late]) if late else {}
    for receipt in receipts:
        is_last, is_late = receipt.remainder is None, receipt.work in dropped
        if is_last and holders.get(receipt.work) == receipt.machine:
            answers.free.append(receipt.work)
        if receipt.work not in holders if is_late else is_last:
            answers.booked.setdefault(receipt.machine, []).append(receipt.work)
    for receipt in late:
        gone = judge_dropped(journal, receipt)
        if gone is not None:
            answers.discard.setdefault(receipt.machine, []).append(gone)
    return answers


def judge_dropped(journal: Journal, receipt: BatchReceipt) -> Discard | None:
    """Say which blocks of a receipt that came second must go: all but those on which the journal counts, if it came twice.

    Blocks of earlier runs may be among them: a machine removes none but those of the work itself.
    """
    counted = journal.holding(receipt.spans)
    gone = [extent for extent in receipt.extents if extent not in counted]
    volumes = {extent.volume for extent in gone}
    kept = [extent for extent in counted if extent.volume in volumes]
    return Discard(receipt.work, gone, kept, receipt.part) if gone else None


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
            verdict.booked.append(each.work)
            if not _is_booked(journal, each):
                verdict.discard.append(Discard(each.work, [Extent(each.volume, each.offset)], []))
    return verdict


def _is_booked(journal: Journal, begun: Begun) -> bool:
    """Whether the journal counts on the volume for one of the objects: a block is not known by all of its objects here."""
    return any(extent.volume == begun.volume for extent in journal.where(begun.directory, begun.name))
