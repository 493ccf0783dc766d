"""What every journal promises the coordinator (`ports.Journal`), over both; `tests/journal` has what is of files alone."""

import msgspec
import pytest

from bucketpull.domain.batching import (
    batch_of,
    cut,
    decode_batch,
    decode_parts,
    decode_positions,
    encode_parts,
    ids_of,
    spans_of,
)
from bucketpull.domain.budget import BudgetLeft, Spending
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.messages import BatchReceipt, Handback, ScanReceipt
from bucketpull.domain.model import Extent, Failure, Former, PageRecord, Part, Position, SentWork, WorkKind
from bucketpull.domain.status import VolumeState, VolumeStatus

SIZE = 10
NAMES = [b"n%02d" % number for number in range(12)]
NOW = 1_000.0


def part(*names, directory=b"", cursor=""):
    return Part(directory, cursor, list(names), [SIZE] * len(names), [1] * len(names))


def page(*names, directory=b"", cursor="", digest=b"digest", unchanged=False):
    size = SIZE * len(names)
    return PageRecord(
        directory, cursor, min(names), max(names), digest, len(names), size, unchanged=unchanged
    )


def begin(journal, *names, objects=4):
    """Start a run, and book a listing of the root with these names."""
    assert not journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    receipt = ScanReceipt(scan.id, "lister", pages=[page(*names)], batches=cut([part(*names)], objects))
    assert journal.commit([receipt], NOW) == []


def see(journal, *volumes, state=VolumeState.OPEN):
    """Tell of volumes, each on the machine that it is named after: `m1a` is on m1."""
    journal.see_volumes(
        [VolumeStatus(v, v[:2], f"/{v}", state, 1, 1, 1, 1, 0, 0, 0, 0, 0.0) for v in volumes]
    )


def names_of(work):
    return [name for part in decode_batch(work.body).parts for name in part.names]


def stored(work, volume="m1a", **changes):
    """Say that all of a batch was stored in the block that has the number of its work."""
    count = len(names_of(work))
    extents = [Extent(volume, work.id)]
    return BatchReceipt(work.id, volume[:2], stored=count, bytes=SIZE * count, extents=extents, **changes)


def batches(journal, machine="m1", limit=9, now=NOW, **bounds):
    return journal.claim(WorkKind.BATCH, limit, machine, now, **bounds)


def test_a_run_begins_with_its_root_and_goes_on_while_anything_is_outstanding(journal):
    assert not journal.begin(Position(b"below"), NOW)
    assert journal.begin(Position(b"below"), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "m1", NOW)
    assert decode_positions(scan.body) == [Position(b"below")]
    journal.commit([ScanReceipt(scan.id, "m1")], NOW)
    assert not journal.begin(Position(b"below"), NOW)


@pytest.mark.parametrize(
    ("first", "second", "goes_on"),
    [("a", "a", True), ("a", "b", False), ("a", None, True), (None, "b", True), ("", "b", True)],
)
def test_work_of_another_selection_is_abandoned(journal, first, second, goes_on):
    journal.begin(Position(b""), NOW, first)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    journal.commit(
        [ScanReceipt(scan.id, "lister", pages=[page(*NAMES)], batches=cut([part(*NAMES)], 6))], NOW
    )
    sent = batches(journal, limit=1)

    assert journal.begin(Position(b""), NOW, second) is goes_on

    left = journal.outstanding()
    assert (left.scans, left.batches, left.batches_sent) == ((0, 2, 1) if goes_on else (1, 0, 0))
    late = [] if goes_on else [work.id for work in sent]
    assert journal.commit([stored(work) for work in sent], NOW) == late
    for scan in journal.claim(WorkKind.SCAN, 9, "lister", NOW):
        assert decode_positions(scan.body) == [Position(b"")]  # with no digest: it proves nothing


