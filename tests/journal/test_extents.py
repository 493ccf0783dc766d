"""The blobs of ledger blocks: what is appended is found, once, and in order."""

from hypothesis import given
from hypothesis import strategies as st

from bucketpull.journal.extents import covers, in_ledger_order, merged, pack_entries, unpack_entries

NAMES = st.binary(max_size=3)


@st.composite
def entries(draw):
    block = (draw(st.integers(1, 3)), draw(st.integers(0, 5)))
    if draw(st.booleans()):
        return block
    first, last = sorted([draw(NAMES), draw(NAMES)])
    return (*block, first, last)


@given(st.lists(entries()))
def test_what_is_packed_is_unpacked(listed):
    assert unpack_entries(pack_entries(listed)) == listed


def test_nothing_packs_to_nothing():
    assert pack_entries([]) == b""
    assert unpack_entries(b"") == []
    assert unpack_entries(None) == []


def test_a_block_that_covers_its_page_costs_a_few_bytes():
    assert len(pack_entries([(1, 3_000_000_000)])) <= 8


@given(st.lists(entries()), st.lists(entries()), NAMES)
def test_merging_keeps_each_block_once_and_covers_no_less(old, new, name):
    start = merged([], old)

    result = merged(start, new)

    blocks = [entry[:2] for entry in result]
    assert len(blocks) == len(set(blocks))
    assert blocks[: len(start)] == [entry[:2] for entry in start]
    for entry in [*old, *new]:
        if covers(entry, name, name):
            assert any(kept[:2] == entry[:2] and covers(kept, name, name) for kept in result)


@given(entries(), NAMES, NAMES)
def test_a_piece_covers_a_range_that_it_overlaps(entry, one, other):
    first, last = min(one, other), max(one, other)

    assert covers(entry, first, last) == (len(entry) == 2 or not (entry[3] < first or entry[2] > last))


def test_later_blocks_of_a_ledger_come_later_and_volumes_keep_their_places():
    found = [(1, 500), (1, 0), (2, 70), (1, 90, b"a", b"b"), (2, 7)]

    assert in_ledger_order(found) == [(1, 0), (1, 90, b"a", b"b"), (2, 7), (1, 500), (2, 70)]
