"""The growth of a ledger's totals: what needs no names comes to the same as what compares them."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.record import Block, Record
from bucketpull.volumes.growth import growths_of, growths_of_files


@st.composite
def apart(draw: st.DrawFn) -> list[list[Record]]:
    """Blocks of records, no object of which is in another one; some files are not as long as listed."""
    names = iter(range(1_000))
    blocks = []
    for counts in draw(st.lists(st.lists(st.integers(1, 5), max_size=3), max_size=4)):
        records = []
        for count in counts:
            sizes = draw(st.lists(st.integers(-1, 1 << 40), min_size=count, max_size=count))
            record = Record(
                draw(st.sampled_from([b"", b"a"])),
                "",
                [b"%d" % next(names) for _ in sizes],
                sizes,
                [0] * count,
            )
            if -1 in sizes or draw(st.booleans()):
                record.stored = draw(st.lists(st.integers(0, 1 << 40), min_size=count, max_size=count))
            records.append(record)
        blocks.append(records)
    return blocks


def encoded(blocks: list[list[Record]]) -> list[Block]:
    return [Block("job", work, msgspec.msgpack.encode(records)) for work, records in enumerate(blocks)]


@given(apart())
def test_files_of_new_objects_count_as_if_their_names_were_compared(blocks: list[list[Record]]) -> None:
    assert growths_of_files(encoded(blocks)) == list(growths_of(blocks, [[]] * len(blocks)))


def test_what_lies_in_packs_is_left_to_those_who_read_names():
    file, packed = (Record(b"a", "", [name], [1], [0]) for name in (b"x", b"y"))
    packed.pack, packed.offsets = "abcdef-0-000000", [1]
    assert growths_of_files(encoded([[file], [packed]])) == []