def test_a_listing_gives_batches_and_positions_in_order(journal):
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "m1", NOW)
    receipt = ScanReceipt(
        scan.id, "m1", pages=[page(*NAMES)], positions=[Position(b"", "next")],
        batches=cut([part(*NAMES)], 4), duplicates=2, retries={"timeout": 3},
    )  # fmt: skip
    assert journal.commit([receipt], NOW) == []
    left, counters = journal.outstanding(), journal.counters()
    assert (left.scans, left.batches, left.objects, left.bytes) == (1, 3, 12, 120)
    assert (counters.listed, counters.listed_bytes, counters.pages, counters.directories) == (12, 120, 1, 1)
    assert (counters.duplicates, counters.retries) == (2, {"timeout": 3})
    assert [names_of(work) for work in batches(journal)] == [NAMES[:4], NAMES[4:8], NAMES[8:]]


def test_what_is_claimed_is_with_that_machine_until_it_is_booked_released_or_handed_back(journal):
    begin(journal, *NAMES)
    first, second = batches(journal, "m1", 2)
    [third] = batches(journal, "m2")
    assert batches(journal) == []
    assert journal.sent() == [
        SentWork(w.id, WorkKind.BATCH, m, 4, 40) for w, m in ((first, "m1"), (second, "m1"), (third, "m2"))
    ]
    journal.release([first.id, 99])
    journal.commit([Handback([second.id], "m1")], NOW)
    assert journal.holders([first.id, second.id, third.id, 99]) == {
        first.id: "",
        second.id: "",
        third.id: "m2",
    }
    assert journal.outstanding().batches_sent == 1
    assert [work.id for work in batches(journal)] == [first.id, second.id]


def test_what_a_machine_hands_back_after_another_was_given_it_stays_with_that(journal):
    begin(journal, *NAMES)
    [work] = batches(journal, "m1", 1)
    journal.release([work.id])
    batches(journal, "m2", 1)
    journal.commit([Handback([work.id], "m1")], NOW)
    assert journal.holders([work.id]) == {work.id: "m2"}


def test_where_all_that_is_left_waits_to_be_tried_again_it_says_until_when(journal):
    begin(journal, *NAMES[:8])
    first, second = batches(journal)
    assert journal.outstanding().again_at == 0
    failed = BatchReceipt(first.id, "m1", deferred=batch_of([part(*NAMES[:4])]), retries={"timeout": 4})
    journal.commit([failed], NOW)
    assert journal.outstanding().again_at == 0, "the second is with a machine"

    journal.commit([stored(second)], NOW)

    due = journal.outstanding().again_at
    assert due > NOW
    assert batches(journal, now=due - 1) == []
    assert len(batches(journal, now=due)) == 1
    assert journal.outstanding().again_at == 0


def test_what_nobody_has_is_given_back_to_the_machine_that_had_begun_it(journal):
    begin(journal, *NAMES)
    first, second, third = batches(journal)
    journal.release([first.id])
    assert [work.id for work in journal.reclaim([first.id, second.id, 99, first.id], "m2")] == [first.id]
    assert journal.holders([first.id, third.id]) == {first.id: "m2", third.id: "m1"}


def test_at_most_so_many_objects_are_given_out_one_batch_cut_if_need_be(journal):
    begin(journal, *NAMES)
    whole, piece = batches(journal, room=BudgetLeft(6))
    assert (names_of(whole), names_of(piece)) == (NAMES[:4], NAMES[4:6])
    assert (journal.outstanding().batches, journal.outstanding().objects) == (4, 12)
    assert batches(journal, room=BudgetLeft(0)) == []
    assert sorted(name for work in batches(journal) for name in names_of(work)) == NAMES[6:]


def test_at_most_so_many_bytes_are_given_out_and_the_object_that_passes_them(journal):
    begin(journal, *NAMES)
    whole, piece = batches(journal, room=BudgetLeft(bytes=45))
    assert (names_of(whole), names_of(piece)) == (NAMES[:4], NAMES[4:5])


