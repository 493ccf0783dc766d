"""What commands do to a journal: retry, lose, repair, rebuild, and what the end of a run forgets."""

import pytest
from tests.journal.conftest import extents_of, record_of

from bucketpull.domain.batching import batch_of, cut, decode_batch, decode_positions
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import Extent, Failure, Former, PageRecord, Part, Position, WorkKind
from bucketpull.domain.record import Record
from bucketpull.domain.selection import EVERYTHING
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits, Steering
from bucketpull.journal.volume_numbers import KnownVolume


def with_failures(play):
    play.put(b"x", b"a.jpg", b"b.png", b"good")
    play.put(b"y/z", b"c.jpg", b"d.jpg")
    play.put(b"y")
    play.outcomes = {
        b"a.jpg": Reason.FORBIDDEN,
        b"b.png": Reason.SIZE,
        b"c.jpg": Reason.SIZE,
        b"d.jpg": Reason.SIZE,
    }
    play.run()
    play.outcomes = {}


# Retry


def test_all_failures_become_work(play):
    with_failures(play)

    assert play.journal.retry() == 4
    assert play.balanced()
    assert play.begin() is True
    play.finish()

    counters = play.journal.counters()
    assert (counters.listed, counters.stored, counters.failed, counters.failures) == (5, 5, 0, {})
    assert sorted(play.fetched) == [b"a.jpg", b"b.png", b"c.jpg", b"d.jpg", b"good"]


@pytest.mark.parametrize(
    ("reason", "pattern", "names"),
    [
        (Reason.FORBIDDEN, None, {b"a.jpg"}),
        (None, "*.jpg", {b"a.jpg", b"c.jpg", b"d.jpg"}),
        (Reason.SIZE, "y/*", {b"c.jpg", b"d.jpg"}),
        (Reason.SIZE, "x/a*", set()),
    ],
)
def test_failures_are_chosen_by_reason_and_pattern(play, reason, pattern, names):
    with_failures(play)
    play.fetched = []

    assert {failure.name for failure in play.journal.failures(reason=reason, pattern=pattern)} == names
    assert play.journal.retry(reason, pattern) == len(names)
    play.finish()

    assert set(play.fetched) == names
    assert play.journal.counters().failed == 4 - len(names)
    assert play.balanced()


def test_failures_are_listed_in_order(play):
    with_failures(play)

    keys = [(failure.directory, failure.name) for failure in play.journal.failures()]
    assert keys == [(b"x", b"a.jpg"), (b"x", b"b.png"), (b"y/z", b"c.jpg"), (b"y/z", b"d.jpg")]


def test_thousands_of_failures_are_retried_in_steps(play):
    names = [b"%05d" % number for number in range(2500)]
    play.put(b"", *names)
    play.outcomes = dict.fromkeys(names, Reason.FORBIDDEN)
    play.run()

    assert play.journal.retry() == 2500
    assert play.journal.outstanding().objects == 2500
    assert not list(play.journal.failures())


def test_a_directory_that_could_not_be_listed_is_a_failure_and_is_listed_again_by_a_retry(play):
    play.put(b"x", b"a")
    play.unlisted = {b"x"}
    play.run()
    (failure,) = play.journal.failures()
    assert (failure.directory, failure.name) == (b"x", b"")
    assert play.journal.listing_failed()
    assert (play.journal.counters().failed, play.journal.counters().unlisted) == (0, 1)
    play.unlisted = set()

    assert play.journal.retry() == 1
    play.finish()

    assert play.fetched == [b"a"]
    assert play.journal.counters().unlisted == 0
    assert not play.journal.listing_failed()


def test_a_page_that_failed_before_such_were_counted_hides_no_later_one(play):
    """The sums of an older journal do not tell how many of its failures are pages."""
    play.put(b"x", b"a")
    play.unlisted = {b"x"}
    play.run()
    play.journal._tables.books.unlisted = 0

    assert play.journal.retry() == 1
    assert play.journal.counters().unlisted == 0
    play.finish()

    assert play.journal.counters().unlisted == 1


