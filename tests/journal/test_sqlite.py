"""The verbs of the journal, one by one."""

import shutil

import msgspec
import pytest

from bucketpull.domain.batching import batch_of, decode_batch, decode_positions, encode_batch, encode_parts
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.messages import BatchReceipt, Handback, ScanReceipt
from bucketpull.domain.model import Extent, Former, Part, Position, WorkKind
from bucketpull.domain.order import Order
from bucketpull.domain.retry import PAGE_PASSES, PASSES
from bucketpull.domain.status import VolumeState
from bucketpull.journal.sqlite_journal import ABSENT_SECONDS
from bucketpull.journal.volume_numbers import KnownVolume


def test_a_new_journal_begins_with_the_root(play):
    assert play.begin() is False

    (work,) = play.claim(WorkKind.SCAN)
    assert decode_positions(work.body) == [Position(b"")]
    assert (play.journal.outstanding().scans, play.journal.outstanding().scans_sent) == (1, 1)


def test_an_unfinished_run_goes_on(play):
    play.begin()
    play.journal.close()
    play.open()

    assert play.begin() is True
    assert len(play.claim(WorkKind.SCAN)) == 1


def test_a_journal_that_was_put_back_from_a_backup_gives_no_id_again_that_it_gave_since(play, tmp_path):
    play.put(b"", b"a", b"b")
    play.begin()
    play.journal.close()
    shutil.copytree(play.folder, tmp_path / "backup")
    given = []
    for _ in range(2):
        play.now += 1
        play.open()
        play.begin()
        play.scan()
        given.append({work.id for work in play.claim(WorkKind.BATCH)})
        play.journal.close()
        shutil.rmtree(play.folder)
        shutil.copytree(tmp_path / "backup", play.folder)
    play.open()

    assert all(given)
    assert given[0].isdisjoint(given[1])


def test_a_finished_job_lists_again(play):
    play.put(b"", b"a")
    play.run()

    assert play.begin() is False
    assert [run.id for run in play.journal.runs()] == [2, 1]
    assert play.journal.counters().listed == 0


def test_a_receipt_brings_its_new_work_and_the_counters_at_once(play):
    play.put(b"", b"a", b"b")
    play.put(b"sub")
    play.begin()

    play.scan()

    outstanding, counters = play.journal.outstanding(), play.journal.counters()
    assert (outstanding.scans, outstanding.batches, outstanding.objects, outstanding.bytes) == (1, 1, 2, 20)
    assert (counters.listed, counters.pages, counters.directories, counters.listed_bytes) == (2, 1, 1, 20)


def test_only_the_first_receipt_for_a_work_counts(play):
    play.put(b"", b"a")
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    receipt = play.scanned(work)

    assert play.journal.commit([receipt, receipt], play.now) == [work.id]
    assert play.journal.commit([receipt], play.now) == [work.id]
    assert play.journal.counters().listed == 1


def test_a_late_receipt_counts_although_the_work_was_given_to_another(play):
    play.put(b"", b"a")
    play.begin()
    play.scan()
    (first,) = play.claim(WorkKind.BATCH)
    play.journal.release([first.id])
    (second,) = play.journal.claim(WorkKind.BATCH, 1, "there", play.now)

    assert second.id == first.id
    assert play.journal.commit([play.drained(first)], play.now) == []
    assert play.journal.commit([play.drained(second)], play.now) == [second.id]
    assert play.balanced()


def _part(play, work, *, left):
    """Report a batch as stored, but for some objects at its end."""
    (part,) = decode_batch(work.body).parts
    rest = part.take(range(len(part.names) - left, len(part.names)))
    receipt = play.drained(
        msgspec.structs.replace(work, body=encode_batch(batch_of([part.take(range(len(part.names) - left))])))
    )
    receipt.part = work.part
    receipt.remainder, receipt.next_part = batch_of([rest]), 7
    return receipt


def test_a_batch_is_booked_in_parts_and_what_is_left_stays_with_its_machine(play):
    play.put(b"", *(b"n%d" % number for number in range(5)))
    play.begin()
    play.scan()
    (work,) = play.claim(WorkKind.BATCH)
    assert play.journal.commit([_part(play, work, left=2)], play.now) == []

    assert play.journal.counters().stored == 3
    assert (play.journal.outstanding().objects, play.journal.outstanding().batches_sent) == (2, 1)
    assert [msgspec.structs.astuple(sent)[:4] for sent in play.journal.sent()] == [
        (work.id, WorkKind.BATCH, play.machine, 2)
    ]
    assert play.claim(WorkKind.BATCH) == []
    play.journal.release([work.id])
    (rest,) = play.claim(WorkKind.BATCH)
    assert (rest.id, rest.part, decode_batch(rest.body).parts[0].names) == (work.id, 7, [b"n3", b"n4"])
    last = play.drained(rest)
    last.part = 7
    last.recovered, last.recovered_bytes = 1, last.bytes - 1
    before = play.journal.counters().bytes
    assert play.journal.commit([last], play.now) == []
    assert play.journal.counters().fetched == (4, before + 1)
    assert play.journal.outstanding().batches == 0
    assert play.balanced()


