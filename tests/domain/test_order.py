"""What goes first: prefixes, then dates or sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.model import Part
from bucketpull.domain.order import Order, parse_order

DAY = 86_400


def part(*objects: tuple[bytes, int, int], directory: bytes = b"") -> Part:
    names, sizes, mtimes = ([row[column] for row in objects] for column in range(3))
    return Part(directory, "", names, sizes, mtimes)


def test_words_and_prefixes_are_read():
    assert parse_order("newest") == Order("newest")
    assert parse_order("/2024/,2023/") == Order("", (b"2024/", b"2023/"))
    assert parse_order("2024/,largest") == Order("largest", (b"2024/",))


@pytest.mark.parametrize("text", ["", "newest,oldest", "a/,,b/", "biggest", "newest,2024", "Newest"])
def test_what_is_no_order_is_refused(text: str):
    with pytest.raises(ConfigError, match="--first"):
        parse_order(text)


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("newest", [2, 0, 1, 3]),
        ("oldest", [1, 0, 2, 3]),
        ("largest", [0, 1, 2, 3]),
        ("smallest", [2, 1, 0, 3]),
    ],
)
def test_objects_of_a_page_are_arranged_and_what_is_not_known_comes_last(by: str, expected: list[int]):
    page = part((b"a", 300, 2 * DAY), (b"b", 200, DAY), (b"c", 100, 3 * DAY), (b"d", -1, -1))

    assert Order(by).arranged(page) == expected


def test_objects_of_a_page_of_many_folders_are_arranged_by_prefix_and_then_by_size():
    page = part((b"a/1", 9, 1), (b"b/1", 1, 1), (b"c/1", 5, 1), (b"b/2", 2, 1), (b"a/2", 1, 1))

    arranged = Order("largest", (b"b/", b"a/")).arranged(page)

    assert [page.names[index] for index in arranged] == [b"b/2", b"b/1", b"a/1", b"a/2", b"c/1"]


@given(
    st.sampled_from(["newest", "oldest", "largest", "smallest"]),
    st.integers(0, 1 << 33),
    st.integers(0, 1 << 33),
)
def test_the_rank_of_a_batch_follows_its_objects(by: str, one: int, other: int):
    order = Order(by)
    first, second = (order.of_batch([part((b"x", value, value))]) for value in (one, other))

    if one < other:
        assert first >= second if by in {"newest", "largest"} else first <= second


def test_prefixes_go_before_everything_else_and_so_do_the_folders_that_lead_to_them():
    order = Order("newest", (b"2024/12/", b"2023/"))

    assert order.of_directory(b"") == order.of_directory(b"2024") == order.of_directory(b"2024/12/31") == 0
    assert order.of_directory(b"2023/01") < order.of_directory(b"2022")
    old, new = part((b"x", 1, DAY), directory=b"2024/12"), part((b"x", 1, 99 * DAY), directory=b"2022")
    assert order.of_batch([old]) < order.of_batch([new])


def test_of_a_batch_the_objects_of_its_foremost_prefix_can_be_had_alone():
    order = Order("", (b"b/", b"a/"))
    mixed = [part((b"c/1", 1, 1), (b"a/1", 2, 2)), part((b"b/1", 3, 3), (b"b/2", 4, 4), (b"a/2", 5, 5))]

    place, parts, count = order.leading(mixed)

    assert (place, count) == (0, 2)
    assert [name for each in parts for name in each.names] == [b"b/1", b"b/2", b"c/1", b"a/1", b"a/2"]
    assert order.leading(mixed[:1])[::2] == (1, 1)
    assert order.leading([part((b"c/1", 1, 1))])[::2] == (2, 1)


def test_a_prefix_may_end_within_a_name():
    order = Order("", (b"img/a",))

    assert order.of_batch([part((b"abc", 1, 1), directory=b"img")]) < order.of_batch(
        [part((b"bcd", 1, 1), directory=b"img")]
    )
