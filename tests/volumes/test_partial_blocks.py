"""Copies that count no more go from their volume; what is left of their blocks stays known."""

import hashlib
import os
import tracemalloc

import msgspec
import pytest
from tests.volumes.test_volume import JOURNAL, block, open_below, record

from bucketpull.domain.batching import encode_parts
from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import Extent, Former, Part
from bucketpull.domain.record import Record
from bucketpull.volumes import key_index
from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.ledger import Entry, Kind
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.volume import open_volume

MTIME = 1_600_000_000


@pytest.fixture
def root(tmp_path):
    initialise(str(tmp_path))
    return tmp_path


def put(root, key, content=b"0123456789", mtime=MTIME):
    (root / key).parent.mkdir(exist_ok=True)
    (root / key).write_bytes(content)
    os.utime(root / key, (mtime, mtime))


def stored(root, *names, work=1):
    """Store objects of folder `a` in one block; return the volume and where it lies."""
    for name in names:
        put(root, f"a/{name}")
    volume = open_volume(str(root))
    [extent] = volume.settle([block(work, record(b"a", *(name.encode() for name in names)))])
    return volume, extent


def former(extent, *names):
    part = Part(b"a", "", [name.encode() for name in names], [], [])
    return Former(extent.volume, [extent.offset], "another", encode_parts([part]))


def known(root):
    reader = open_reader(str(root))
    try:
        folder = root / HOME / "sorting"
        folder.mkdir(exist_ok=True)
        return sorted(each.name.decode() for each in LiveObjects(reader, str(folder)).objects())
    finally:
        reader.close()


def test_the_files_go_and_the_others_of_their_block_stay_known_also_after_a_restart(root):
    volume, extent = stored(root, "x", "y", "z")

    volume.remove(JOURNAL, [former(extent, "x", "z", "unknown")])

    assert sorted(os.listdir(root / "a")) == ["y"]
    assert volume.read(extent.offset) == [record(b"a", b"y")]
    assert volume.status().stored_objects == 1
    volume.close()
    again = open_volume(str(root))
    assert again.read(extent.offset) == [record(b"a", b"y")]
    again.close()
    assert known(root) == ["y"]


def test_it_may_be_asked_twice(root):
    volume, extent = stored(root, "x", "y")
    for _ in range(2):
        volume.remove(JOURNAL, [former(extent, "x")])
    assert volume.status().stored_objects == 1
    volume.close()
    assert known(root) == ["y"]


@pytest.mark.parametrize("content", [b"another size", b"9876543210"])
def test_a_file_that_was_stored_anew_since_stays(root, content):
    volume, extent = stored(root, "x", "y")
    put(root, "a/x", content, MTIME + 100)
    volume.settle([block(2, record(b"a", b"x", size=len(content)))])

    volume.remove(JOURNAL, [former(extent, "x")])

    assert (root / "a/x").read_bytes() == content
    volume.close()
    assert known(root) == ["x", "y"]


def test_of_a_copy_that_somebody_touched_changed_or_removed_nothing_stays_known_and_what_is_not_ours_stays(
    root,
):
    volume = open_volume(str(root))
    md5 = hashlib.md5(b"0123456789").digest()
    for name in ("changed", "gone", "kept", "touched"):
        put(root, f"a/{name}")
    objects = Record(
        b"a", "", [b"changed", b"gone", b"kept", b"touched"], [10] * 4, [MTIME] * 4, [], [md5] * 4
    )
    [extent] = volume.settle([block(1, objects)])
    put(root, "a/changed", b"9876543210", MTIME + 5)
    put(root, "a/touched", mtime=MTIME + 5)
    (root / "a/gone").unlink()

    volume.remove(JOURNAL, [former(extent, "changed", "gone", "touched")])

    assert sorted(os.listdir(root / "a")) == ["changed", "kept"]
    assert volume.status().stored_objects == 1
    assert "a/changed" in volume.status().warning
    volume.close()
    assert known(root) == ["kept"]


