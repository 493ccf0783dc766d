"""A bucket is listed whole, each key once, in few requests, whatever the service makes of start-after, order and page length."""

import random
from bisect import bisect_right
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.model import Position
from bucketpull.sources.s3.list_response import Listing
from bucketpull.sources.s3.paging import ask_for, followed, refused


class World:
    """A service with some keys. `order` is its own; `page` is how many keys it gives at most.

    `ends_early` has the numbers of pages that say that nothing follows, each with how many keys it still gives.
    """

    def __init__(
        self,
        names: list[bytes],
        page: int = 100,
        order: Callable[[bytes], object] = bytes,
        heeds: bool = True,
        is_old: bool = False,
        seed: int = 0,
        ends_early: dict[int, int] | None = None,
    ) -> None:
        self.ends_early = ends_early or {}
        self.names = sorted(set(names), key=order)
        self.keys = [order(name) for name in self.names]
        self.order, self.page, self.heeds, self.is_old = order, page, heeds, is_old
        self.random = random.Random(seed)
        self.requests = self.few = self.longest = 0

    def answer(self, position: Position) -> Listing:
        ask = ask_for(position)
        self.requests += 1
        self.few += ask.keys == 1
        after = ask.after if self.heeds else b""
        begin = int(ask.token) if ask.token else bisect_right(self.keys, self.order(after)) if after else 0
        names = self.names[begin : begin + min(self.page, ask.keys)]
        end = begin + len(names)
        more = end < len(self.names)
        if ask.keys > 1 and (number := self.requests - self.few) in self.ends_early:
            names, more = names[: self.ends_early[number]], False
        token = str(end) if more and not self.is_old else ""
        return Listing(
            names, [1] * len(names), [0] * len(names), [], more, token, is_old=self.is_old and more
        )

    def list(self) -> list[bytes]:
        """List everything; positions are taken in any order, as by many processes."""
        found: list[bytes] = []
        positions = [(Position(b""), 1)]
        seen: set[tuple[str, str]] = set()
        while positions:
            position, depth = positions.pop(self.random.randrange(len(positions)))
            assert (position.cursor, "page") not in seen, f"asked twice: {position}"
            seen.add((position.cursor, "page"))
            self.longest = max(self.longest, depth)
            listing = self.answer(position)
            page = followed(position, listing.keys, listing)
            found += page.part.names
            assert len(page.part.names) == len(page.part.sizes) == len(page.part.mtimes)
            positions += [(each, depth + 1) for each in page.following]
        return found


def _numbers(count: int) -> list[bytes]:
    return [b"photos/%07d.jpg" % number for number in range(count)]


def _hex(count: int) -> list[bytes]:
    source = random.Random(7)
    return [b"%016x" % source.getrandbits(64) for _ in range(count)]


