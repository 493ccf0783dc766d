"""Batches and scans: nothing is lost or doubled by cutting, and the bounds hold."""

from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.batching import (
    LARGE_BYTES,
    LARGE_OBJECTS,
    MAX_BYTES,
    UNKNOWN_BYTES,
    are_apart,
    batch_of,
    bundle,
    cut,
    decode_positions,
    encode_positions,
    spans_of,
)
from bucketpull.domain.model import Part, Position


def page(directory: bytes, sizes: list[int], cursor: str = "") -> Part:
    names = [b"%06d" % index for index in range(len(sizes))]
    return Part(directory, cursor, names, sizes, [1_700_000_000 + index for index in range(len(sizes))])


def rows(parts: list[Part]) -> list[tuple[bytes, str, bytes, int, int]]:
    return [
        (part.directory, part.cursor, name, size, mtime)
        for part in parts
        for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True)
    ]


pages = st.lists(
    st.builds(
        page,
        st.binary(max_size=3),
        st.lists(st.integers(0, 300) | st.just(LARGE_BYTES + 1), max_size=40),
        st.sampled_from(["", "next"]),
    ),
    max_size=12,
)


@given(pages, st.integers(1, 50), st.integers(1, 2 * LARGE_BYTES))
def test_every_object_is_in_exactly_one_batch(parts: list[Part], max_objects: int, max_bytes: int) -> None:
    batches = cut(parts, max_objects, max_bytes)

    bodies = [batch.parts for batch in batches]
    assert sorted(row for body in bodies for row in rows(body)) == sorted(rows(parts))


named = st.builds(
    lambda directory, cursor, names: Part(directory, cursor, list(names), [1] * len(names), [0] * len(names)),
    st.sampled_from([b"", b"a", b"b"]),
    st.sampled_from(["", "next"]),
    st.sets(st.sampled_from([b"%d" % number for number in range(12)]), min_size=1, max_size=4),
)


@given(st.lists(st.lists(named, max_size=3), max_size=4))
def test_no_object_is_twice_in_batches_that_are_apart(batches: list[list[Part]]) -> None:
    spans = [span for parts in batches for span in spans_of(parts)]
    overlap = any(
        one.directory == other.directory and one.first <= other.last and other.first <= one.last
        for at, one in enumerate(spans)
        for other in spans[at + 1 :]
    )
    assert are_apart(spans) is not overlap
    # A page names an object once; here, two parts of one batch may be of one page.
    ids = [each for parts in batches for each in {(part.cursor, one) for part in parts for one in part.ids()}]
    assert overlap or len(ids) == len({one for _, one in ids})


@given(st.lists(named, max_size=6), st.integers(1, 5))
def test_an_object_that_two_pages_name_is_in_a_batch_of_each(parts: list[Part], max_objects: int) -> None:
    """What becomes of a batch's objects is told by directory and name: two of one name would be taken for each other."""
    batches = cut(parts, max_objects)
    found = [[each for part in batch.parts for each in part.ids()] for batch in batches]
    assert all(len(ids) == len(set(ids)) for ids in found)
    assert sorted(row for batch in batches for row in rows(batch.parts)) == sorted(rows(parts))


@given(pages, st.integers(1, 50), st.integers(1, 2 * LARGE_BYTES))
def test_no_batch_exceeds_its_bounds_except_a_single_object(
    parts: list[Part], max_objects: int, max_bytes: int
) -> None:
    for batch in cut(parts, max_objects, max_bytes):
        objects = rows(batch.parts)
        assert batch.objects == len(objects) <= max_objects
        assert batch.bytes == sum(size for *_, size, _ in objects)
        assert batch.bytes <= max_bytes or batch.objects == 1
        assert batch.objects > 0


@given(pages)
def test_spans_name_each_page_once_with_its_smallest_and_largest_object(parts: list[Part]) -> None:
    for batch in cut(parts, 7):
        by_page: dict[tuple[bytes, str], list[bytes]] = {}
        for directory, cursor, name, _, _ in rows(batch.parts):
            by_page.setdefault((directory, cursor), []).append(name)
        expected = {page: (min(names), max(names)) for page, names in by_page.items()}
        assert {(span.directory, span.cursor): (span.first, span.last) for span in batch.spans} == expected
        assert len(batch.spans) == len(expected)


def test_a_large_page_is_split_evenly() -> None:
    batches = cut([page(b"d", [1] * 1001)])

    assert [batch.objects for batch in batches] == [501, 500]


def test_small_pages_share_a_batch() -> None:
    batches = cut([page(b"%d" % index, [1] * 3) for index in range(300)])

    assert [batch.objects for batch in batches] == [900]
    assert len(batches[0].spans) == 300


def test_a_small_object_does_not_wait_for_a_large_one() -> None:
    batches = cut([page(b"d", [100, LARGE_BYTES + 1, 100])])

    assert [(batch.objects, batch.bytes) for batch in batches] == [(2, 200), (1, LARGE_BYTES + 1)]


def test_large_objects_have_few_neighbours() -> None:
    batches = cut([page(b"d", [LARGE_BYTES + 1] * 40)], max_bytes=100 * MAX_BYTES)

    assert all(batch.objects <= LARGE_OBJECTS for batch in batches)


def test_nothing_makes_no_batch() -> None:
    assert cut([]) == []
    assert cut([page(b"d", [])]) == []


@given(
    st.lists(st.builds(Position, st.binary(max_size=4), st.sampled_from(["", "c"])), max_size=400),
    st.integers(0, 10**6),
)
def test_every_position_is_in_exactly_one_scan(positions: list[Position], outstanding: int) -> None:
    bundles = bundle(positions, outstanding)

    flat = [position for group in bundles for position in group]
    assert sorted(flat, key=repr) == sorted(positions, key=repr)
    assert all(bundles)


def test_the_first_directories_are_scanned_in_parallel_and_a_million_later_ones_together() -> None:
    directories = [Position(b"%d" % index) for index in range(128)]

    assert len(bundle(directories, outstanding=0)) == 128
    assert [len(group) for group in bundle(directories, outstanding=16_384)] == [64, 64]


def test_later_pages_of_a_directory_are_a_scan_each() -> None:
    groups = bundle([Position(b"d", "c1"), Position(b"d", "c2"), Position(b"e")], outstanding=10**6)

    assert [len(group) for group in groups] == [1, 1, 1]


def test_positions_survive_encoding() -> None:
    positions = [Position(b"\xff", "c", "u", b"digest", 3)]

    assert decode_positions(encode_positions(positions)) == positions


@given(pages, st.integers(min_value=1, max_value=20))
def test_an_object_keeps_its_version_and_its_url_whatever_is_cut(parts: list[Part], most: int) -> None:
    for part in parts:
        part.versions = [f"v{name!r}" for name in part.names]
        part.urls = [f"http://{part.cursor}/{name!r}" for name in part.names]
    batches = cut(parts, most, 10_000)
    found = [row for each in batches for part in each.parts for row in part.rows()]
    assert sorted(found) == sorted(row for part in parts for row in part.rows())


def test_what_is_not_known_counts_as_nothing_in_the_books_and_as_something_on_the_disk() -> None:
    batch = batch_of([page(b"d", [5, -1, 7, -1])])
    assert batch.bytes == 12
    assert batch.expected_bytes == 12 + 2 * UNKNOWN_BYTES