def test_a_receipt_counts_once(journal):
    begin(journal, *NAMES[:4])
    [work] = batches(journal)
    assert journal.commit([stored(work)], NOW) == []
    assert journal.commit([stored(work, "m2a")], NOW) == [work.id]
    assert (journal.counters().stored, journal.counters().bytes) == (4, 40)
    assert journal.where(b"", NAMES[0]) == [Extent("m1a", work.id)]
    assert journal.outstanding().batches == 0


def test_a_receipt_that_does_not_add_up_is_refused_and_nothing_of_its_group_is_booked(journal):
    begin(journal, *NAMES[:8])
    first, second = batches(journal)
    with pytest.raises(JournalError, match="does not add up"):
        journal.commit([stored(first), msgspec.structs.replace(stored(second), stored=3)], NOW)
    assert journal.counters().stored == 0
    assert journal.outstanding().batches_sent == 2


def test_what_is_left_of_a_batch_stays_with_its_machine_as_the_next_part(journal):
    begin(journal, *NAMES[:4])
    [work] = batches(journal)
    rest = batch_of([part(*NAMES[1:4])])
    first = BatchReceipt(
        work.id, "m1", stored=1, bytes=10, extents=[Extent("m1a", 1)], remainder=rest, next_part=7
    )
    assert journal.commit([first], NOW) == []
    assert journal.commit([first], NOW) == [work.id]
    assert journal.holders([work.id]) == {work.id: "m1"}
    journal.release([work.id])
    [again] = batches(journal, "m2")
    assert (again.id, again.part, names_of(again)) == (work.id, 7, NAMES[1:4])
    last = msgspec.structs.replace(stored(again, "m2a"), part=7)
    assert journal.commit([last], NOW) == []
    assert (journal.counters().stored, journal.outstanding().batches) == (4, 0)


def test_a_machine_has_a_batch_no_more_that_it_ends_with_a_receipt_which_does_not_count(journal):
    begin(journal, *NAMES[:4])
    [work] = batches(journal)
    late = msgspec.structs.replace(stored(work), part=77)
    assert journal.commit([msgspec.structs.replace(late, machine="m2")], NOW) == [work.id]
    assert journal.holders([work.id]) == {work.id: "m1"}
    assert journal.commit([late], NOW) == [work.id]
    assert journal.holders([work.id]) == {work.id: ""}


def test_each_object_is_counted_where_it_ended(journal):
    begin(journal, *NAMES[:8], objects=8)
    [work] = batches(journal)
    failures = [
        Failure(b"", name, SIZE, 1, "", reason, 3, 404, "") for name, reason in
        ((NAMES[0], Reason.GONE), (NAMES[1], Reason.POISON))
    ]  # fmt: skip
    receipt = BatchReceipt(
        work.id, "m1", stored=2, bytes=20, skipped=3, skipped_bytes=30, failures=failures,
        extents=[Extent("m1a", 1)], returned=batch_of([part(NAMES[7])]), retries={"timeout": 2}, doubts={"checksum": 1},
    )  # fmt: skip
    journal.commit([receipt], NOW)
    found = journal.counters()
    assert (found.stored, found.skipped, found.failed, found.vanished) == (2, 3, 1, 1)
    assert (found.bytes, found.skipped_bytes) == (20, 30)
    assert (found.failures, found.retries, found.doubts) == ({"poison": 1}, {"timeout": 2}, {"checksum": 1})
    [again] = batches(journal)
    assert (names_of(again), again.passes) == ([NAMES[7]], 0)


def test_pages_that_could_not_be_listed_are_counted_beside_objects_and_messages_that_failed_alike(journal):
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "m1", NOW)
    names = NAMES[:2]
    receipt = ScanReceipt(
        scan.id, "m1", pages=[page(*names)], positions=[Position(b"dir")], batches=cut([part(*names)])
    )
    journal.commit([receipt], NOW)
    [scan], [work] = journal.claim(WorkKind.SCAN, 9, "m1", NOW), batches(journal)
    poisoned = Failure(b"", names[0], SIZE, 1, "", Reason.POISON, 3, 0, "")
    unlisted = Failure(b"dir", b"", 0, 0, "", Reason.TIMEOUT, 3, 0, "")
    receipts = [
        BatchReceipt(work.id, "m1", stored=1, bytes=10, failures=[poisoned], extents=[Extent("m1a", 1)]),
        ScanReceipt(scan.id, "m1", failures=[unlisted]),
    ]
    journal.commit(receipts, NOW)
    journal.note_poison(["00aa"])
    found = journal.counters()
    assert (found.failures, found.unlisted) == ({"poison": 2, "timeout": 1}, 1)