def test_a_range_that_could_not_be_listed_is_listed_again_as_a_range(play):
    play.begin()
    (root,) = play.claim(WorkKind.SCAN)
    ranged = Position(b"", "from-here", "up to there")
    play.journal.commit([ScanReceipt(root.id, "here", positions=[ranged])], play.now)
    (work,) = play.claim(WorkKind.SCAN)
    from_here = Part(b"", "from-here", [], [], [])
    play.journal.commit([ScanReceipt(work.id, "here", failures=[failure_of(from_here)])], play.now)

    play.journal.retry()

    (again,) = play.claim(WorkKind.SCAN)
    assert position_of(again) == ranged


def test_a_page_that_is_retried_while_it_is_listed_anew_is_counted_once(play):
    play.put(b"x", b"a", b"b")
    play.begin()
    (root,) = play.claim(WorkKind.SCAN)
    found = ScanReceipt(root.id, "here", positions=[Position(b"x")], failures=[failure_of(play.part(b"x"))])
    play.journal.commit([found], play.now)
    play.journal.retry()
    works = play.claim(WorkKind.SCAN)
    assert [position_of(work).directory for work in works] == [b"x", b"x"]

    for work in works:
        play.journal.commit([play.scanned(work)], play.now)

    assert play.journal.outstanding().objects == play.journal.counters().listed == 2


# A lost volume


def test_of_a_lost_volume_exactly_what_it_held_is_fetched_again(play):
    for number in range(5):
        play.put(b"one%d" % number, b"a%d" % number, b"b%d" % number)
    play.run()
    play.volume = "v2"
    for number in range(5):
        play.put(b"two%d" % number, b"c%d" % number)
    play.run()
    play.fetched, play.listed, play.volume = [], [], "v3"

    assert play.journal.lose("v1") == 5
    assert play.begin() is True
    play.finish()

    assert sorted(play.fetched) == sorted([b"a%d" % n for n in range(5)] + [b"b%d" % n for n in range(5)])
    assert sorted(play.listed) == [b"one%d" % n for n in range(5)]
    (extent,) = play.journal.where(b"one3", b"a3")
    assert extent.volume == "v3"
    assert play.balanced()
    assert play.journal.counters().listed == 15


def test_bytes_of_a_page_that_is_listed_again_for_a_lost_volume_count_once(play):
    play.put(b"", b"a", b"b")
    play.put(b"skipped", b"c")
    play.run()
    assert play.journal.counters().bytes == play.journal.counters().listed_bytes > 0

    for volume in ("v1", "v2", "v3"):
        play.volume = "v" + str(int(volume[1]) + 1)
        play.journal.lose(volume)
        play.begin()
        play.finish()

        books = play.journal.counters()
        assert books.bytes + books.skipped_bytes == books.listed_bytes


def test_what_a_scan_gives_back_is_listed_also_where_its_pages_were_booked_before(play):
    directories = [b"%03d" % number for number in range(300)]
    for directory in directories:
        play.put(directory, b"of " + directory)
    play.run()
    play.asked, play.volume = 1, "v2"
    play.fetched, play.listed = [], []

    play.journal.lose("v1")
    play.finish()

    assert sorted(play.listed) == directories
    assert sorted(play.fetched) == [b"of " + directory for directory in directories]
    assert play.balanced()
    assert play.journal.counters().stored == 300


def test_of_a_page_on_two_volumes_only_the_lost_part_is_fetched_again(play):
    play.put(b"", b"a", b"b")
    play.run()
    play.volume = "v2"
    play.put(b"", b"c")
    play.run()
    play.fetched = []

    play.journal.lose("v2")
    play.volume = "v1"
    play.finish()

    assert play.fetched == [b"c"]
    assert play.journal.counters().skipped == 2


