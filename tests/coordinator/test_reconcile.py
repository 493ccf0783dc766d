"""Whose copies count."""

import pytest

from bucketpull.coordinator.reconcile import Reconciliation, booked, judge
from bucketpull.domain.batching import cut, spans_of
from bucketpull.domain.messages import BatchReceipt, BatchVerdict, Begun, ScanReceipt
from bucketpull.domain.model import Extent, PageRecord, Part, Position, WorkKind
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.testing.memory_journal import MemoryJournal

NAMES = [b"n%04d" % number for number in range(2000)]


@pytest.fixture
def journal():
    """A journal with two batches of a page of 2,000 objects, both sent to m1."""
    opened = MemoryJournal()
    opened.begin(Position(b""), 1.0)
    [scan] = opened.claim(WorkKind.SCAN, 1, "m0", 1.0)
    page = PageRecord(b"", "", NAMES[0], NAMES[-1], b"digest", 2000, 20_000, unchanged=False)
    batches = cut([Part(b"", "", NAMES, [10] * 2000, [1] * 2000)])
    opened.commit([ScanReceipt(scan.id, "m0", pages=[page], batches=batches)], 1.0)
    opened.see_volumes(
        [
            VolumeStatus(
                f"v{number}", f"m{number}", f"/{number}", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0
            )
            for number in (1, 2)
        ]
    )
    opened.claim(WorkKind.BATCH, 2, "m1", 1.0)
    return opened


def sent(journal):
    return [work.id for work in journal.sent()]


def receipt(work, machine, offset):
    return BatchReceipt(work, machine, stored=1000, bytes=10_000, extents=[Extent(f"v{machine[1:]}", offset)])


def block(work, volume, offset, start=0):
    return Begun(work, volume, offset, spans_of([Part(b"", "", NAMES[start : start + 1000], [], [])]))


def test_a_last_receipt_that_counts_is_booked_and_one_that_came_second_is_not(journal):
    first, second = sent(journal)
    told = [receipt(first, "m1", 40), receipt(second, "m1", 80), receipt(second, "m2", 40)]
    dropped = journal.commit(told, 2.0)
    assert dropped == [second]
    assert booked(told[:2], []) == {"m1": [first, second]}
    assert booked(told[2:], dropped) == {}


def test_what_a_machine_ends_with_a_receipt_that_does_not_count_is_with_nobody(journal):
    first, _ = sent(journal)
    late = receipt(first, "m1", 40)
    late.part = 77
    assert journal.commit([late], 2.0) == [first]
    assert journal.holders([first]) == {first: ""}


def test_of_work_that_somebody_has_nothing_is_said(journal):
    first, second = sent(journal)
    for machine in ("v1", "v2"):
        assert judge(journal, [block(first, machine, 40), Begun(second, machine, -1)]) == Reconciliation(
            [], []
        )


def test_what_nobody_has_goes_back_to_the_machine_that_had_begun_it(journal):
    first, second = sent(journal)
    journal.release([first, second])
    asked = [block(first, "v1", 40), block(first, "v1", 80), Begun(second, "v1", -1)]
    assert judge(journal, asked) == Reconciliation([], [first, second])
    assert [work.id for work in journal.reclaim([first, second, first, 77], "m1")] == [first, second]
    assert journal.outstanding().batches_sent == 2
    assert journal.holders([first, second]) == {first: "m1", second: "m1"}
    assert journal.reclaim([first], "m2") == []


def test_blocks_that_no_receipt_named_do_not_count_and_those_that_one_did_are_kept(journal):
    first, second = sent(journal)
    journal.commit([receipt(first, "m1", 40), receipt(second, "m2", 40)], 2.0)
    asked = [block(first, "v1", 40), block(first, "v1", 900), block(second, "v1", 80, 1000)]
    counted, twice, elsewhere = (Extent("v1", offset) for offset in (40, 900, 80))
    assert judge(journal, asked) == Reconciliation(
        [
            BatchVerdict(first, [counted, twice], [twice], [counted]),
            BatchVerdict(second, [elsewhere], [elsewhere]),
        ],
        [],
    )


def test_of_a_batch_that_was_only_begun_nothing_counts(journal):
    assert judge(journal, [Begun(77, "v2", -1)]) == Reconciliation([BatchVerdict(77)], [])


def test_what_the_journal_knows_nothing_of_stays_and_is_known_then(journal):
    """The source has the page no more: whoever wants such files gone prunes. Listed on another page, they lie there."""
    gone = Begun(77, "v1", 40, spans_of([Part(b"gone", "", [b"n"], [], [])]))
    for _ in range(2):
        assert judge(journal, [gone]) == Reconciliation([BatchVerdict(77, [Extent("v1", 40)])], [])
    assert journal.where(b"gone", b"n") == [Extent("v1", 40)]


def of_page(cursor, offset, name=b"n", work=77):
    return Begun(work, "v1", offset, spans_of([Part(b"gone", cursor, [name], [], [])]))


def test_all_blocks_of_pages_that_the_journal_does_not_know_stay(journal):
    blocks = [of_page("", 40, b"a"), of_page("", 80, b"b"), of_page("", 90, b"c", work=78)]
    extents = [Extent("v1", offset) for offset in (40, 80, 90)]
    assert judge(journal, blocks) == Reconciliation(
        [BatchVerdict(77, extents[:2]), BatchVerdict(78, extents[2:])], []
    )
    assert [journal.where(b"gone", name) for name in (b"a", b"b", b"c")] == [[each] for each in extents]


def test_an_unknown_page_says_nothing_of_the_other_blocks_of_its_batch(journal):
    first, _ = sent(journal)
    journal.commit([receipt(first, "m1", 40)], 2.0)
    asked = [block(first, "v1", 40), of_page("", 80, work=first), block(first, "v1", 90)]
    counted, unknown, twice = (Extent("v1", offset) for offset in (40, 80, 90))
    assert judge(journal, asked).verdicts == [
        BatchVerdict(first, [counted, unknown, twice], [twice], [counted])
    ]


def test_the_journal_is_asked_once_a_batch_however_many_blocks_it_has(journal, monkeypatch):
    first, second = sent(journal)
    journal.commit([receipt(first, "m1", 40), receipt(second, "m1", 50)], 2.0)
    asked_for = []
    monkeypatch.setattr(
        journal, "holding", lambda spans, holding=journal.holding: asked_for.append(spans) or holding(spans)
    )
    blocks = [block(first, "v1", offset) for offset in range(40, 90)]
    [verdict, _] = judge(journal, [*blocks, block(second, "v1", 50, 1000)]).verdicts
    assert [len(spans) for spans in asked_for] == [1, 1]
    assert verdict.gone == verdict.judged[1:], "all but the one that a receipt named"
    assert verdict.kept == [Extent("v1", 40)], "once, not once for each that is gone"