def test_what_replaces_an_object_of_a_thinned_block_is_counted_once(root):
    volume, extent = stored(root, "x", "y", "z")
    volume.remove(JOURNAL, [former(extent, "x")])
    put(root, "a/y", b"longer than before", MTIME + 100)

    newer = block(2, record(b"a", b"y", size=18))
    newer.former = [extent.offset]
    volume.settle([newer])

    assert (volume.status().stored_objects, volume.status().stored_bytes) == (2, 28)

    put(root, "a/x", mtime=MTIME + 100)
    back = block(3, record(b"a", b"x"))
    back.former = [extent.offset]
    volume.settle([back])

    assert (volume.status().stored_objects, volume.status().stored_bytes) == (3, 38)
    volume.close()


def test_a_file_that_was_lost_is_known_so_that_it_comes_back_to_its_disk(root):
    volume, extent = stored(root, "x", "y", "z")
    volume.remove(JOURNAL, [former(extent, "x")])
    (root / "a/y").unlink()
    assert volume.read(extent.offset) == [record(b"a", b"y", b"z")]
    volume.close()


def test_a_kill_before_the_files_went_is_made_good_when_it_is_asked_again(root, monkeypatch):
    volume, extent = stored(root, "x", "y")
    with monkeypatch.context() as patch:
        patch.setattr("bucketpull.volumes.files.tree.Tree.remove", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            volume.remove(JOURNAL, [former(extent, "x")])
    volume.close()
    assert known(root) == ["y"]

    again = open_volume(str(root))
    again.remove(JOURNAL, [former(extent, "x")])
    assert os.listdir(root / "a") == ["y"]
    assert again.status().stored_objects == 1
    again.close()


def test_a_note_of_which_the_disk_takes_a_part_at_once_is_written_to_its_end(root, monkeypatch):
    """As on a disk with little room, or a network mount: what is missing of it would be listed as lying there."""
    volume, extent = stored(root, "x", "y")
    put(root, "a/z")
    [other] = volume.settle([block(2, record(b"a", b"z"))])
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:8]))
        volume.remove(JOURNAL, [former(extent, "x"), former(other, "z")])
    volume.close()

    again = open_volume(str(root))
    assert (again.read(extent.offset), again.read(other.offset)) == ([record(b"a", b"y")], [])
    again.close()


def test_a_torn_note_of_thinned_blocks_is_mended(root):
    volume, extent = stored(root, "x", "y")
    (root / HOME / "thinned").write_bytes(b"abc")
    volume.remove(JOURNAL, [former(extent, "x")])
    volume.close()
    again = open_volume(str(root))
    assert again.read(extent.offset) == [record(b"a", b"y")]
    again.close()


def test_a_block_that_is_damaged_or_none_removes_nothing(root):
    volume, extent = stored(root, "x")
    volume.remove(JOURNAL, [former(Extent(extent.volume, extent.offset + 3), "x")])
    assert os.listdir(root / "a") == ["x"]
    volume.close()


def test_a_sick_volume_removes_nothing(root):
    volume, extent = stored(root, "x")
    volume._sick = "it failed"
    with pytest.raises(VolumeSick):
        volume.remove(JOURNAL, [former(extent, "x")])
    assert os.listdir(root / "a") == ["x"]
    volume.close()


def test_what_was_removed_costs_no_memory_that_grows_with_it(root):
    """Of 300,000 removed objects a dictionary holds 27 MB, whatever it maps to."""
    volume, extent = stored(root, "x", "y")
    volume.remove(JOURNAL, [former(extent, "x")])
    names = [[b"%d-%d" % (group, number) for number in range(3000)] for group in range(100)]
    removals = [msgspec.msgpack.encode([Record(b"b", "", each, [], [])]) for each in names]
    volume._append([Entry(Kind.REMOVAL, JOURNAL, 0, data, 0, 0) for data in removals])
    del names, removals
    tracemalloc.start()
    try:
        assert volume.read(extent.offset) == [record(b"a", b"y")]
        assert tracemalloc.get_traced_memory()[0] < 8_000_000
    finally:
        tracemalloc.stop()
        volume.close()


def test_a_volume_that_is_closed_has_no_index_open_on_its_disk(root, monkeypatch):
    monkeypatch.setattr(key_index, "_SEGMENT_BYTES", 1)
    volume, extent = stored(root, "x", "y")
    volume.remove(JOURNAL, [former(extent, "x")])
    assert volume.read(extent.offset) == [record(b"a", b"y")]

    volume.close()

    assert open_below(root) == []
