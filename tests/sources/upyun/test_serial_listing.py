"""A serial listing ends, whatever its cursors do, and takes each entry once, whatever its pages give."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from listing_world import ListingWorld, answer, source

from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Position
from bucketpull.sources.cycle_detection import Trail
from upyun_simulator.cursor import END


class Script(ListingWorld):
    """A directory whose pages are functions of the cursor asked with: names and the next cursor (None: the end)."""

    def __init__(self, page_of, limit=1000):
        super().__init__(source(list_limit=limit), contents=None)
        self.page_of = page_of

    def serve(self, request):
        self.requests += 1
        asked = next((line[13:] for line in request.headers if line.startswith("x-list-iter: ")), "")
        names, cursor = self.page_of(asked)
        files = [{"name": name, "type": "t", "length": 1, "last_modified": 9} for name in names]
        body = {"files": files, "iter": END if cursor is None else cursor}
        return answer(200, json.dumps(body).encode())


def names(first, count=10):
    return [f"{number:06d}" for number in range(first, first + count)]


def listed(page_of, **options):
    world = Script(page_of, **options)
    world.run(start=Position(b"d"), most=2000)
    return world


def numbered(asked):
    return int(asked[1:] or 0)


@pytest.mark.parametrize("length", [1, 2, 3, 16, 17, 40, 100])
@pytest.mark.parametrize("before", [0, 5, 50])
def test_cursors_that_go_round_are_found_within_a_few_rounds(before, length):
    def page_of(asked):
        page = numbered(asked)
        following = page + 1 if page + 1 < before + length else before
        return names(10 * page), f"c{following}"

    world = listed(page_of)

    assert [error.reason for _, error in world.failed] == [Reason.CURSOR]
    assert set(world.objects) == {f"d/{name}".encode() for name in names(0, 10 * (before + length))}
    assert len(world.objects) <= 10 * 4 * (before + length)
    if length < 16:  # then they are remembered
        assert len(world.objects) <= 10 * (before + length + 1)


def test_cursors_that_are_new_each_time_with_the_same_page_are_found_at_the_second():
    world = listed(lambda asked: (names(0), f"c{numbered(asked) + 1}"))

    assert [error.reason for _, error in world.failed] == [Reason.CURSOR]
    assert len(world.objects) == 10


def test_pages_that_come_again_in_turn_under_new_cursors_are_found():
    world = listed(lambda asked: (names(10 * (numbered(asked) % 3)), f"c{numbered(asked) + 1}"))

    assert [error.reason for _, error in world.failed] == [Reason.CURSOR]
    assert len(world.objects) == 30


@pytest.mark.parametrize("many", [1, 15, 400])
def test_entries_that_come_again_and_again_under_new_cursors_on_pages_that_differ_are_found(many):
    chance = random.Random(1)
    every = names(0, many)
    world = listed(lambda asked: (chance.choices(every, k=20), f"c{numbered(asked) + 1}"))

    assert [error.reason for _, error in world.failed] == [Reason.CURSOR]
    assert len(world.objects) <= 8 * many + 20


def test_a_few_entries_that_change_all_the_time_end_no_listing():
    """Where the newest come last, what is written meanwhile comes once more."""

    def page_of(asked):
        page = numbered(asked)
        return [*names(100 + 20 * page, 20), "hot-1", "hot-2"], f"c{page + 1}" if page < 50 else None

    world = listed(page_of)

    assert not world.failed
    assert set(world.objects) >= {f"d/{name}".encode() for name in names(100, 20 * 51)}


def test_a_cursor_that_leads_back_now_and_then_is_asked_for_again():
    asked_before = set()

    def page_of(asked):
        page = numbered(asked)
        is_first_time = asked not in asked_before
        asked_before.add(asked)
        following = None if page == 12 else f"c{page + 1}"
        return names(10 * page), "c1" if is_first_time and page > 1 and following else following

    world = listed(page_of)

    assert world.failed == []
    assert len(world.objects) == len(set(world.objects)) == 130


def test_pages_without_entries_lead_on():
    world = listed(
        lambda asked: (
            names(numbered(asked)) if numbered(asked) == 300 else [],
            f"c{numbered(asked) + 1}" if numbered(asked) < 300 else None,
        )
    )

    assert world.failed == []
    assert len(world.objects) == 10


@pytest.mark.parametrize("overlap", [1, 2, 15, 100, 250, 500])
def test_entries_that_two_neighbouring_pages_give_are_taken_once(overlap):
    def page_of(asked):
        page = numbered(asked)
        first = 500 * page - (overlap if page else 0)
        return names(first, 500 * page + 500 - first), None if page == 9 else f"c{page + 1}"

    world = listed(page_of)

    assert world.failed == []
    assert world.duplicates == 9 * overlap
    assert sorted(world.objects) == [f"d/{name}".encode() for name in names(0, 5000)]
    assert world.requests <= 10 + 9 * -(
        -overlap // 100
    )  # each page before once more, for a hundred entries at a time


def test_entries_that_two_pages_give_are_taken_once_though_the_first_is_shorter_when_it_is_asked_for_again():
    asked_before = set()

    def page_of(asked):
        first = numbered(asked)
        count = 50 if asked in asked_before else 200
        asked_before.add(asked)
        count += 15 if first and count == 200 else 0
        begin = max(0, first - (15 if count > 200 else 0))
        end = min(1000, begin + count)
        return names(begin, end - begin), f"c{end}" if end < 1000 else None

    world = listed(page_of)

    assert world.failed == []
    assert sorted(world.objects) == [f"d/{name}".encode() for name in names(0, 1000)]


def test_entries_that_only_lie_before_the_end_of_the_page_before_are_not_lost():
    """Pages in order of names, but not one behind the other: the second begins among the names of the first."""
    pages = [["a", "c", "e", "m"], ["d", "n", "o", "p"], ["q", "r"]]
    world = listed(
        lambda asked: (pages[numbered(asked)], f"c{numbered(asked) + 1}" if numbered(asked) < 2 else None)
    )

    assert world.failed == []
    assert sorted(world.objects) == [
        b"d/" + name.encode() for name in sorted(name for page in pages for name in page)
    ]


@given(st.data())
@settings(max_examples=150)
def test_whatever_order_pages_come_in_nothing_is_lost(data):
    everything = data.draw(
        st.lists(st.text("abc", min_size=1, max_size=4), unique=True, min_size=1, max_size=40)
    )
    if data.draw(st.booleans()):
        everything.sort()
    size = data.draw(st.integers(1, 12))
    pages = [everything[start : start + size] for start in range(0, len(everything), size)]
    for page, before in zip(pages[1:], pages, strict=False):
        page[:0] = data.draw(st.sampled_from([[], before[-1:], before[-3:]]))
    world = listed(
        lambda asked: (
            pages[numbered(asked)],
            f"c{numbered(asked) + 1}" if numbered(asked) + 1 < len(pages) else None,
        )
    )

    wanted = {f"d/{name}".encode() for name in everything}
    if not world.failed:
        assert set(world.objects) == wanted
    else:  # a page that repeats the one before whole, as if the listing led back
        assert any(set(page) == set(before) for page, before in zip(pages[1:], pages, strict=False))


def test_a_folder_that_holds_itself_ends_at_a_depth_that_no_real_one_has():
    class Nested(Script):
        def serve(self, request):
            self.requests += 1
            body = {
                "files": [{"name": "again", "type": "folder", "length": 0, "last_modified": 0}],
                "iter": END,
            }
            return answer(200, json.dumps(body).encode())

    world = Nested(None)
    odd = []
    take = world._take

    def note(page):
        odd.extend(page.odd)
        return take(page)

    world._take = note
    world.run(most=2000)

    assert 900 < world.requests <= 1001
    assert odd == ["the folder 'again' lies deeper than any real one"]


def test_a_key_of_64_kib_is_the_longest():
    name = "x" * 9000
    body = json.dumps(
        {"files": [{"name": name, "type": "folder", "length": 0, "last_modified": 0}], "iter": END}
    )
    page = source().read_page(Position(b"/".join([b"y" * 9000] * 7)), answer(200, body.encode()), 1e9)

    assert page.directories == []
    assert len(page.odd) == 1


def test_what_is_remembered_is_bounded():
    trail, chance = Trail(), random.Random(5)
    for page in range(10_000):
        trail = trail.after(f"c{page}", [b"%d" % chance.getrandbits(64)], "x", b"y")

    assert (len(trail.cursors), len(trail.pages), trail.steps) == (16 * 6, 4 * 6, 10_000)