def test_each_part_of_a_batch_counts_once_whoever_did_it(play):
    play.put(b"", *(b"n%d" % number for number in range(5)))
    play.begin()
    play.scan()
    (work,) = play.claim(WorkKind.BATCH)
    part, whole = _part(play, work, left=2), play.drained(work)
    rest = play.drained(msgspec.structs.replace(work, body=encode_batch(part.remainder)))

    assert play.journal.commit([part, part, whole, rest], play.now) == [work.id] * 3
    other = msgspec.structs.replace(
        rest, part=8
    )  # the rest of another machine, whose first part did not count
    assert play.journal.commit([other], play.now) == [work.id]
    rest.part = 7
    assert play.journal.commit([rest, rest, whole], play.now) == [work.id] * 2
    assert play.journal.counters().stored == 5
    assert play.balanced()


def test_deferred_work_comes_first_but_never_alone_while_there_is_other_work(play):
    play.put(b"", *(b"n%04d" % number for number in range(3000)))
    play.outcomes = {b"n%04d" % number: "deferred" for number in range(0, 3000, 10)}
    play.begin()
    play.scan()
    early = play.claim(WorkKind.BATCH, 2)
    play.journal.commit([play.drained(work) for work in early], play.now)
    play.now += PASSES[0]

    first = play.journal.claim(WorkKind.BATCH, 2, "here", play.now, late=1)
    assert [work.passes for work in first] == [1, 0]
    second = play.journal.claim(WorkKind.BATCH, 2, "here", play.now, late=0)
    assert [work.passes for work in second] == [1]


def test_what_is_handed_back_is_ready_again_and_counts_nothing(play):
    play.put(b"", b"a")
    play.begin()
    play.scan()
    (work,) = play.claim(WorkKind.BATCH)

    play.journal.commit([Handback([work.id, 999], "here")], play.now)

    assert play.journal.outstanding().batches_sent == 0
    assert [again.id for again in play.claim(WorkKind.BATCH)] == [work.id]
    assert play.balanced()


def test_work_is_given_once_oldest_first(play):
    play.put(b"", b"a")
    for number in range(5):
        play.put(b"%d" % number)
    play.begin()
    play.scan()

    first, second = play.claim(WorkKind.SCAN, 2), play.claim(WorkKind.SCAN, 100)

    ids = [work.id for work in first + second]
    assert len(ids) == 5
    assert ids == sorted(set(ids))
    assert play.claim(WorkKind.SCAN) == []


def test_work_of_the_prefix_that_was_asked_for_comes_first(play):
    play.journal.close()
    play.open(order=Order("", (b"late/",)))
    play.put(b"")
    for directory in (b"early", b"late", b"late/sub", b"other"):
        play.put(directory, b"x")
    play.begin()
    play.scan()

    listed = [[p.directory for p in decode_positions(work.body)] for work in play.claim(WorkKind.SCAN, 1)]

    assert listed == [[b"late"]]


def test_batches_of_the_newest_objects_come_first_however_late_they_were_listed(play):
    play.journal.close()
    play.open(order=Order("newest"))
    play.put(b"")
    for number, directory in enumerate((b"a", b"b", b"c")):
        play.put(directory, b"x", mtime=[5, 9, 7][number] * 86_400)
    play.begin()
    play.scan(), play.scan()

    (work,) = play.claim(WorkKind.BATCH, 1)

    assert decode_batch(work.body).parts[0].directory == b"b"


def test_sent_work_is_known_after_a_crash_and_stays_sent_until_it_is_released(play):
    play.put(b"", b"a")
    play.begin()
    play.scan()
    (work,) = play.claim(WorkKind.BATCH)
    play.crash()
    play.open()

    assert [msgspec.structs.astuple(sent)[:4] for sent in play.journal.sent()] == [
        (work.id, WorkKind.BATCH, "here", 1)
    ]
    assert play.claim(WorkKind.BATCH) == []

    play.journal.release([work.id])
    assert [again.id for again in play.claim(WorkKind.BATCH)] == [work.id]


