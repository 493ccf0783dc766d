"""Whose copies count, with a real journal."""

import pytest

from bucketpull.coordinator.stale_copies import judge_begun, judge_dropped
from bucketpull.domain.batching import cut
from bucketpull.domain.messages import BatchReceipt, Begun, Discard, ScanReceipt
from bucketpull.domain.model import Extent, PageRecord, Part, Position, VolumeState, VolumeStatus, WorkKind
from bucketpull.journal.sqlite import SqliteJournal

NAMES = [b"n%04d" % number for number in range(2000)]


@pytest.fixture
def journal(tmp_path):
    """A journal with two batches of a page of 2,000 objects, both sent to m1."""
    identity = {"source": "upyun://b", "prefix": "", "style": "", "layout": "key"}
    opened = SqliteJournal.open(tmp_path, "job", identity)
    opened.begin(Position(b""), 1.0)
    [scan] = opened.claim(WorkKind.SCAN, 1, "m0", 1.0)
    page = PageRecord(b"", "", NAMES[0], NAMES[-1], b"digest", 2000, 20_000, unchanged=False)
    drafts = cut([Part(b"", "", NAMES, [10] * 2000, [1] * 2000)])
    opened.commit([ScanReceipt(scan.id, "m0", pages=[page], batches=drafts)], 1.0)
    opened.see_volumes(
        [
            VolumeStatus(
                f"v{number}", f"m{number}", f"/{number}", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0
            )
            for number in (1, 2)
        ]
    )
    opened.claim(WorkKind.BATCH, 2, "m1", 1.0)
    yield opened
    opened.close()


def sent(journal):
    return [work for work, _, _ in journal.sent()]


def receipt(journal, work, machine, offset, start):
    span = Part(b"", "", NAMES[start : start + 1000], [10] * 1000, [1] * 1000)
    from bucketpull.domain.batching import spans_of

    return BatchReceipt(
        work,
        machine,
        stored=1000,
        bytes=10_000,
        spans=spans_of([span]),
        extents=[Extent(f"v{machine[1:]}", offset)],
    )


def test_a_receipt_that_comes_twice_leaves_the_files(journal):
    first, _ = sent(journal)
    told = receipt(journal, first, "m1", 40, 0)
    assert journal.commit([told], 2.0) == []
    assert journal.commit([told], 3.0) == [first]
    assert judge_dropped(journal, told) is None


def test_of_a_batch_done_twice_by_the_same_volume_what_counts_is_kept(journal):
    first, _ = sent(journal)
    journal.commit([receipt(journal, first, "m1", 40, 0)], 2.0)
    discard = judge_dropped(journal, receipt(journal, first, "m1", 900, 0))
    assert discard == Discard(first, [Extent("v1", 900)], kept=[Extent("v1", 40)], part=0)


def test_a_batch_that_another_machine_did_first_is_removed(journal):
    first, _ = sent(journal)
    journal.commit([receipt(journal, first, "m2", 40, 0)], 2.0)
    assert judge_dropped(journal, receipt(journal, first, "m1", 40, 0)) == Discard(
        first, [Extent("v1", 40)], kept=[], part=0
    )


def test_a_receipt_without_copies_removes_nothing(journal):
    first, _ = sent(journal)
    journal.commit([receipt(journal, first, "m2", 40, 0)], 2.0)
    assert judge_dropped(journal, BatchReceipt(first, "m1")) is None


def test_what_is_outstanding_is_undecided_while_the_machine_has_it(journal):
    first, second = sent(journal)
    asked = [Begun(first, "v1", 40, b"", NAMES[0]), Begun(second, "v1", -1)]
    assert judge_begun(journal, "m1", asked) == ([], [], [], [])


def test_what_was_only_begun_is_abandoned_when_another_has_the_work(journal):
    first, second = sent(journal)
    asked = [Begun(first, "v2", 40, b"", NAMES[0]), Begun(second, "v2", -1), Begun(77, "v2", -1)]
    assert judge_begun(journal, "m2", asked) == ([], [], [second, 77], [])


def test_what_nobody_has_goes_back_to_the_machine_that_had_begun_it(journal):
    first, second = sent(journal)
    journal.release([first, second])
    asked = [Begun(first, "v1", 40, b"", NAMES[0]), Begun(second, "v1", -1)]
    assert judge_begun(journal, "m1", asked) == ([], [], [], [first, second])
    assert [work.id for work in journal.reclaim([first, second, first, 77], "m1")] == [first, second]
    assert journal.outstanding().batches_sent == 2
    assert journal.holders([first, second]) == {first: "m1", second: "m1"}
    assert journal.reclaim([first], "m2") == []


def test_what_was_settled_is_booked_or_goes_once_the_work_is_done(journal):
    first, second = sent(journal)
    journal.commit([receipt(journal, first, "m1", 40, 0), receipt(journal, second, "m2", 40, 1000)], 2.0)
    asked = [Begun(first, "v1", 40, b"", NAMES[0]), Begun(second, "v1", 80, b"", NAMES[1000])]
    assert judge_begun(journal, "m1", asked) == (
        [first, second],
        [Discard(second, [Extent("v1", 80)], [])],
        [],
        [],
    )