def test_what_was_deferred_is_due_later_and_in_the_last_pass_when_nothing_else_is_left(journal):
    begin(journal, *NAMES[:8], objects=8)
    now, attempts = NOW, []
    [work] = batches(journal)
    while True:
        body = decode_batch(work.body).parts
        journal.commit([BatchReceipt(work.id, "m1", deferred=batch_of(body), retries={"timeout": 1})], now)
        if not journal.outstanding().batches:
            break
        if not attempts:
            assert batches(journal, now=now) == []
        now += 3600.0
        [work] = batches(journal, now=now)
        attempts.append(work.passes)
    assert attempts == list(range(1, len(attempts) + 1))
    assert journal.counters().failed == 8
    assert journal.counters().failures == {"timeout": 8}


def test_of_deferred_work_only_so_much_is_given_out_while_there_is_other_work(journal):
    begin(journal, *NAMES, objects=3)
    first, second = batches(journal, limit=2)
    again = [
        BatchReceipt(work.id, "m1", deferred=batch_of(decode_batch(work.body).parts))
        for work in (first, second)
    ]
    journal.commit(again, NOW)
    later = NOW + 3600.0
    found = batches(journal, limit=3, now=later, late=1)
    assert sorted(work.passes for work in found) == [0, 0, 1]


def test_blocks_are_known_by_page_and_by_object(journal):
    begin(journal, *NAMES[:8])
    first, second = batches(journal)
    journal.commit([stored(first), stored(second, "m2a")], NOW)
    whole = spans_of([part(*NAMES[:8])])
    assert journal.holding(whole) == {Extent("m1a", first.id), Extent("m2a", second.id)}
    assert journal.holding(spans_of([part(*NAMES[:4])])) == {Extent("m1a", first.id)}
    assert journal.holding(spans_of([part(b"x", directory=b"unknown")])) is None
    assert journal.where(b"", NAMES[5]) == [Extent("m2a", second.id)]
    assert journal.where(b"unknown", b"x") == []


def run_again(journal, *names, digest=b"other", **fields):
    """Store all of a first run, and list the page once more in a second one."""
    begin(journal, *names)
    see(journal, "m1a", "m2a")
    first, second = batches(journal)
    journal.commit([stored(first, "m1a"), stored(second, "m2a")], NOW)
    assert not journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    assert decode_positions(scan.body) == [Position(b"", digest=b"digest")]
    fresh = [] if fields.get("unchanged") else cut([part(*names)], 4)
    journal.commit(
        [ScanReceipt(scan.id, "lister", pages=[page(*names, digest=digest, **fields)], batches=fresh)], NOW
    )
    return first, second


def test_a_block_of_an_unknown_page_is_kept_and_compared_with_what_stands_in_its_place(journal):
    begin(journal, *NAMES[:4])
    see(journal, "m1a", "m1b")
    [work] = batches(journal)
    journal.commit([stored(work)], NOW)
    other = Extent("m1b", 77)

    for block in (other, Extent("unknown", 7)):
        journal.keep(block, spans_of([part(*NAMES[2:6], cursor="gone")]))

    assert set(journal.where(b"", NAMES[3])) == {Extent("m1a", work.id), other}
    assert not journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    assert decode_positions(scan.body) == [Position(b"")], "without a digest"
    names = NAMES[:4]
    journal.commit([ScanReceipt(scan.id, "lister", pages=[page(*names)], batches=cut([part(*names)]))], NOW)
    [work] = batches(journal)
    assert other in work.candidates


