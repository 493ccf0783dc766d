"""A page is never lost, and one bad directory never holds up the others."""

import msgspec
import pytest
from tests.downloader.rig import Rig, names_of

from bucketpull.domain.batching import MAX_OBJECTS
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Page, Position
from bucketpull.domain.order import Order
from bucketpull.domain.pacing import Limiter
from bucketpull.downloader.page_sinks import digest_of
from bucketpull.downloader.scans import REPORT_SECONDS
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer


def page(directory=b"", count=3, directories=(), following=(), cursor="", start=0):
    names = {b"f%d" % number: number for number in range(start, start + count)}
    return Page(part_of(directory, names, cursor), list(directories), list(following))


PAGES = {
    (b"", ""): page(directories=[b"a", b"b"], following=[Position(b"", "2")]),
    (b"", "2"): page(cursor="2", count=2, start=3),
    (b"a", ""): page(b"a", directories=[b"x"]),
    (b"b", ""): page(b"b", 0),
}


def rig_of(answers=None, pages=PAGES, **options):
    answers = answers or {}

    def answer(request):
        given = answers.get(request.url.removeprefix("list:"), Answer())
        if isinstance(given, list):
            return given.pop(0) if len(given) > 1 else given[0]
        return given

    return Rig(answer, pages=pages, **options)


def scan(rig, *positions):
    rig.scan(list(positions))
    rig.run(lambda: rig.receipts or rig.fatals)
    return rig.receipts[0] if rig.receipts else None


def test_a_page_yields_its_record_the_next_page_the_folders_and_a_batch():
    receipt = scan(rig_of(), Position(b""))

    assert receipt.positions == [Position(b"", "2"), Position(b"a"), Position(b"b")]
    (record,) = receipt.pages
    assert (record.directory, record.cursor, record.objects, record.bytes) == (b"", "", 3, 3)
    assert (record.first, record.last, record.unchanged) == (b"f0", b"f2", False)
    (batch,) = receipt.batches
    assert batch.parts == [PAGES[b"", ""].part]
    assert receipt.failures == []


@pytest.mark.parametrize(
    ("order", "directories"), [(Order("", (b"b/", b"a/")), [b"b", b"a", b""]), (Order(), [b"", b"a", b"b"])]
)
def test_in_a_batch_that_directories_share_what_is_wanted_first_comes_first(order, directories):
    pages = {(name, ""): page(name) for name in (b"", b"a", b"b")}

    receipt = scan(rig_of(pages=pages, order=order), Position(b""), Position(b"a"), Position(b"b"))

    (batch,) = receipt.batches
    assert [part.directory for part in batch.parts] == directories


def test_small_directories_share_a_batch():
    receipt = scan(rig_of(), Position(b""), Position(b"a"), Position(b"b"), Position(b"", "2"))

    assert len(receipt.pages) == 4
    (batch,) = receipt.batches
    assert batch.objects == 8
    assert Position(b"a/x") in receipt.positions


def test_a_scan_that_takes_long_reports_what_is_listed_and_gives_the_rest_back():
    folders = [b"%d" % number for number in range(6)]
    pages = {(name, ""): page(name) for name in folders}
    slow = Answer(seconds=REPORT_SECONDS * 0.6)
    rig = rig_of({f"{name.decode()}?": slow for name in folders}, pages=pages, level=1)

    receipt = scan(rig, *map(Position, folders))

    listed = [record.directory for record in receipt.pages]
    assert listed == folders[:3]  # the third was asked for before the others were given back
    assert receipt.positions == [Position(name) for name in folders[3:]]
    assert sum(batch.objects for batch in receipt.batches) == 9
    assert len(rig.fetcher.requests) == 3


def test_a_scan_that_takes_long_keeps_what_is_to_be_tried_again():
    pages = {(name, ""): page(name) for name in (b"", b"a", b"b")}
    answers = {"b?": [Answer(503), Answer(503), Answer(503, seconds=REPORT_SECONDS), Answer()]}

    receipt = scan(rig_of(answers, pages=pages, level=1), Position(b"a"), Position(b"b"))

    assert len(receipt.pages) == 2
    assert not any(position.passes for position in receipt.positions)


def test_batches_are_cut_to_their_size():
    receipt = scan(rig_of(pages={(b"", ""): page(count=2 * MAX_OBJECTS)}), Position(b""))

    assert [batch.objects for batch in receipt.batches] == [MAX_OBJECTS, MAX_OBJECTS]


def test_an_unchanged_page_yields_no_batch_but_its_folders():
    digest = digest_of(PAGES[b"", ""].part)
    receipt = scan(rig_of(), Position(b"", digest=digest))

    assert receipt.batches == []
    assert receipt.pages[0].unchanged
    assert len(receipt.positions) == 3


def test_an_empty_folder_is_a_page_without_a_batch():
    receipt = scan(rig_of(), Position(b"b"))

    assert (receipt.pages[0].objects, receipt.pages[0].first) == (0, b"")
    assert receipt.batches == []