def test_an_id_is_never_used_again(play):
    play.put(b"", b"a")
    play.begin()
    (first,) = play.claim(WorkKind.SCAN)
    play.journal.commit([play.scanned(first)], play.now)
    play.finish()
    play.journal.close()
    play.open()

    play.begin()
    (second,) = play.claim(WorkKind.SCAN)
    assert second.id > first.id + 1


def test_a_receipt_that_does_not_add_up_is_refused_with_all_that_came_with_it(play):
    play.put(b"", b"a", b"b")
    play.begin()
    play.scan()
    (work,) = play.claim(WorkKind.BATCH)

    with pytest.raises(
        JournalError, match=rf"batch {work.id} from here does not add up: 1 stored, .* of 2 objects"
    ):
        play.journal.commit([BatchReceipt(work.id, "here", stored=1)], play.now)
    assert play.journal.outstanding().batches_sent == 1
    assert play.journal.commit([play.drained(work)], play.now) == []


def test_objects_put_off_are_due_by_the_table_and_at_last_when_nothing_else_is_outstanding(play):
    play.put(b"", b"a", b"b")
    play.put(b"sub", b"c")
    play.outcomes = {b"a": "deferred"}
    play.begin()
    (root,) = play.claim(WorkKind.SCAN)
    play.journal.commit([play.scanned(root)], play.now)
    (other,) = play.claim(WorkKind.SCAN)

    for delay in PASSES[:-1]:
        play.drain()
        play.now += delay - 1
        assert play.claim(WorkKind.BATCH) == []
        play.now += 1
    play.drain()
    assert play.claim(WorkKind.BATCH) == []

    play.journal.commit([play.scanned(other)], play.now)
    (usual,) = play.claim(WorkKind.BATCH)
    play.journal.commit([play.drained(usual)], play.now)
    (last,) = play.claim(WorkKind.BATCH)
    assert last.passes == len(PASSES)
    assert play.balanced()


def test_what_is_put_off_in_the_last_pass_has_failed(play):
    play.put(b"", b"a", b"b")
    play.outcomes = {b"a": "deferred"}
    play.begin()
    for _ in range(10):
        play.finish()
        play.now += 1000

    (failure,) = play.journal.failures()
    assert (failure.name, failure.attempts) == (b"a", len(PASSES) + 1)
    assert (play.journal.counters().failed, play.journal.counters().stored) == (1, 1)
    assert play.journal.outstanding().batches == 0


def test_what_was_returned_is_work_at_once_and_no_attempt_older(play):
    play.put(b"", b"a", b"b")
    play.outcomes = {b"a": "returned"}
    play.begin()
    play.scan()
    play.drain()

    (work,) = play.claim(WorkKind.BATCH)
    assert (work.passes, decode_batch(work.body).parts[0].names) == (0, [b"a"])
    assert play.balanced()


def test_a_page_that_failed_is_tried_again_later_and_is_not_given_up_by_the_journal(play):
    play.begin()
    for passes in range(1, len(PAGE_PASSES)):
        (work,) = play.claim(WorkKind.SCAN)
        position = Position(b"", passes=passes)
        receipt = ScanReceipt(work.id, "here", positions=[position], retries={"timeout": 3})
        play.journal.commit([receipt], play.now)
        play.now += PAGE_PASSES[passes - 1] - 1
        assert play.claim(WorkKind.SCAN) == []
        play.now += 1
    (work,) = play.claim(WorkKind.SCAN)
    assert work.passes == len(PAGE_PASSES) - 1


def test_failures_are_kept_with_all_that_is_known_and_vanished_objects_are_none(play):
    play.put(b"x", b"a", b"b", b"c")
    play.outcomes = {b"a": Reason.FORBIDDEN, b"b": Reason.GONE}
    play.run()

    (failure,) = play.journal.failures()
    assert (failure.directory, failure.name, failure.reason) == (b"x", b"a", Reason.FORBIDDEN)
    assert (failure.size, failure.status, failure.detail, failure.attempts) == (10, 403, "no", 1)
    counters = play.journal.counters()
    assert (counters.stored, counters.failed, counters.vanished) == (1, 1, 1)
    assert counters.failures == {"forbidden": 1}


def test_an_unchanged_page_makes_no_work(play):
    play.put(b"", b"a", b"b")
    play.put(b"sub", b"c")
    play.run()

    play.run()

    counters = play.journal.counters()
    assert play.fetched == []
    assert (counters.listed, counters.skipped, counters.skipped_bytes, counters.stored) == (3, 3, 30, 0)
    assert play.journal.where(b"sub", b"c") == [Extent("v1", 1)]


