"""Pages whose borders move: what lies on volumes stays known until whatever stands in its place was compared with it."""

from tests.journal.conftest import MTIME, SIZE

from bucketpull.domain.batching import cut, decode_positions, spans_of
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import Extent, PageRecord, Part, Position, WorkKind
from bucketpull.domain.status import VolumeState
from bucketpull.journal.volume_numbers import KnownVolume


def answer(position, names, following=()):
    """Return what a scan finds at one position: a page of these names."""
    split = [bytes([name]) for name in names]
    digest, ends = b"digest of " + names, (min(split, default=b""), max(split, default=b""))
    size = SIZE * len(split)
    is_unchanged = position.digest == digest
    page = PageRecord(b"", position.cursor, *ends, digest, len(split), size, unchanged=is_unchanged)
    part = Part(b"", position.cursor, split, [SIZE] * len(split), [MTIME] * len(split))
    return page, [] if is_unchanged or not split else [part], [Position(b"", each) for each in following]


def list_pages(play, pages):
    """Book the scans that are due now, with these pages: names, and where they go on, by cursor. What is not among them has vanished."""
    for work in play.claim(WorkKind.SCAN):
        receipt, parts = ScanReceipt(work.id, "here"), []
        for position in decode_positions(work.body):
            if position.cursor in pages:
                page, found, following = answer(position, *pages[position.cursor])
                receipt.pages.append(page)
                receipt.positions += following
                parts += found
            else:
                receipt.vanished += 1
        receipt.batches = cut(parts)
        assert play.journal.commit([receipt], play.now) == []


def drain_onto(play, *volumes):
    """Have one batch after the other stored on these volumes; return what each is to be compared with."""
    candidates = []
    for volume, work in zip(volumes, play.claim(WorkKind.BATCH), strict=True):
        play.volume = volume
        play.journal.commit([play.drained(work)], play.now)
        candidates.append(work.candidates)
    return candidates


def run(play, *rounds, volume="v1"):
    """Play a run to its end."""
    play.begin()
    for pages in rounds:
        list_pages(play, pages)
        play.volume = volume
        play.drain()
    assert not play.journal.outstanding().scans + play.journal.outstanding().batches
    play.journal.end("complete", play.now)


FIRST = {"": (b"abc", ["d"])}


def test_a_page_that_another_stands_over_unchanged_is_forgotten_when_that_one_was_compared(play):
    play.begin()
    list_pages(play, {"": (b"abc", ["c", "d"])})
    list_pages(play, {"c": (b"defg",), "d": (b"efgh",)})  # some changed in between: e, f and g are on both
    drain_onto(play, "v1", "v1", "v2")
    play.journal.end("complete", play.now)
    run(play, FIRST, {"d": (b"efgh",)})

    play.begin()
    list_pages(play, FIRST)
    list_pages(play, {"d": (b"efgh",)})

    assert drain_onto(play, "v3") == [[Extent("v1", 1), Extent("v2", 0)]]
    play.journal.end("complete", play.now)
    run(play, FIRST, {"d": (b"efgh",)})
    play.begin()
    list_pages(play, FIRST)
    list_pages(play, {"d": (b"efgh",)})
    assert play.claim(WorkKind.BATCH) == [], "it is compared once"


def lose_some(play):
    """Play a run in which the page behind c lies on a volume that stays and one that is lost, and is to be listed again."""
    play.begin()
    list_pages(play, {"": (b"abc", ["c"])})
    list_pages(play, {"c": (b"defg",)})
    drain_onto(play, "v1", "v1")
    play.journal.refetch([Part(b"", "c", [b"f"], [SIZE], [MTIME])])
    drain_onto(play, "v2")
    assert play.journal.lose("v2") == 1


def test_objects_of_a_page_that_is_shorter_when_it_is_listed_again_are_found_from_the_next(play):
    lose_some(play)
    list_pages(play, {"c": (b"ddef", ["f"])})
    play.drain()
    play.fetched = []

    list_pages(play, {"f": (b"g",)})

    assert drain_onto(play, "v3") == [[Extent("v1", 1)]]
    assert play.fetched == []


def test_objects_of_a_page_that_had_vanished_when_it_was_listed_again_are_found_when_they_are_back(play):
    lose_some(play)
    list_pages(play, {})
    assert play.journal.counters().listed == 3
    play.journal.end("complete", play.now)

    play.begin()
    list_pages(play, {"": (b"abc", ["c"])})
    list_pages(play, {"c": (b"efgh",)})

    assert drain_onto(play, "v3") == [[Extent("v1", 1)]]


def test_a_block_of_a_page_that_nobody_knows_is_kept_until_all_that_stands_there_was_compared_with_it(play):
    play.begin()
    list_pages(play, {"": (b"abc", ["d"])})
    list_pages(play, {"d": (b"efgh", ["h"])})
    list_pages(play, {"h": (b"ijk",)})
    drain_onto(play, "v1", "v1", "v1")
    play.journal.end("complete", play.now)
    behind = [{"d": (b"efgh", ["h"])}, {"h": (b"ijk",)}]

    play.journal.record_volumes([KnownVolume("v2", "here", "/v2", VolumeState.OPEN)])
    play.journal.keep(Extent("v2", 0), spans_of([Part(b"", "gone", [b"b", b"j"], [], [])]))

    play.blocks["v2"] = [{}]
    run(play, FIRST, *behind)  # those at its ends are compared, and the one between them is found to lack it
    play.begin()
    list_pages(play, FIRST)
    play.drain()
    list_pages(play, behind[0])
    assert drain_onto(play, "v3") == [[Extent("v2", 0), Extent("v1", 1)]]
    list_pages(play, behind[1])
    play.drain()
    play.journal.end("complete", play.now)
    play.fetched = []
    run(play, FIRST, *behind)
    assert play.journal.counters().stored == len(play.fetched) == 0


def test_what_a_first_run_lists_is_compared_with_a_block_of_a_page_that_nobody_knows(play):
    play.begin()
    play.journal.record_volumes([KnownVolume("v2", "here", "/v2", VolumeState.OPEN)])
    play.journal.keep(Extent("v2", 0), spans_of([Part(b"", "gone", [b"b", b"j"], [], [])]))
    play.blocks["v2"] = [{}]

    list_pages(play, {"": (b"abc",)})

    assert drain_onto(play, "v1") == [[Extent("v2", 0)]]
