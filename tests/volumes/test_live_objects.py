"""The last word on each object, by an external sort."""

import os

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bucketpull.domain.record import Block, Conclusion, Record
from bucketpull.volumes import scratch
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.ledger import Damage
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.scratch import Partitions, digest_of
from bucketpull.volumes.volume import open_volume

JOURNAL = "0123456789ab"


def block(work, names, size):
    record = Record(b"d", "", list(names), [size] * len(names), [1] * len(names))
    return Block(JOURNAL, work, msgspec.msgpack.encode([record]))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.booleans(), st.sets(st.sampled_from([b"%d" % number for number in range(8)]), min_size=1)
        ),
        max_size=12,
    )
)
def test_the_last_entry_of_each_object_counts_and_discarded_ones_do_not(
    tmp_path_factory, monkeypatch, history
):
    monkeypatch.setattr(scratch, "_ENTRIES_A_FILE", 3)
    path = str(tmp_path_factory.mktemp("volume"))
    initialise(path)
    volume = open_volume(path)
    expected, blocks = {}, []
    for work, (discard, names) in enumerate(history):
        if discard and blocks:
            gone = blocks.pop()
            other, extent = gone
            for name in [name for name, size in expected.items() if size == other]:
                del expected[name]
            volume.conclude(JOURNAL, [Conclusion(other, [extent.offset])])
        else:
            [extent] = volume.settle([block(work, names, work)])
            blocks.append((work, extent))
            expected.update(dict.fromkeys(names, work))
    volume.close()
    reader = open_reader(path)
    found = LiveObjects(reader, str(tmp_path_factory.mktemp("sorting")))
    assert sorted((stored.name, stored.size) for stored in found.objects()) == sorted(expected.items())
    assert found.count == len(expected)
    reader.close()


def test_a_deal_of_any_number_of_files_keeps_none_open(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_ENTRIES_A_FILE", 1)
    before = len(os.listdir("/proc/self/fd"))
    dealt = Partitions(str(tmp_path), "keys", expected=700, tail_bytes=2)
    entries = [(digest_of(b"%d" % number), number.to_bytes(2, "big")) for number in range(2000)]
    for digest, tail in entries:
        dealt.add(digest, tail)
    assert len(os.listdir("/proc/self/fd")) == before
    dealt.finish()

    found = [entry for number in range(dealt.count) for entry in dealt.stream(number)]

    assert dealt.count == 701
    assert sorted(found) == sorted(digest + tail for digest, tail in entries)
    assert not os.listdir(tmp_path)


def test_a_damaged_block_is_named_and_the_others_are_read(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    extents = volume.settle([block(number, [b"%d" % number], 5) for number in range(3)])
    volume.close()
    with open(tmp_path / ".bucketpull/ledger", "r+b") as file:
        file.seek(extents[1].offset)
        file.write(b"????")
    reader = open_reader(str(tmp_path))
    found = LiveObjects(reader, str(tmp_path))
    assert [stored.name for stored in found.objects()] == [b"0", b"2"]
    assert found.damages == [Damage(extents[1].offset, extents[2].offset)]
    reader.close()


def test_entries_that_take_few_bytes_are_dealt_out_over_enough_files(tmp_path, monkeypatch):
    """Without MD5s, and with names that are alike, they take four bytes."""
    monkeypatch.setattr(scratch, "_ENTRIES_A_FILE", 100)
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    volume.settle([block(1, [b"img-%06d.jpg" % number for number in range(5000)], 9)])
    volume.close()
    reader = open_reader(str(tmp_path))
    sorted_at_once, take = [], Partitions.take
    monkeypatch.setattr(
        Partitions, "take", lambda self, number: sorted_at_once.append(found := take(self, number)) or found
    )

    LiveObjects(reader, str(tmp_path))

    reader.close()
    assert max(map(len, sorted_at_once)) < 200