def test_objects_that_are_not_wanted_count_once_although_their_page_is_listed_twice(play):
    play.put(b"sub", b"a", b"b")
    play.put(b"")
    play.excluded[b"sub"] = 3
    play.run()
    assert (play.journal.counters().listed, play.journal.counters().excluded) == (5, 3)
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    receipt = play.scanned(work)
    receipt.positions *= 2
    play.journal.commit([receipt], play.now)

    play.finish()

    counters = play.journal.counters()
    assert (counters.listed, counters.excluded, counters.skipped) == (5, 3, 2)
    assert play.balanced()


def test_an_unchanged_page_that_is_listed_twice_in_a_run_keeps_its_row(play):
    play.put(b"sub", b"a", b"b")
    play.put(b"")
    play.run()
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    receipt = play.scanned(work)
    receipt.positions *= 2
    play.journal.commit([receipt], play.now)

    while play.scan():
        pass

    counters = play.journal.counters()
    assert (counters.listed, counters.skipped, counters.pages) == (2, 2, 2)
    assert play.journal.where(b"sub", b"a") == [Extent("v1", 0)]


def test_of_an_unchanged_page_only_what_failed_is_tried_again(play):
    play.put(b"", b"a", b"b", b"c")
    play.outcomes = {b"b": Reason.FORBIDDEN}
    play.run()
    play.outcomes = {}

    play.run()

    counters = play.journal.counters()
    assert play.fetched == [b"b"]
    assert (counters.listed, counters.skipped, counters.stored, counters.failed) == (3, 2, 1, 0)
    assert not list(play.journal.failures())


def test_a_page_of_which_something_had_vanished_is_compared_although_it_is_unchanged(play):
    play.put(b"", b"a", b"b")
    play.outcomes = {b"b": Reason.GONE}
    play.run()
    play.outcomes = {}

    play.run()

    assert play.fetched == [b"b"]
    assert (play.journal.counters().skipped, play.journal.counters().stored) == (1, 1)


def test_a_changed_page_is_compared_with_what_lies_on_volumes(play):
    play.put(b"", b"a", b"b")
    play.run()
    play.put(b"", b"b", mtime=1_700_000_000)
    play.put(b"", b"c")

    play.run()

    assert sorted(play.fetched) == [b"b", b"c"]
    assert play.journal.counters().skipped == 1
    assert play.journal.where(b"", b"b")[0] == Extent("v1", 1)


def test_work_with_candidates_goes_to_the_machine_that_has_them(play):
    play.put(b"", b"a")
    play.run()
    play.put(b"", b"b")
    play.begin()
    play.scan()

    assert play.journal.claim(WorkKind.BATCH, 5, "elsewhere", play.now) == []
    (work,) = play.claim(WorkKind.BATCH)
    assert work.candidates == [Extent("v1", 0)]


def test_work_of_a_machine_that_stays_away_goes_to_anybody(play):
    play.put(b"", b"a")
    play.run()
    play.put(b"", b"b")
    play.begin()
    play.scan()

    assert play.journal.claim(WorkKind.BATCH, 5, "elsewhere", play.now) == []
    play.now += ABSENT_SECONDS + 1
    assert len(play.journal.claim(WorkKind.BATCH, 5, "elsewhere", play.now)) == 1


def test_what_a_clock_put_off_that_was_far_ahead_is_due_when_it_is_set_back(play):
    play.put(b"", b"a")
    play.begin()
    play.scan()
    right = play.now
    play.now += 400 * 86_400.0
    (work,) = play.claim(WorkKind.BATCH)
    body = batch_of([play.part(b"")])
    play.journal.commit([BatchReceipt(work.id, play.machine, deferred=body)], play.now)
    play.claim(WorkKind.BATCH)
    play.now = right
    assert len(play.claim(WorkKind.BATCH)) == 1


def test_work_waits_for_a_machine_that_would_take_it_however_long_nobody_was_given_any(play):
    """As after a pause, at the end of a day's budget, or when the coordinator's clock jumps."""
    play.put(b"", b"a")
    play.run()
    play.put(b"", b"b")
    play.begin()
    play.scan()

    assert play.journal.claim(WorkKind.BATCH, 5, "elsewhere", play.now) == []
    play.now += ABSENT_SECONDS + 1
    takers = ["elsewhere", play.machine]
    assert play.journal.claim(WorkKind.BATCH, 5, "elsewhere", play.now, takers=takers) == []
    assert len(play.claim(WorkKind.BATCH)) == 1