def test_an_empty_scan_has_a_receipt():
    assert scan(rig_of()).pages == []


def test_entries_without_a_name_are_a_failure_of_the_page_whose_others_are_listed():
    odd = page()
    odd.odd = ("an entry without a name: 7", "another")
    receipt = scan(rig_of(pages={(b"", ""): odd}), Position(b""))

    assert receipt.batches[0].objects == 3
    (failure,) = receipt.failures
    assert (failure.directory, failure.name, failure.reason, failure.status) == (b"", b"", "garbage", 200)
    assert failure.detail == "entries that cannot be taken: 2: an entry without a name: 7; another"


def test_a_directory_that_cannot_be_listed_behind_a_page_is_a_failure_and_the_page_is_taken():
    broken = page()
    broken.broken = "the cursor x leads back"
    receipt = scan(rig_of(pages={(b"", ""): broken}), Position(b""))

    assert receipt.batches[0].objects == 3
    assert [(each.reason, each.detail) for each in receipt.failures] == [
        ("cursor", "the cursor x leads back")
    ]


def test_a_size_that_is_not_known_counts_no_bytes():
    part = part_of(b"", {b"a": 5, b"b": -1})
    receipt = scan(rig_of(pages={(b"", ""): Page(part, [], [])}), Position(b""))

    assert (receipt.pages[0].objects, receipt.pages[0].bytes) == (2, 5)


def test_a_digest_depends_on_each_column():
    part = part_of(b"", {b"a": 1, b"b": 2})
    others = [
        part_of(b"", {b"a": 1, b"c": 2}),
        part_of(b"", {b"a": 1, b"b": 3}),
        part_of(b"", {b"a": 1, b"b": 2}, mtime=7),
        part_of(b"", {b"b": 2, b"a": 1}),
    ]

    assert len({digest_of(each) for each in [part, *others]}) == 5
    assert digest_of(part) == digest_of(part_of(b"elsewhere", {b"a": 1, b"b": 2}, "c"))
    assert len(digest_of(part)) == 16


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Answer(429), "throttled"),
        (Answer(503), "server-error"),
        (Answer(failure=Reason.TIMEOUT), "timeout"),
        (Answer(failure=Reason.GARBAGE), "garbage"),
        (Answer(failure=Reason.RANGE), "range"),
    ],
)
def test_passing_trouble_is_tried_again_and_counted(bad, reason):
    rig = rig_of({"?": [bad, bad, Answer()]})
    receipt = scan(rig, Position(b""))

    assert receipt.pages[0].objects == 3
    assert receipt.retries == {reason: 2}
    assert rig.meter.retries == {reason: 2}


@pytest.mark.parametrize("bad", [Answer(429), Answer(503)])
def test_twenty_refusals_in_a_row_lose_no_page(bad):
    rig = rig_of({"?": [*[bad] * 20, Answer()]})
    work, attempts = [Position(b"")], []
    while not rig.receipts or not rig.receipts[-1].pages:
        before = len(rig.receipts)
        rig.scan(work)
        rig.run(lambda before=before: len(rig.receipts) > before)
        work = rig.receipts[-1].positions
        attempts += [position.passes for position in work if not position.cursor]
        assert rig.receipts[-1].failures == []

    assert rig.receipts[-1].pages[0].objects == 3
    assert attempts[:-2] == sorted(attempts[:-2])
    assert rig.clock.seconds > 10  # not hammered; between the passes the journal waits too


def test_where_requests_are_refused_at_random_a_page_has_as_many_more_tries_as_chance_takes(monkeypatch):
    """Of a thousand folders one was refused eight times in a row, and the job waited half a minute for it."""
    monkeypatch.setattr(Limiter, "random_share", 0.25)
    rig = rig_of({"?": [*[Answer(429)] * 11, Answer()]})

    receipt = scan(rig, Position(b""))

    assert receipt.pages[0].objects == 3
    assert receipt.retries.keys() == {"throttled"}
    assert not any(position.passes for position in receipt.positions)


def test_a_page_that_fails_for_long_goes_back_as_work_and_holds_nobody_up():
    receipt = scan(rig_of({"a?": Answer(503)}), Position(b""), Position(b"a"))

    assert [record.directory for record in receipt.pages] == [b""]
    assert Position(b"a", passes=1, tried=4) in receipt.positions
    assert receipt.failures == []


def test_a_redirect_is_tried_again_in_a_later_pass():
    rig = rig_of({"?": [Answer(failure=Reason.REDIRECTED), Answer()]})
    rig.scan([Position(b"")])
    rig.run(lambda: rig.receipts)

    assert [position.passes for position in rig.receipts[0].positions] == [1]
    assert rig.receipts[0].retries == {"redirected": 1}


def test_garbage_for_ever_ends_as_a_failure_of_the_directory():
    rig = rig_of({"a?": Answer(failure=Reason.GARBAGE)})
    receipt = scan(rig, Position(b"a", passes=50, tried=200), Position(b"b"))

    (failure,) = receipt.failures
    assert (failure.directory, failure.name, failure.reason) == (b"a", b"", Reason.GARBAGE)
    assert failure.attempts == 204
    assert [record.directory for record in receipt.pages] == [b"b"]