def test_a_page_of_which_a_block_was_kept_is_still_unknown_until_it_is_listed(journal):
    begin(journal, *NAMES[:4])
    see(journal, "m1a")
    spans = spans_of([part(*NAMES[4:6], cursor="gone")])
    journal.keep(Extent("m1a", 77), spans)

    assert journal.holding(spans) is None

    [work] = batches(journal)
    journal.commit([stored(work)], NOW)
    assert not journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    listed = page(*NAMES[4:6], cursor="gone")
    journal.commit(
        [ScanReceipt(scan.id, "lister", pages=[listed], batches=cut([part(*NAMES[4:6], cursor="gone")]))], NOW
    )
    assert journal.holding(spans) == {Extent("m1a", 77)}


def test_in_a_later_run_an_unchanged_page_is_in_place(journal):
    run_again(journal, *NAMES[:8], digest=b"digest", unchanged=True)
    found = journal.counters()
    assert (found.listed, found.skipped, found.skipped_bytes, found.stored) == (8, 8, 80, 0)
    assert journal.outstanding().batches == 0


def test_what_failed_is_tried_again_in_a_later_run_though_its_page_is_as_it_was(journal):
    begin(journal, *NAMES[:4])
    [work] = batches(journal)
    failed = [Failure(b"", name, SIZE, 1, "", Reason.POISON, 3, 0, "") for name in NAMES[:2]]
    journal.commit(
        [BatchReceipt(work.id, "m1", stored=2, bytes=20, failures=failed, extents=[Extent("m1a", 1)])], NOW
    )
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    journal.commit([ScanReceipt(scan.id, "lister", pages=[page(*NAMES[:4], unchanged=True)])], NOW)
    assert (journal.counters().skipped, journal.counters().failures) == (2, {})
    [again] = batches(journal)
    assert names_of(again) == NAMES[:2]


def test_what_is_skipped_has_the_bytes_that_are_known(journal):
    begin(journal, *NAMES[:4])
    [work] = batches(journal)
    failed = [
        Failure(b"", name, size, 1, "", Reason.POISON, 3, 0, "")
        for name, size in ((NAMES[0], SIZE), (NAMES[1], -1))
    ]
    journal.commit(
        [BatchReceipt(work.id, "m1", stored=2, bytes=20, failures=failed, extents=[Extent("m1a", 1)])], NOW
    )
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    listed = msgspec.structs.replace(page(*NAMES[:4], unchanged=True), bytes=3 * SIZE)
    journal.commit([ScanReceipt(scan.id, "lister", pages=[listed])], NOW)
    assert (journal.counters().skipped, journal.counters().skipped_bytes) == (2, 2 * SIZE)


def test_in_a_later_run_work_goes_where_its_objects_may_lie_with_the_blocks_to_compare(journal):
    first, second = run_again(journal, *NAMES[:8])
    [one] = batches(journal, "m1")
    assert (names_of(one), one.candidates, one.elsewhere) == (NAMES[:4], [Extent("m1a", first.id)], False)
    [other] = batches(journal, "m2")
    assert other.candidates == [Extent("m2a", second.id)]


def test_what_is_not_where_it_was_looked_for_is_given_on_without_those_blocks(journal):
    run_again(journal, *NAMES[:8])
    [work] = batches(journal, "m1")
    receipt = BatchReceipt(work.id, "m1", sent_on=batch_of(decode_batch(work.body).parts), compared=["m1a"])
    journal.commit([receipt], NOW)
    found = {tuple(names_of(each)): each.candidates for each in batches(journal, "m2")}
    assert found[tuple(NAMES[:4])] == []


def test_while_nobody_has_any_work_it_says_which_machines_all_of_it_waits_for(journal):
    run_again(journal, *NAMES[:8])
    assert journal.outstanding().waits_for == ["m1", "m2"]
    [work] = batches(journal, "m1")
    assert journal.outstanding().waits_for == []
    journal.commit([stored(work)], NOW)
    assert journal.outstanding().waits_for == ["m2"]
    see(journal, "m2a", state=VolumeState.LOST)
    assert journal.outstanding().waits_for == [], "anybody may have it"