def test_a_machine_takes_its_own_work_before_that_of_anybody(play):
    play.put(b"", b"a")
    play.put(b"new", b"n")
    del play.bucket[b"new"]
    play.run()
    play.put(b"new", b"n")
    play.put(b"", b"b")
    play.begin()
    play.scan()
    play.scan()

    works = play.claim(WorkKind.BATCH)
    assert [bool(work.candidates) for work in works] == [True, False]


def test_a_first_run_looks_nothing_up_that_only_an_earlier_one_can_have_left(play):
    play.put(b"", b"a", b"b")
    for number in range(100):
        play.put(b"%d" % number)
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    receipt = play.scanned(work)
    asked = []
    play.journal._tables.connection.sqlite.set_trace_callback(asked.append)

    play.journal.commit([receipt], play.now)

    play.journal._tables.connection.sqlite.set_trace_callback(None)
    assert len([sql for sql in asked if "from page" in sql]) == 1  # the listed page itself
    assert not [sql for sql in asked if "from failure" in sql]


def test_many_small_directories_share_a_scan(play):
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    positions = [Position(b"%06d" % number) for number in range(50_000)]

    play.journal.commit([ScanReceipt(work.id, "here", positions=positions)], play.now)

    assert play.journal.outstanding().scans == -(-50_000 // 64)


def test_volumes_become_known_by_receipts_and_by_pulses(play):
    play.put(b"", b"a")
    play.run()

    (volume,) = play.journal.volumes()
    assert (volume.id, volume.machine, volume.state) == ("v1", "here", "open")


def test_the_end_of_a_run_is_noted(play):
    play.run()
    play.journal.end("complete", 2000.0, '{"complete": true}')

    (run,) = play.journal.runs()
    assert (run.started, run.ended, run.state, run.summary) == (
        1000.0,
        2000.0,
        "complete",
        '{"complete": true}',
    )


def _stored_with(play, *former):
    """Book a batch whose receipt tells of copies that count no more."""
    play.put(b"", b"a")
    play.begin()
    play.scan()
    (work,) = play.claim(WorkKind.BATCH)
    receipt = play.drained(work)
    receipt.former = list(former)
    assert play.journal.commit([receipt], play.now) == []


def test_copies_that_count_no_more_are_known_until_they_are_removed(play):
    play.journal.record_volumes([KnownVolume("v2", "here", "/v2", VolumeState.OPEN)])
    _stored_with(play, Former("v2", [7, 9], "v1", b"parts"))
    play.journal.close()
    play.open()

    (copy,) = play.journal.former(["v1", "v2", "unknown"], 10)
    assert (copy.volume, copy.offsets, copy.by, copy.parts) == ("v2", [7, 9], "v1", b"parts")
    play.journal.forget_former([copy.id])
    assert play.journal.former(["v2"], 10) == []


@pytest.mark.parametrize("column", ["offsets", "parts"])
@pytest.mark.parametrize("lost", ["v1", "v2"])
def test_a_former_copy_that_was_damaged_is_not_removed_for_it_may_be_another_by_now(play, column, lost):
    play.journal.record_volumes([KnownVolume("v2", "here", "/v2", VolumeState.OPEN)])
    parts = [[Part(b"d", "", [name], [1], [1])] for name in (b"img-001.jpg", b"img-005.jpg")]
    _stored_with(play, *(Former("v2", [8], "v1", encode_parts(each)) for each in parts))
    connection = play.journal._tables.connection.sqlite
    ((kept, id_),) = connection.execute(f"select {column}, id from former order by id limit 1").fetchall()
    flipped = kept.replace(b"\x08", b"\x09").replace(b"img-001", b"img-003")
    assert flipped != kept
    connection.execute(f"update former set {column} = ? where id = ?", (flipped, id_))

    (copy,) = play.journal.former(["v2"], 10)

    assert b"img-005" in copy.parts
    play.journal.lose(lost)
    assert play.journal.former(["v1", "v2"], 10) == []


@pytest.mark.parametrize("lost", ["v1", "v2"])
def test_what_may_be_the_only_copy_left_is_not_removed(play, lost):
    play.journal.record_volumes([KnownVolume("v2", "here", "/v2", VolumeState.OPEN)])
    _stored_with(play, Former("v2", [7], "v1", encode_parts([])))

    play.journal.lose(lost)

    assert play.journal.former(["v1", "v2"], 10) == []


def test_a_run_that_goes_on_has_not_ended(play):
    play.begin()
    play.journal.end("interrupted", 2000.0)
    play.begin()

    (run,) = play.journal.runs()
    assert (run.state, run.ended) == ("running", None)


def test_closing_twice_is_closing_once(play):
    play.journal.close()
    play.journal.close()