def test_what_a_volume_lacks_that_was_put_back_from_an_older_copy_is_fetched_though_its_page_was_listed_before(
    play,
):
    play.put(b"one", b"a")
    play.run()
    end = len(play.blocks["v1"])
    play.put(b"two", b"b")
    play.run()
    play.fetched, play.listed = [], []
    del play.blocks["v1"][end:]

    older = VolumeStatus("v1", "here", "/v1", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 1, 1, 0.0, ledger_end=end)
    assert play.journal.doubt_restored([older]) == ["v1"]
    assert play.journal.doubt_restored([older]) == []
    play.finish()

    assert (play.listed, play.fetched) == ([b"two"], [b"b"])
    assert play.balanced()
    assert play.journal.counters().listed == 2


def test_what_stood_in_a_damaged_part_of_a_ledger_is_listed_again_and_nothing_else(play):
    play.put(b"one", b"a")
    play.run()
    damaged = len(play.blocks["v1"])
    play.put(b"two", b"b")
    play.run()
    play.put(b"three", b"c")
    play.run()
    play.fetched, play.listed = [], []
    play.blocks["v1"][damaged] = []

    assert play.journal.doubt_blocks("v1", [(damaged, damaged + 1)]) == 1
    assert play.journal.doubt_blocks("v1", [(damaged, damaged + 1)]) == 0
    assert play.journal.doubt_blocks("a volume that nobody knows", [(0, 1)]) == 0
    play.finish()

    assert (play.listed, play.fetched) == ([b"two"], [b"b"])
    assert play.balanced()
    assert play.journal.counters().listed == 3


def test_a_receipt_that_names_a_lost_volume_does_not_count_its_objects_as_safe(play):
    play.put(b"", b"a")
    play.put(b"x", b"other")
    play.begin()
    play.scan()
    play.scan()
    first, second = play.claim(WorkKind.BATCH)
    play.journal.commit([play.drained(first)], play.now)
    late = play.drained(second)
    play.journal.lose("v1")

    play.journal.commit([late], play.now)
    play.fetched, play.volume = [], "v2"
    play.finish()

    assert sorted(play.fetched) == [b"a", b"other"]
    assert play.balanced()


def test_a_directory_that_is_gone_when_its_lost_objects_are_listed_again_leaves_the_books(play):
    play.put(b"x", b"a", b"b")
    play.put(b"", b"r")
    play.run()
    del play.bucket[b"x"]
    play.volume = "v2"

    play.journal.lose("v1")
    play.finish()

    counters = play.journal.counters()
    assert (counters.listed, counters.stored) == (1, 1)
    assert play.balanced()


def test_losing_may_be_cut_off_and_called_again(play):
    for number in range(2500):
        play.put(b"%05d" % number, b"a")
    play.run()
    walk = play.journal._tables.pages.walk

    def cut_off():
        yield next(walk())
        raise KeyboardInterrupt

    play.journal._tables.pages.walk = cut_off
    with pytest.raises(KeyboardInterrupt):
        play.journal.lose("v1")
    assert play.journal.volumes()[0].state is VolumeState.OPEN
    play.journal._tables.pages.walk = walk

    first = play.journal.outstanding().scans
    assert play.journal.lose("v1") == 2500 - 1000 + 1  # the root's page is one of the first thousand
    assert play.journal.outstanding().scans > first
    play.fetched, play.volume = [], "v2"
    play.finish()
    assert len(play.fetched) == 2500


def test_an_unknown_volume_is_named_with_those_that_are_known(play):
    play.put(b"", b"a")
    play.run()

    with pytest.raises(JournalError, match=r"volume v9 is not in journal .*; known are: v1"):
        play.journal.lose("v9")


# Repair


def test_objects_found_damaged_are_fetched_again_and_nothing_else(play):
    play.put(b"", b"a", b"b", b"c")
    play.run()
    play.fetched = []

    assert play.journal.refetch([Part(b"", "", [b"b"], [10], [1_600_000_000])]) == 1
    assert play.balanced()
    assert play.journal.counters().stored == 2
    play.finish()

    assert play.fetched == [b"b"]
    assert (play.journal.counters().stored, play.journal.counters().listed) == (3, 3)
    assert play.journal.where(b"", b"b")[0] == Extent("v1", 1)