def _folders(count: int) -> list[bytes]:
    return [
        b"%s/%d/%d.png" % (name, i % 90, i)
        for i in range(count // 4)
        for name in (b"a", b"img", "图".encode(), b"z")
    ]


@pytest.mark.parametrize(
    "names", [_numbers(30_000), _hex(30_000), _folders(30_000)], ids=["numbers", "hex", "folders"]
)
def test_a_long_listing_is_cut_into_ranges_that_are_listed_side_by_side(names):
    world = World(names)
    assert sorted(world.list()) == sorted(names)
    pages = len(names) / world.page
    assert world.requests - world.few < 1.7 * pages
    assert world.few < 40
    assert world.longest < pages / 3, "the longest chain of pages one after the other"


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 700, 800])
def test_a_short_listing_costs_its_pages_and_a_look_behind_the_last(count):
    world = World(_numbers(count))
    assert len(world.list()) == count
    assert world.requests == max(1, -(-count // 100)) + 1


@pytest.mark.parametrize("number", range(1, 32))
@pytest.mark.parametrize("given", [0, 40])
@pytest.mark.parametrize("is_old", [False, True])
def test_a_page_that_says_too_early_that_it_is_the_last_loses_no_key(number, given, is_old):
    """A service in trouble ends a listing with a page that looks whole; the job was complete then, with exit 0."""
    names = [b"%s/%d" % (name, i) for i in range(500) for name in (b"a", b"img", "图".encode(), b"z")]
    world = World(names, is_old=is_old, ends_early={number: given})
    assert sorted(world.list()) == sorted(names)


def test_a_service_that_does_not_heed_start_after_is_listed_by_its_tokens():
    world = World(_numbers(3_000), heeds=False)
    assert sorted(world.list()) == _numbers(3_000)
    assert world.requests == 31


@pytest.mark.parametrize(
    ("position", "names"),
    [(Position(b""), [b"b", b"a"]), (Position(b"", "b", '["range",1,0,"","t"]'), [b"a"])],
)
def test_that_a_service_lists_in_its_own_way_is_said_by_the_page(position, names):
    assert followed(position, names, _listing(names, "u")).serial
    assert not followed(position, [b"c"], _listing([b"c"], "u")).serial


def test_a_service_with_another_order_is_listed_by_its_tokens():
    names = [b"%s%d" % (letter, number) for letter in (b"a", b"B", b"c") for number in range(500)]
    world = World(names, order=lambda name: name.lower())
    assert sorted(world.list()) == sorted(names)


def _listing(names: list[bytes], token: str) -> Listing:
    return Listing(names, [1] * len(names), [0] * len(names), [], bool(token), token)


def test_an_entry_that_a_page_gives_twice_counts_once():
    page = followed(Position(b""), [b"a", b"b", b"b"], _listing([b"a", b"b", b"b"], ""))
    assert (page.part.names, page.part.sizes, page.duplicates) == ([b"a", b"b"], [1, 1], 1)


def test_a_service_that_gives_the_name_again_after_which_was_asked_is_listed_by_name():
    page = followed(Position(b"", "a"), [b"a", b"b", b"c"], _listing([b"a", b"b", b"c"], "t"))
    assert (page.part.names, page.duplicates) == ([b"b", b"c"], 1)
    assert ask_for(page.following[0]).after == b"c"


def _by_tokens(pages: list[tuple[list[bytes], str]]) -> Position:
    """Follow pages by their tokens; return where the next is asked for."""
    position = Position(b"")
    for names, token in pages:
        page = followed(position, names, _listing(names, token))
        (position,) = page.following
    return position


def test_the_last_key_of_a_page_is_not_taken_from_the_next_one_again():
    position = _by_tokens([([b"b", b"a"], "1")])
    page = followed(position, [b"a", b"c"], _listing([b"a", b"c"], ""))
    assert (page.part.names, page.duplicates) == ([b"c"], 1)


@pytest.mark.parametrize("token", ["1", "2"])
def test_a_token_that_leads_back_is_found_and_what_its_page_holds_is_taken_in_the_end(token):
    position = _by_tokens([([b"b", b"a"], "1"), ([b"c"], "2"), ([b"d"], "3")])
    with pytest.raises(AnswerError, match="leads back"):
        followed(position, [b"e"], _listing([b"e"], token))
    position.passes = 6
    page = followed(position, [b"e"], _listing([b"e"], token))
    assert (page.part.names, page.following) == ([b"e"], [])
    assert "what follows is not listed" in page.broken


def test_a_page_that_was_given_before_is_found_whatever_its_token():
    position = _by_tokens([([b"b", b"a"], "1"), ([b"d", b"c"], "2")])
    with pytest.raises(AnswerError, match="leads back"):
        followed(position, [b"d", b"c"], _listing([b"d", b"c"], "3"))


def test_a_service_of_version_1_goes_on_by_marker():
    world = World(_numbers(3_000), is_old=True)
    assert sorted(world.list()) == _numbers(3_000)


def test_an_old_service_with_another_order_goes_on_by_its_last_key():
    class Old(World):
        def answer(self, position):
            ask = ask_for(position)
            marker = ask.token.encode() if ask.token else ask.after
            begin = bisect_right(self.keys, self.order(marker)) if marker else 0
            names = self.names[begin : begin + self.page]
            more = begin + len(names) < len(self.names)
            return Listing(names, [1] * len(names), [0] * len(names), [], more, "", is_old=more)

    names = [b"%s%d" % (letter, number) for letter in (b"a", b"B", b"c") for number in range(500)]
    world = Old(names, order=lambda name: name.lower(), is_old=True)
    assert sorted(world.list()) == sorted(names)


def test_an_empty_truncated_page_is_not_the_end():
    position = Position(b"", "k")
    page = followed(position, [], Listing([], [], [], [], True, "t"))
    (following,) = page.following
    assert ask_for(following).token == "t"


def test_a_page_that_says_how_it_goes_on_is_not_the_last_whatever_else_it_says():
    """What lay behind it was left out, and the job called complete. An empty page is: some services always tell how to go on."""
    last = Listing([b"k"], [1], [0], [], False, "t")
    (following,) = followed(Position(b""), [b"k"], last).following
    assert ask_for(following).after == b"k"
    assert not followed(following, [], Listing([], [], [], [], False, "t")).following


def test_a_first_page_that_is_refused_as_unknown_is_asked_for_in_the_old_way():
    page = refused(Position(b"d"), AnswerError(Reason.REJECTED, "NotImplemented"))
    assert page is not None
    assert ask_for(page.following[0]).is_old
    assert refused(page.following[0], AnswerError(Reason.REJECTED, "")) is None
    assert refused(Position(b"d"), AnswerError(Reason.PERMISSION, "")) is None


@pytest.mark.parametrize("until", ["x", "[]x", '["probe"', "{}"])
def test_a_stage_that_is_none_is_refused(until):
    with pytest.raises(AnswerError):
        followed(Position(b"", "c", until), [], Listing([], [], [], [], False, ""))


_letters = st.sampled_from(["ab", "0123456789", "0123456789abcdef", "a中b😀", "aBc/é\x01~"])


@st.composite
def _names(draw):
    letters = draw(_letters)
    names = draw(
        st.lists(st.text(st.sampled_from(letters), min_size=1, max_size=7), max_size=300, unique=True)
    )
    return [name.encode() for name in names]


@settings(max_examples=300)
@given(_names(), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_every_key_is_listed_exactly_once(names, page, heeds, is_old, seed):
    world = World(names, page, heeds=heeds or is_old, is_old=is_old, seed=seed)
    assert sorted(world.list()) == sorted(names)


def test_the_key_that_is_the_folder_itself_has_an_empty_name_and_is_listed():
    assert World([b"", b"1", b"/2"]).list() == [b"", b"/2", b"1"]