def test_what_is_deferred_and_due_first_may_wait_for_a_machine_too(journal):
    run_again(journal, *NAMES[:8])
    for work in (*batches(journal, "m1"), *batches(journal, "m2")):
        again = BatchReceipt(
            work.id, "m1", deferred=batch_of(decode_batch(work.body).parts), retries={"timeout": 4}
        )
        journal.commit([again], NOW + work.id)
    assert journal.outstanding().waits_for == ["m1"]


def test_what_waits_for_a_machine_that_is_away_anybody_may_do_in_the_end(journal):
    run_again(journal, *NAMES[:8])
    assert batches(journal, "m3") == []
    assert len(batches(journal, "m3", now=NOW + 400.0)) == 2


def test_volumes_are_counted_on_until_they_are_given_up(journal):
    see(journal, "m1a", "m2a")
    assert journal.counted_on() == {"m1a": "/m1a", "m2a": "/m2a"}
    assert journal.machines() == {"m1", "m2"}
    see(journal, "m2a", state=VolumeState.LOST)
    assert journal.counted_on() == {"m1a": "/m1a"}
    assert journal.machines() == {"m1"}


def status(volume, ledger_end):
    machine, path = volume[:2], f"/{volume}"
    return VolumeStatus(
        volume, machine, path, VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0, ledger_end=ledger_end
    )


def test_what_a_volume_lacks_that_was_put_back_from_an_older_copy_is_not_taken_for_unchanged(journal):
    begin(journal, *NAMES[:8])
    first, second = batches(journal)
    journal.commit([stored(first, "m1a"), stored(second, "m1a")], NOW)
    assert journal.doubt_restored([status("m1a", second.id + 1), status("m3a", 0)]) == []
    assert not journal.begin(Position(b""), NOW)

    assert journal.doubt_restored([status("m1a", second.id), status("m2a", 0)]) == ["m1a"]

    assert journal.doubt_restored([status("m1a", second.id)]) == []
    assert journal.where(b"", NAMES[0]) == [Extent("m1a", first.id)]
    assert journal.where(b"", NAMES[4]) == []
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    listed = ScanReceipt(scan.id, "lister", pages=[page(*NAMES[:8])], batches=cut([part(*NAMES[:8])], 4))
    journal.commit([listed], NOW)
    found = {names_of(work)[0]: work.candidates for work in batches(journal)}
    assert found == {NAMES[0]: [Extent("m1a", first.id)], NAMES[4]: []}


def test_copies_that_count_no_more_are_known_until_they_are_removed(journal):
    begin(journal, *NAMES)
    see(journal, "m1a", "m2a")
    body = encode_parts([part(NAMES[0])])
    for work in batches(journal):
        former = [Former("m2a", [work.id], "m1a", body), Former("unknown", [1], "m1a", body)]
        journal.commit([stored(work, former=former)], NOW)
    first, second = journal.former(["m2a", "unknown"], 2)
    assert (first.volume, first.by, first.parts) == ("m2a", "m1a", body)
    journal.forget_former([first.id, second.id])
    assert len(journal.former(["m2a"], 9)) == 1


def test_of_doubles_none_is_to_go_while_the_other_may_be_to_go_itself(journal):
    begin(journal, *NAMES)
    see(journal, "m1a", "m2a")
    body = encode_parts([part(NAMES[0])])
    first, second, third = batches(journal)
    journal.commit([stored(first, former=[Former("m2a", [1], "m1a", body)])], NOW)
    journal.commit([stored(second, former=[Former("m1a", [1], "m2a", body, is_double=True)])], NOW)
    assert journal.former(["m1a"], 9) == []

    journal.forget_former([copy.id for copy in journal.former(["m2a"], 9)])
    journal.commit([stored(third, former=[Former("m1a", [1], "m2a", body, is_double=True)])], NOW)
    assert [copy.by for copy in journal.former(["m1a"], 9)] == ["m2a"]