# A run that is not finished, and another selection


def test_an_abandoned_run_forgets_nothing_of_those_before(play):
    for directory in (b"", b"a", b"b"):
        play.put(directory, b"1", b"2")
    play.run()
    play.put(b"", b"3")
    play.now += 1
    play.journal.begin(Position(b""), play.now, "some")
    play.scan()

    assert play.journal.begin(Position(b""), play.now, "others") is False
    play.fetched = []
    play.finish()
    play.journal.end("complete", play.now)

    assert play.fetched == [b"3"]
    assert play.balanced()
    assert [run.state for run in play.journal.runs()] == ["complete", "interrupted", "running"]


def test_what_a_run_that_wants_less_leaves_out_is_remembered(play):
    for directory in (b"", b"a", b"b"):
        play.put(directory, b"1", b"2")
    play.outcomes[b"2"] = Reason.FORBIDDEN
    for selection in (EVERYTHING, "less", EVERYTHING):
        below = play.bucket.pop(b"b") if selection == "less" else None
        play.fetched = []
        play.journal.begin(Position(b""), play.now, selection)
        play.finish()
        play.journal.end("complete", play.now)
        if below is not None:
            play.bucket[b"b"] = below

    assert play.fetched == []
    assert play.balanced()
    counters = play.journal.counters()
    assert (counters.skipped, counters.failed) == (3, 3)


def test_a_repair_outlives_the_run_that_it_was_found_in(play):
    play.put(b"", b"a", b"b", b"c")
    play.journal.begin(Position(b""), play.now, "some")
    play.finish()
    play.journal.refetch([Part(b"", "", [b"b"], [10], [1_600_000_000])])
    play.fetched = []

    play.journal.begin(Position(b""), play.now, "others")
    play.finish()

    assert play.fetched == [b"b"]
    assert play.balanced()
    assert (play.journal.counters().stored, play.journal.counters().skipped) == (1, 3)


def test_a_damaged_object_that_the_journal_does_not_know_is_fetched_too(play):
    play.run()

    assert play.journal.refetch([Part(b"odd", "", [b"b"], [10], [1])]) == 1
    play.finish()

    assert play.fetched == [b"b"]
    assert play.balanced()


# Rebuild


def records_of(play):
    for volume, blocks in play.blocks.items():
        for offset, block in enumerate(blocks):
            by_directory = {}
            for (directory, name), (size, mtime) in block.items():
                by_directory.setdefault(directory, []).append((name, size, mtime))
            yield (
                volume,
                offset,
                [
                    Record(directory, "", *(list(column) for column in zip(*rows, strict=True)))
                    for directory, rows in by_directory.items()
                ],
            )


def test_a_journal_rebuilt_from_ledgers_fetches_nothing_that_is_there(play, start, tmp_path):
    play.put(b"", b"a", b"b")
    play.put(b"x", b"c")
    play.run()
    play.volume = "v2"
    play.put(b"", b"b", mtime=1_700_000_000)
    play.put(b"y", b"d")
    play.run()
    fresh = start(tmp_path / "fresh")
    fresh.bucket, fresh.blocks, fresh.volume = play.bucket, play.blocks, "v3"
    fresh.put(b"y", b"new")
    fresh.journal.record_volumes(
        [KnownVolume(name, "here", f"/{name}", VolumeState.OPEN) for name in ("v1", "v2")]
    )

    assert fresh.journal.learn(records_of(play)) == 5
    fresh.run()

    counters = fresh.journal.counters()
    assert fresh.fetched == [b"new"]
    assert (counters.listed, counters.skipped, counters.stored) == (5, 4, 1)
    assert fresh.journal.where(b"", b"b")[0] == Extent("v2", 0)


