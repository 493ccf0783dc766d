"""An endpoint that refuses a folder or a suffix is asked for little of it; others still come from there."""

import pytest
from tests.downloader.rig import Rig
from tests.downloader.test_endpoints import World, asked

from bucketpull.domain.errors import Reason
from bucketpull.downloader.refused_groups import MOST_GROUPS, REFUSED, RefusedGroups
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer


def after(*keys):
    """Parts of which so many objects were refused, given as folder and name."""
    groups = RefusedGroups()
    for directory, name in keys:
        groups.refused(directory, name, 0.0)
    return groups


def test_a_folder_is_believed_to_be_refused_when_many_in_it_were_and_its_neighbours_are_not():
    groups = after(*((b"a/video", b"%d.jpg" % number) for number in range(REFUSED)))
    assert groups.refuses(b"a/video", b"new.jpg", 1.0)
    assert not groups.refuses(b"a", b"new.jpg", 1.0)
    assert not after(*((b"v", b"%d.jpg" % number) for number in range(REFUSED - 1))).refuses(b"v", b"x", 1.0)


@pytest.mark.parametrize(
    ("keys", "same", "other"),
    [
        ([(b"v/%d" % number, b"x.jpg") for number in range(REFUSED)], (b"v/new", b"y.png"), (b"w", b"y.png")),
        ([(b"%d" % number, b"x.MP4") for number in range(REFUSED)], (b"new", b"y.mp4"), (b"new", b"y.jpg")),
    ],
    ids=["top", "suffix"],
)
def test_a_top_folder_or_a_suffix_needs_refusals_in_several_folders(keys, same, other):
    groups = after(*keys)
    assert groups.refuses(*same, 1.0)
    assert not groups.refuses(*other, 1.0)


def test_a_suffix_is_refused_in_one_folder_among_others_that_come():
    groups = RefusedGroups()
    for number in range(REFUSED):
        groups.refused(b"v", b"%d.SVG" % number, 0.0)
        groups.gave(b"v", b"%d.jpg" % number)
    assert groups.refuses(b"v", b"new.svg", 1.0)
    assert not groups.refuses(b"v", b"new.jpg", 1.0)
    assert not groups.refuses(b"w", b"new.svg", 1.0)


def test_one_object_is_tried_now_and_then_and_if_it_comes_the_part_is_forgotten():
    groups = after(*((b"v", b"%d" % number) for number in range(REFUSED)))
    assert [groups.refuses(b"v", b"x", 5.0), groups.refuses(b"v", b"x", 6.0)] == [False, True]
    groups.gave(b"v", b"x")
    assert not groups.refuses(b"v", b"x", 6.0)
    assert not groups.known


def test_memory_does_not_grow_with_the_folders():
    groups = after(*((b"%d" % number, b"x.%d" % number) for number in range(MOST_GROUPS)))
    assert len(groups.known) <= MOST_GROUPS


def test_a_folder_that_the_edge_refuses_costs_it_few_requests_and_does_not_keep_others_from_it():
    def answer(request):
        if request.url.startswith("edge:") and "video" in request.url:
            return Answer(403, seconds=0.05)
        return world(request)

    world = World()
    rig = Rig(answer, level=4)
    rig.mount()
    rig.assign([part_of(b"d", {b"n%04d" % number: 4 for number in range(200)})], id=1)
    rig.settle(1)
    before = asked(rig, "edge:")
    rig.assign([part_of(b"video", {b"n%04d" % number: 4 for number in range(1000)})], id=2)
    rig.settle(2)
    refused = asked(rig, "edge:") - before
    rig.assign([part_of(b"e", {b"n%04d" % number: 4 for number in range(1000)})], id=3)
    rig.settle(3)

    assert [outcome.stored for outcome in rig.outcomes] == [200, 1000, 1000]
    assert refused < 200, refused
    assert asked(rig, "edge:") - before - refused == 1000


@pytest.mark.parametrize("level", [8, None])
@pytest.mark.parametrize("reason", [Reason.STALLED, Reason.TIMEOUT, Reason.SERVER_ERROR, Reason.TRUNCATED])
def test_a_suffix_that_always_fails_at_the_edge_holds_up_nothing_else(reason, level):
    """As where an edge makes images smaller, and still states the length that they had."""

    def answer(request):
        if request.url.startswith("edge:") and request.url.endswith(".png"):
            return Answer(failure=reason, seconds=2.5)
        return world(request)

    world = World()
    rig = Rig(answer, level=level)
    rig.mount()
    for folder in range(10):
        names = [b"%d.%s" % (number, b"jpg" if number % 10 else b"png") for number in range(100)]
        rig.assign([part_of(b"f%d" % folder, dict.fromkeys(names, 4))], id=folder)
    rig.settle(10)

    assert [outcome.stored for outcome in rig.outcomes] == [100] * 10
    assert rig.clock.monotonic() < 40.0
    assert rig.meter.retries[reason] < 200