def test_the_page_of_a_double_that_was_not_noted_is_compared_again_in_the_next_run(journal):
    begin(journal, *NAMES[:8])
    see(journal, "m1a", "m2a")
    first, second = batches(journal)
    own, other = (encode_parts([part(*names_of(work))]) for work in (first, second))
    journal.commit([stored(first, former=[Former("m2a", [1], "m1a", own)])], NOW)
    journal.commit([stored(second, former=[Former("m1a", [1], "m2a", other, is_double=True)])], NOW)

    assert not journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    assert decode_positions(scan.body) == [Position(b"")]
    names = NAMES[:8]
    journal.commit([ScanReceipt(scan.id, "lister", pages=[page(*names)], batches=cut([part(*names)]))], NOW)
    [work] = batches(journal)
    assert work.candidates == [Extent("m1a", 1), Extent("m1a", first.id), Extent("m1a", second.id)]


def test_what_nobody_understands_is_a_failure_and_counts_once(journal):
    journal.begin(Position(b""), NOW)
    journal.note_poison(["00aa", "00bb"])
    journal.note_poison(["00aa"])
    assert journal.counters().failures == {"poison": 2}


def test_what_is_spent_is_kept_over_runs(journal):
    journal.note_spending(Spending(bytes=5))
    journal.begin(Position(b""), NOW)
    assert journal.spending().bytes == 5


def test_a_failure_of_an_object_that_the_batch_does_not_have_costs_no_more_than_itself(journal):
    begin(journal, *NAMES[:4])
    [work] = batches(journal)
    other = Failure(b"elsewhere", b"n", 10, 0, "", Reason.GONE, 1, 404, "")
    assert journal.commit([msgspec.structs.replace(stored(work), stored=3, failures=[other])], NOW) == []
    assert journal.outstanding().batches == 0


def list_two(journal, first=NAMES[:6], second=NAMES[4:]):
    """Start a run, and book a listing of two pages that overlap; return the work of each."""
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    pages = [page(*first), page(*second, cursor="next")]
    new = [*cut([part(*first)]), *cut([part(*second, cursor="next")])]
    journal.commit([ScanReceipt(scan.id, "lister", pages=pages, batches=new)], NOW)
    return batches(journal)


def going(journal, *volumes):
    """Return the copies that are to go: volume, blocks, by which volume they are replaced, names."""
    return [
        (each.volume, each.offsets, each.by, sorted(id_[1] for id_ in ids_of(decode_parts(each.parts))))
        for each in journal.former(volumes, 99)
    ]


def test_of_what_two_batches_stored_that_did_not_know_of_each_other_the_copy_booked_later_stays(journal):
    see(journal, "m1a", "m2a")
    first, second = list_two(journal)
    journal.commit([stored(second, "m2a")], NOW)
    assert (going(journal, "m1a", "m2a"), journal.noted_former()) == ([], 0)

    journal.commit([stored(first, "m1a")], NOW)

    assert going(journal, "m1a", "m2a") == [("m2a", [second.id], "m1a", NAMES[4:6])]
    assert journal.noted_former() == 1


def test_the_page_whose_copies_went_is_compared_in_the_next_run_with_the_blocks_that_have_them(journal):
    see(journal, "m1a", "m2a")
    first, second = list_two(journal)
    journal.commit([stored(first, "m1a"), stored(second, "m2a")], NOW)
    assert going(journal, "m1a", "m2a") == [("m1a", [first.id], "m2a", NAMES[4:6])]
    assert not journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    assert decode_positions(scan.body) == [Position(b"")], "its digest proves nothing"

    listed = page(*NAMES[:6])
    journal.commit([ScanReceipt(scan.id, "lister", pages=[listed], batches=cut([part(*NAMES[:6])]))], NOW)
    [work] = [*batches(journal, "m1"), *batches(journal, "m2")]
    assert work.candidates
    assert work.elsewhere, "one block is on each of the machines"