def test_after_a_rebuild_one_run_settles_everything_and_the_next_has_no_work(play, start, tmp_path):
    play.put(b"", b"a", b"b")
    play.run()
    fresh = start(tmp_path / "fresh")
    fresh.bucket, fresh.blocks = play.bucket, play.blocks
    fresh.journal.learn(records_of(play))
    fresh.run()
    fresh.journal.end("complete", fresh.now)

    fresh.begin()
    fresh.scan()

    assert fresh.journal.outstanding().batches == 0
    assert fresh.journal.counters().skipped == 2


# The end of a run


def test_the_end_of_a_run_forgets_what_it_did_not_see(play):
    play.put(b"x", b"a", b"b")
    play.put(b"y", b"c")
    play.outcomes = {b"b": Reason.FORBIDDEN}
    play.run()
    del play.bucket[b"x"]

    play.run()
    assert [failure.name for failure in play.journal.failures()] == [b"b"]
    play.journal.end("complete", play.now)

    assert not list(play.journal.failures())
    assert play.journal.counters().listed == 1


def test_pages_of_a_directory_that_is_still_there_are_forgotten(play):
    play.put(b"x", b"a")
    play.run()
    play.put(b"x", b"a", mtime=9)
    play.run()
    assert [directory for directory, _, _ in extents_of(play.journal)].count(b"x") == 2

    play.journal.end("complete", play.now)

    assert [directory for directory, _, _ in extents_of(play.journal)].count(b"x") == 1


def test_where_a_lost_volume_had_newer_versions_the_older_ones_elsewhere_are_known_again(play):
    play.put(b"x", b"a")
    play.run()
    play.journal.end("complete", play.now)
    play.put(b"x", b"a", mtime=9)
    play.volume = "v2"
    play.begin()
    while play.scan():
        pass
    (work,) = play.claim(WorkKind.BATCH)
    receipt = play.drained(work)
    receipt.former = [Former("v1", [0], "v2", decode_batch(work.body).body)]
    assert play.journal.commit([receipt], play.now) == []
    play.journal.end("complete", play.now)

    play.journal.lose("v2")
    while play.scan():
        pass

    (work,) = play.claim(WorkKind.BATCH)
    assert work.candidates == [Extent("v1", 0)]
    assert play.journal.former(["v1"], 10) == []


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "empty"])
def test_a_directory_that_is_made_again_is_compared_with_what_lies_there(play, is_gone):
    play.put(b"x", b"a", b"b")
    play.run()
    gone = play.bucket.pop(b"x")
    if not is_gone:
        play.bucket[b"x"] = {}
    for _ in range(2):
        play.run()
        play.journal.end("complete", play.now)
    assert play.journal.where(b"x", b"a") != [], "it lies there still"
    play.fetched = []

    play.bucket[b"x"] = gone
    play.run()

    assert play.fetched == []
    assert play.journal.counters().skipped == 2


@pytest.mark.parametrize(
    "others", [b"ab", b"de", b"yz", b"cy"], ids=["before", "at-the-end", "behind", "over-it"]
)
def test_objects_that_are_back_are_compared_with_what_lies_there_though_others_stood_in_their_place(
    play, others
):
    names = [b"c", b"d", b"e"]
    play.put(b"x", *names)
    play.run()
    gone = play.bucket.pop(b"x")
    play.put(b"x", *(bytes([name]) for name in others))
    for _ in range(3):
        play.run()
        play.journal.end("complete", play.now)
    assert len(list(extents_of(play.journal))) <= 3, "pages that are seen no more do not grow"
    play.bucket[b"x"] |= gone

    play.run()

    assert play.fetched == []


def test_an_object_that_changed_goes_back_to_where_it_lies_however_long_it_could_not_be_had(play):
    play.put(b"x", b"a")
    play.run()
    play.put(b"x", b"a", mtime=9)
    play.outcomes = {b"a": Reason.FORBIDDEN}
    for _ in range(4):
        play.journal.end("complete", play.now)
        play.run()
    play.journal.end("complete", play.now)
    play.journal.retry()

    (work,) = play.claim(WorkKind.BATCH)

    assert work.candidates == [Extent("v1", 0)]