def test_a_folder_that_is_gone_is_counted_as_vanished():
    rig = rig_of({"a?": Answer(404)})
    receipt = scan(rig, Position(b"a"), Position(b"b"))

    assert (receipt.vanished, receipt.failures) == (1, [])
    assert sorted(request.url for request in rig.fetcher.requests) == ["list:a?", "list:a?", "list:b?"]


def test_a_folder_that_is_not_found_once_by_chance_is_listed_all_the_same():
    """One 404 of a proxy in front of a service that restarts lost the folder with all below it, and the job was called complete."""
    rig = rig_of({"a?": [Answer(503), Answer(404), Answer()]})
    receipt = scan(rig, Position(b"a"))

    assert (receipt.vanished, [record.directory for record in receipt.pages]) == (0, [b"a"])
    assert receipt.retries == {"server-error": 1, "gone": 1}
    assert rig.clock.seconds > 2


def test_a_root_that_is_gone_ends_the_job():
    rig = rig_of({"?": Answer(404)})

    assert scan(rig, Position(b"")) is None
    assert rig.fatals[0][0] is Reason.NO_BUCKET
    assert "not found" in rig.fatals[0][1]


def test_a_root_that_is_redirected_is_asked_again_later_and_then_ends_the_job():
    """A network's login page passes, a wrong address does not."""
    rig = rig_of({"?": Answer(failure=Reason.REDIRECTED)})

    assert [position.passes for position in scan(rig, Position(b"")).positions] == [1]
    assert rig.fatals == []
    later = rig_of({"?": Answer(failure=Reason.REDIRECTED)})
    assert scan(later, Position(b"", passes=1)) is None
    assert [reason for reason, _ in later.fatals] == [Reason.REDIRECTED]


def test_a_root_of_which_pages_were_listed_may_vanish():
    assert scan(rig_of({"?2": Answer(404)}), Position(b"", "2")).vanished == 1


def test_wrong_credentials_at_the_first_page_end_the_job_at_once():
    rig = rig_of({"?": Answer(401)})

    assert scan(rig, Position(b"")) is None
    assert [reason for reason, _ in rig.fatals] == [Reason.CREDENTIALS]
    assert "HTTP 401" in rig.fatals[0][1]
    assert rig.clock.seconds < 3
    assert len(rig.fetcher.requests) < 10


def test_one_refused_folder_among_good_ones_is_its_own_failure():
    rig = rig_of({"a?": Answer(401, seconds=1.0)})
    receipt = scan(rig, Position(b""), Position(b"a"))

    assert (rig.fatals, receipt.failures) == ([], [])
    assert Position(b"a", passes=1, tried=1) in receipt.positions
    rig.scan([Position(b"a", passes=2, tried=2)], work=2)
    rig.run(lambda: len(rig.receipts) > 1)
    (failure,) = rig.receipts[1].failures
    assert (failure.reason, failure.attempts) == (Reason.CREDENTIALS, 3)


def test_after_a_refused_page_the_root_tells_whether_the_listing_refuses_everything():
    """One page was refused by chance, and with no other page to be asked for that ended a job whose objects came, with exit 4."""
    rig = rig_of({"?2": [Answer(401), Answer()]})
    scan(rig, Position(b""))
    before = len(rig.fetcher.requests)
    rig.scan([Position(b"", "2")], work=2)
    rig.run(lambda: rig.clock.seconds > 30)

    assert rig.fatals == []
    assert [request.url for request in rig.fetcher.requests[before:]] == ["list:?2", "list:?"]


def test_a_forbidden_folder_is_a_failure_and_the_job_goes_on():
    receipt = scan(rig_of({"a?": Answer(403)}), Position(b"a"), Position(b"b"))

    assert [(failure.directory, failure.reason, failure.status) for failure in receipt.failures] == [
        (b"a", Reason.FORBIDDEN, 403)
    ]
    assert len(receipt.pages) == 1


def test_positions_are_listed_at_once_as_far_as_the_limiter_allows():
    pages = {(b"d%d" % number, ""): page(b"d%d" % number) for number in range(20)}
    rig = rig_of(pages=pages, level=6)
    scan(rig, *(Position(directory) for directory, _ in pages))

    assert rig.fetcher.most == 6


def test_nothing_is_asked_while_paused_or_after_the_close():
    rig = rig_of()
    rig.scans.paused = True
    rig.scan([Position(b"")])
    rig.turn()
    assert rig.fetcher.requests == []
    rig.scans.paused = False
    rig.scans.close()
    rig.turn()
    assert rig.fetcher.requests == []


def test_a_receipt_survives_its_encoding():
    receipt = scan(rig_of(), Position(b""))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(receipt), type=type(receipt)) == receipt
    assert names_of(receipt.batches[0].parts) == [b"f0", b"f1", b"f2"]