def test_of_what_was_not_certainly_stored_twice_both_copies_stay(journal):
    see(journal, "m1a", "m2a")
    first, second = list_two(journal)
    journal.commit([stored(first, "m1a")], NOW)
    places = {name: place for place, name in enumerate(names_of(second))}
    [all_of_it] = decode_batch(second.body).parts
    failed = all_of_it.take([places[NAMES[4]]]).failures(Reason.REJECTED, 1, "")
    later = batch_of([all_of_it.take([places[NAMES[5]]])])
    some = BatchReceipt(
        second.id, "m2", stored=6, extents=[Extent("m2a", 1)], failures=failed, deferred=later,
        retries={"timeout": 1},
    )  # fmt: skip
    journal.commit([some], NOW)
    assert going(journal, "m1a", "m2a") == []


@pytest.mark.parametrize(
    ("volumes", "changes"),
    [
        ("m2a m2a", {"skipped": 1, "stored": 7}),  # which ones it had in place is not told
        ("m2a m2b", {}),  # nor what lies where
        ("m1a m1a", {}),  # on the same volume there is one
    ],
)
def test_where_it_is_not_told_what_lies_where_both_copies_stay(journal, volumes, changes):
    see(journal, "m1a", "m2a", "m2b")
    first, second = list_two(journal)
    journal.commit([stored(first, "m1a")], NOW)
    receipt = stored(second, "m2a")
    receipt.extents = [Extent(volume, 70 + place) for place, volume in enumerate(volumes.split())]
    for name, value in changes.items():
        setattr(receipt, name, value)
    journal.commit([receipt], NOW)
    assert going(journal, "m1a", "m2a", "m2b") == []


def test_of_what_more_than_two_pages_may_list_all_copies_stay(journal):
    see(journal, "m1a", "m2a")
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    listed = {"": NAMES[:6], "b": NAMES[4:8], "c": NAMES[5:]}
    pages = [page(*names, cursor=cursor) for cursor, names in listed.items()]
    new = [each for cursor, names in listed.items() for each in cut([part(*names, cursor=cursor)])]
    journal.commit([ScanReceipt(scan.id, "lister", pages=pages, batches=new)], NOW)
    first, second, _ = batches(journal)
    journal.commit([stored(first, "m1a"), stored(second, "m2a")], NOW)
    assert going(journal, "m1a", "m2a") == [("m1a", [first.id], "m2a", [NAMES[4]])]


def test_a_copy_that_may_go_with_an_earlier_one_of_its_volume_goes_with_it(journal):
    """The third page's batch stores on the volume from which the first page's copies are to go: both blocks are to be told apart from what is there."""
    see(journal, "m1a", "m2a")
    journal.begin(Position(b""), NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    pages = [page(*NAMES[:6]), page(*NAMES[4:], cursor="b")]
    new = [*cut([part(*NAMES[:6])]), *cut([part(*NAMES[4:], cursor="b")])]
    further = [Position(b"", "c")]
    journal.commit([ScanReceipt(scan.id, "lister", pages=pages, positions=further, batches=new)], NOW)
    first, second = batches(journal)
    journal.commit([stored(first, "m1a"), stored(second, "m2a")], NOW)
    [scan] = journal.claim(WorkKind.SCAN, 9, "lister", NOW)
    third = part(NAMES[5], cursor="c")
    journal.commit(
        [ScanReceipt(scan.id, "lister", pages=[page(NAMES[5], cursor="c")], batches=cut([third]))], NOW
    )
    [last] = batches(journal)

    journal.commit([stored(last, "m1a")], NOW)

    assert going(journal, "m1a", "m2a") == [
        ("m1a", [first.id], "m2a", NAMES[4:6]),
        ("m1a", [last.id], "m2a", [NAMES[5]]),
    ]


def test_what_a_batch_was_compared_with_is_no_second_copy(journal):
    run_again(journal, *NAMES[:8])
    [work] = batches(journal, "m1")
    assert work.candidates
    journal.commit([stored(work, "m3a")], NOW)
    assert going(journal, "m1a", "m2a", "m3a") == []