def test_a_page_keeps_no_blocks_of_other_pages_for_an_object_that_failed(play):
    directories = [b"x", b"y", b"z"]
    for directory in directories:
        play.put(directory, directory + b"1")
    list_at_once(play, directories, together=False)
    play.drain()
    play.journal.end("complete", play.now)
    for directory in directories:
        play.put(directory, directory + b"1", mtime=9)
    play.outcomes = {b"x1": Reason.FORBIDDEN, b"y1": "deferred"}
    list_at_once(play, directories, together=True)
    while play.drain():
        play.now += 1e6

    assert {directory: extents for directory, _, extents in extents_of(play.journal) if directory} == {
        b"x": [Extent("v1", 0), Extent("v1", 3)],
        b"y": [Extent("v1", 1), Extent("v1", 3)],
        b"z": [Extent("v1", 3)],
    }


def list_at_once(play, directories, *, together):
    """Begin a run, and book one scan of some directories: their objects are one batch, or one a directory."""
    play.begin()
    (work,) = play.claim(WorkKind.SCAN)
    parts = [play.part(directory) for directory in directories]
    pages = [record_of(part, Position(part.directory)) for part in (play.part(b""), *parts)]
    batches = [batch_of(parts)] if together else [batch_of([part]) for part in parts]
    assert play.journal.commit([ScanReceipt(work.id, "here", pages, batches=batches)], play.now) == []


def test_objects_that_are_back_between_two_pages_are_compared_with_what_lies_there(play):
    page = PageRecord(b"x", "", b"a", b"z", b"one", 3, 30, unchanged=False)
    listed = {"": (b"a", b"f"), "2": (b"k", b"z")}
    play.begin()
    (root,) = play.claim(WorkKind.SCAN)
    objects = Part(b"x", "", [b"a", b"g", b"z"], [10] * 3, [1_600_000_000] * 3)
    receipt = ScanReceipt(root.id, "here", pages=[page], batches=cut([objects]))
    play.journal.commit([receipt], play.now)
    play.drain()
    play.journal.end("complete", play.now)
    play.begin()
    (root,) = play.claim(WorkKind.SCAN)
    pages = [
        PageRecord(b"x", cursor, *ends, b"other", 0, 0, unchanged=False) for cursor, ends in listed.items()
    ]
    play.journal.commit([ScanReceipt(root.id, "here", pages=pages)], play.now)
    play.journal.end("complete", play.now)
    play.begin()
    (root,) = play.claim(WorkKind.SCAN)
    objects = Part(b"x", "3", [b"g"], [10], [1_600_000_000])
    page = PageRecord(b"x", "3", b"g", b"g", b"", 1, 10, unchanged=False)
    play.journal.commit([ScanReceipt(root.id, "here", pages=[page], batches=cut([objects]))], play.now)

    (work,) = play.claim(WorkKind.BATCH)

    assert work.candidates == [Extent("v1", 0)]


def test_below_a_directory_that_could_not_be_listed_nothing_is_forgotten(play):
    play.put(b"x", b"a")
    play.put(b"x/deep", b"b")
    play.put(b"y", b"c")
    play.run()
    play.journal.end("complete", play.now)
    play.unlisted = {b"x"}
    play.run()
    play.journal.end("incomplete", play.now)
    play.unlisted = set()

    play.run()

    assert play.fetched == []
    assert play.journal.counters().skipped == 3


def test_forgetting_is_made_up_for_when_a_run_begins(play):
    play.put(b"x", b"a")
    play.put(b"y", b"c")
    play.run()
    gone = play.bucket.pop(b"x")
    play.run()
    play.crash()
    play.open()

    play.bucket[b"x"] = gone
    play.begin()
    while play.scan():
        pass

    assert play.journal.outstanding().objects == 1, "an equal page proves nothing any more"


def test_every_page_is_compared_by_the_next_run_where_something_is_missing(play):
    play.put(b"x", b"a", b"b")
    play.run()
    play.blocks["v1"][0].pop((b"x", b"b"))

    assert play.journal.doubt_all() == 0
    play.journal.end("incomplete", play.now)
    play.run()

    assert play.fetched == [b"b"]


def test_pages_that_may_list_what_is_pruned_are_compared_and_no_others(play):
    def page(directory, cursor, first, last):
        record = PageRecord(directory, cursor, first, last, b"d", 10, 0, unchanged=False)
        play.journal._tables.pages.add(record, play.journal._tables.run.number)

    with play.journal._transaction():
        for directory in (b"p", b"q"):
            page(directory, "", b"a", b"c")
            page(directory, "2", b"d", b"f")
            page(directory, "3", b"g", b"i")

    play.journal.doubt_objects([(b"p", b"b"), (b"p", b"g"), (b"q", b"f"), (b"r", b"a")])

    doubted = [
        (row.directory, row.cursor)
        for rows in play.journal._tables.pages.walk()
        for row in rows
        if not row.digest
    ]
    assert doubted == [(b"p", ""), (b"p", "3"), (b"q", "2")]


def test_objects_of_pages_whose_names_overlap_may_have_been_counted_twice(play):
    def page(directory, first, last, objects):
        record = PageRecord(directory, first.decode(), first, last, b"d", objects, 0, unchanged=False)
        play.journal._tables.pages.add(record, play.journal._tables.run.number)

    with play.journal._transaction():
        for directory in (b"p", b"q"):
            page(directory, b"a", b"d", 10)
        page(b"p", b"e", b"h", 20)
        page(b"q", b"d", b"h", 20)
        page(b"q", b"f", b"g", 5)

    assert play.journal.doubt_all() == 25


# Reading


def test_the_books_of_each_directory_balance(play):
    with_failures(play)
    play.outcomes = {b"gone": Reason.GONE}
    play.put(b"x", b"gone")
    play.unlisted = {b"y/z"}

    play.run()

    books = {balance.directory: balance for balance in play.journal.balances()}
    x = books[b"x"]
    assert (x.listed, x.stored + x.skipped, x.failed, x.vanished, x.outstanding) == (4, 3, 0, 1, 0)
    assert (books[b"y/z"].unlisted, books[b"y/z"].listed) == (1, 0)
    assert sum(balance.listed for balance in books.values()) == play.journal.counters().listed


def test_an_object_is_looked_for_where_its_name_can_be(play):
    play.put(b"x", *(b"%04d" % number for number in range(3000)))
    play.run()

    assert play.journal.where(b"x", b"0000") == [Extent("v1", 0)]
    assert play.journal.where(b"x", b"2999") == [Extent("v1", 2)]
    assert play.journal.where(b"x", b"zzz") == []
    assert play.journal.where(b"nowhere", b"0000") == []


def test_extents_are_given_page_by_page(play):
    play.put(b"x", b"a")
    play.put(b"y", b"b")
    play.run()

    assert list(extents_of(play.journal)) == [
        (b"", "", []),
        (b"x", "", [Extent("v1", 0)]),
        (b"y", "", [Extent("v1", 1)]),
    ]


def failure_of(part):
    return Failure(part.directory, b"", 0, 0, part.cursor, Reason.TIMEOUT, 4, 0, "no")


def position_of(work):
    (position,) = decode_positions(work.body)
    return position


# What commands changed of the limits


def test_changed_limits_are_kept_until_the_run_has_ended(play):
    steering = Steering({"rate": "9.0"}, Limits(3, 2.0, paused=True), "5M")
    play.put(b"x", b"a")
    play.begin()
    play.journal.note_steering(steering)
    play.journal.close()
    play.open()
    assert play.journal.steering() == steering
    play.begin()
    play.finish()
    assert play.journal.steering() is None
    play.begin()
    assert play.journal.steering() is None
