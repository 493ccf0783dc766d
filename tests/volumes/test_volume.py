"""The books of a disk: state, lock, what comes back after a crash, what is discarded."""

import errno
import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from bucketpull.domain.batching import encode_parts
from bucketpull.domain.errors import ConfigError, LedgerError, MachineShort, VolumeSick
from bucketpull.domain.model import Extent, Part
from bucketpull.domain.record import Block, Conclusion, Record
from bucketpull.domain.status import VolumeState
from bucketpull.volumes.identity import HOME, identify, initialise
from bucketpull.volumes.ledger import Ledger
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer

JOURNAL = "0123456789ab"


def record(directory, *names, size=10):
    return Record(directory, "", list(names), [size] * len(names), [1_600_000_000] * len(names))


def block(work, *records, journal=JOURNAL):
    return Block(journal, work, msgspec.msgpack.encode(list(records)))


@pytest.fixture
def volume(tmp_path):
    initialise(str(tmp_path))
    opened = open_volume(str(tmp_path))
    yield opened
    opened.close()


def test_what_was_settled_is_read_again(volume):
    extents = volume.settle([block(1, record(b"a", b"x", b"y")), block(2, record(b"b", b"z"))])
    assert [volume.read(extent.offset) for extent in extents] == [
        [record(b"a", b"x", b"y")],
        [record(b"b", b"z")],
    ]
    assert {extent.volume for extent in extents} == {volume.id}
    assert volume.status().stored_objects == 3
    assert volume.status().stored_bytes == 30


def test_a_replaced_object_counts_once(volume):
    [first] = volume.settle([block(1, record(b"a", b"x", b"y", size=10))])
    changed = Block(JOURNAL, 2, block(2, record(b"a", b"y", b"z", size=25)).records, [first.offset])
    volume.settle([changed])
    assert (volume.status().stored_objects, volume.status().stored_bytes) == (3, 60)


def write(root, *paths, size=10):
    for path in paths:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(bytes(size))
        os.utime(root / path, (1_600_000_000, 1_600_000_000))


@pytest.mark.parametrize("pack", ["", "abcdef-0-000000"])
def test_the_file_of_a_former_version_goes_that_lay_beside_what_is_in_its_way_no_more(volume, tmp_path, pack):
    write(tmp_path, "%~a%~d/x", "%~b%~f")
    former = [record(b"a", b"x"), record(b"", b"b")]
    former[0].paths, former[1].paths = {0: b"%~a%~d/x"}, {0: b"%~b%~f"}
    [extent] = volume.settle([block(1, *former)])
    newer = [record(b"a", b"x", size=12), record(b"", b"b", size=12)]
    if pack:
        (tmp_path / "packs").mkdir()
        (tmp_path / f"packs/{pack}.tar").write_bytes(bytes(4096))
        for at, each in enumerate(newer):
            each.pack, each.offsets = pack, [at + 1]
    else:
        write(tmp_path, "a/x", "b", size=12)

    volume.settle([msgspec.structs.replace(block(2, *newer), former=[extent.offset])])

    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in sorted(left) if path[0] not in ".p"] == ([] if pack else ["a/x", "b"])
    assert volume.status().stored_objects == 2


def test_a_pack_replaces_the_file_that_lies_beside_a_directory_of_its_name(volume, tmp_path):
    write(tmp_path, "b/other", "%~b%~f")
    former = record(b"", b"b")
    former.paths = {0: b"%~b%~f"}
    [extent] = volume.settle([block(1, former)])
    newer = record(b"", b"b", size=12)
    newer.pack, newer.offsets = "abcdef-0-000000", [1]
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs/abcdef-0-000000.tar").write_bytes(bytes(4096))

    volume.settle([msgspec.structs.replace(block(2, newer), former=[extent.offset])])

    assert not (tmp_path / "%~b%~f").exists()
    assert (tmp_path / "b/other").exists()


def test_wrong_totals_are_put_right(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    for work in (1, 2):
        volume.settle([block(work, record(b"a", b"x", b"y"))])
    volume.correct(2, 20)
    assert (volume.status().stored_objects, volume.status().stored_bytes) == (2, 20)
    volume.correct(2, 20)
    volume.close()
    volume = open_volume(str(tmp_path))
    assert (volume.status().stored_objects, volume.status().stored_bytes) == (2, 20)
    assert [frame.records() for frame in volume._ledger.salvage()][2:] == [[]]
    volume.close()


@pytest.mark.parametrize("left", [0, 1, 2, 3, 4])
def test_a_volume_that_is_closed_while_it_is_measured_cannot_be_measured(volume, monkeypatch, left):
    """It happens at a hasty end; each look of the measurement may be the first that comes too late."""
    looks = itertools.count()
    for name in ("stat", "fstat", "fstatvfs"):
        monkeypatch.setattr(os, name, closing_first(getattr(os, name), volume, looks, left))

    with pytest.raises(VolumeSick):
        [volume.status() for _ in range(2)]


def closing_first(look, volume, looks, left):
    def closed(*arguments, **options):
        if next(looks) == left:
            volume.close()
        return look(*arguments, **options)

    return closed


def test_a_second_process_is_refused_and_told_who_has_the_volume(volume):
    code = f"from bucketpull.volumes.volume import open_volume; open_volume({volume.path!r})"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in second.stderr
    with pytest.raises(ConfigError, match="in use"):
        open_volume(volume.path)


def test_a_batch_is_known_where_it_was_intended_and_where_it_was_settled(tmp_path):
    initialise(str(tmp_path))
    first = open_volume(str(tmp_path))
    first.settle([block(1, record(b"a", b"x"))])
    for work in (2, 3):
        first.intend(JOURNAL, work)
    [extent] = first.settle([block(3, record(b"a", b"y"))])
    assert sorted(first.pending(JOURNAL)) == [(2, []), (3, [extent.offset])]
    first.close()
    second = open_volume(str(tmp_path))
    assert (sorted(second.pending(JOURNAL)), second.pending("other")) == ([(2, []), (3, [extent.offset])], [])
    second.forget(JOURNAL, [2])
    second.forget(JOURNAL, [3])
    assert second.pending(JOURNAL) == []
    second.close()
    third = open_volume(str(tmp_path))
    assert third.pending(JOURNAL) == []
    assert os.listdir(tmp_path / HOME / "intents") == []
    third.close()


def test_what_a_killed_worker_left_is_removed_when_the_volume_is_opened(tmp_path):
    volume = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    writer = open_writer(str(tmp_path), volume, "batch")
    (tmp_path / HOME / "tmp" / os.listdir(tmp_path / HOME / "tmp")[0] / "file").touch()
    (tmp_path / HOME / "tmp" / "stray").write_bytes(b"half")
    for name in ("young", "young.version", "old", "old.version", "published.version"):
        (tmp_path / HOME / "partial" / name).touch()
    for name in ("young.version", "old"):
        os.utime(tmp_path / HOME / "partial" / name, (0, 0))
    open_volume(str(tmp_path)).close()
    assert os.listdir(tmp_path / HOME / "tmp") == []
    assert sorted(os.listdir(tmp_path / HOME / "partial")) == ["young", "young.version"]
    writer.close()


def test_discarding_a_batch_removes_its_files_but_not_what_a_later_batch_stored(tmp_path):
    identity = initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    writer = open_writer(str(tmp_path), identity, "none")
    for name in (b"x", b"y", b"z"):
        writer.put(b"a", name, 0, [b"0123456789"], name)
    writer.close()
    first, second = volume.settle([block(1, record(b"a", b"x", b"y")), block(2, record(b"a", b"y", b"z"))])
    volume.forget(JOURNAL, [1])
    volume.conclude(JOURNAL, [Conclusion(1, [first.offset])])
    assert sorted(os.listdir(tmp_path / "a")) == ["y", "z"]
    assert volume.status().stored_objects == 2
    volume.conclude(JOURNAL, [Conclusion(1, [first.offset])])
    volume.conclude(JOURNAL, [Conclusion(77, [second.offset])])
    assert sorted(os.listdir(tmp_path / "a")) == ["y", "z"]
    volume.close()


def test_a_part_that_was_done_twice_is_discarded_without_the_files_that_count(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    for name in ("x", "y", "z"):
        (tmp_path / name).write_bytes(b"0123456789")
    volume.intend(JOURNAL, 1)
    first, second = volume.settle([block(1, record(b"", b"x", b"y")), block(1, record(b"", b"y", b"z"))])
    volume.conclude(JOURNAL, [Conclusion(1, [second.offset], [first.offset])])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x", "y"]
    assert volume.read(first.offset) == [record(b"", b"x", b"y")]
    assert volume.pending(JOURNAL) == []
    volume.close()


@pytest.mark.parametrize(("gone", "kept"), [(0, 1), (1, 0)])
def test_objects_that_came_again_as_another_batch_count_once_whichever_block_goes(tmp_path, gone, kept):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    extents = []
    for work in (0, 1):
        volume.intend(JOURNAL, work)
        for name in ("x", "y"):
            (tmp_path / name).write_bytes(b"0123456789")
        again = replace(block(work, record(b"", b"x", b"y")), former=[each.offset for each in extents])
        extents += volume.settle([again])
    volume.conclude(JOURNAL, [Conclusion(gone, [extents[gone].offset], [extents[kept].offset])])
    assert (volume.status().stored_objects, volume.status().stored_bytes) == (2, 20)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x", "y"]
    volume.close()


def test_what_many_batches_left_is_removed_in_few_passes_over_the_ledger(tmp_path, monkeypatch):
    """At the end of a long job there may be hundreds of them, and gigabytes of ledger."""
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    for work in range(40):
        volume.intend(JOURNAL, work, encode_parts([Part(b"", "", [b"%d" % work], [10], [5])]))
        (tmp_path / f"{work}").write_bytes(b"0123456789")
        os.utime(tmp_path / f"{work}", (5, 5))
    extents = volume.settle([block(work, record(b"", b"%d" % work)) for work in range(20)])
    reads = []
    read = Ledger.read
    monkeypatch.setattr(Ledger, "read", lambda ledger, offset: reads.append(offset) or read(ledger, offset))
    volume.conclude(JOURNAL, [Conclusion(work, [extents[work].offset]) for work in range(20)])
    volume.conclude(JOURNAL, [Conclusion(work) for work in range(20, 40)])
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(reads) < 6 * 40
    volume.close()


def test_files_that_could_not_be_removed_go_the_next_time(tmp_path, monkeypatch):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    volume.intend(JOURNAL, 1)
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(b"0123456789")
    [extent] = volume.settle([block(1, record(b"", b"x", b"y"))])
    with monkeypatch.context() as patch:
        patch.setattr("bucketpull.volumes.trash.TrashFolder.take", _short_of_files)
        with pytest.raises(MachineShort):
            volume.conclude(JOURNAL, [Conclusion(1, [extent.offset])])
    assert volume.pending(JOURNAL) == [(1, [extent.offset])]
    volume.conclude(JOURNAL, [Conclusion(1, [extent.offset])])
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
    assert volume.pending(JOURNAL) == []
    assert volume.status().stored_objects == 0
    volume.close()


def _short_of_files(*_):
    raise OSError(errno.EMFILE, "too many open files")


def test_a_batch_is_discarded_after_a_restart_too(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    (tmp_path / "x").write_bytes(b"0123456789")
    [extent] = volume.settle([block(1, record(b"", b"x"))])
    volume.close()
    volume = open_volume(str(tmp_path))
    volume.conclude(JOURNAL, [Conclusion(1, [extent.offset])])
    assert not (tmp_path / "x").exists()
    volume.close()


def test_discarding_follows_no_symbolic_link_out_of_the_volume(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").touch()
    inside = tmp_path / "inside"
    inside.mkdir()
    initialise(str(inside))
    (inside / "a").symlink_to(outside)
    volume = open_volume(str(inside))
    [extent] = volume.settle([block(1, record(b"a", b"x"))])
    volume.conclude(JOURNAL, [Conclusion(1, [extent.offset])])
    assert (outside / "x").exists()
    volume.close()


def test_the_reserve_is_kept_free(disks):
    disk = disks.tmpfs("10m")
    initialise(disk.path)
    for reserve, free in ((0, 10 << 20), (4 << 20, 6 << 20)):
        volume = open_volume(disk.path, None, reserve)
        assert abs(volume.status().free_bytes - free) < (1 << 20) + 100_000  # the ledger sets 1 MiB aside
        volume.close()


def test_a_full_disk_is_opened_though_nobody_can_note_there_who_has_it(disks):
    path = disks.tmpfs("2m").path
    initialise(path)
    open_volume(path).close()
    os.truncate(Path(path, HOME, "lock"), 0)
    with suppress(OSError), open(Path(path, "filler"), "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    for _ in range(2):
        volume = open_volume(path)
        assert volume.status().state is VolumeState.FULL
        volume.close()


def test_a_file_system_that_tells_no_size_is_used(tmp_path):
    subprocess.run(["mount", "-t", "ramfs", "ramfs", tmp_path], check=True)
    try:
        initialise(str(tmp_path))
        volume = open_volume(str(tmp_path), None, 1 << 30)
        status = volume.status()
        volume.close()
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)
    assert (status.state, status.detail) == (VolumeState.OPEN, "")
    assert 1 << 40 < status.free_bytes <= status.total_bytes


def test_what_a_file_system_passes_on_to_a_disk_survives_a_power_cut(disks):
    disk = disks.ext4(64, "loop,commit=300")
    odd = disks.odd(on=disk.path)
    initialise(odd.path)
    volume, writer = open_volume(odd.path), open_writer(odd.path, identify(odd.path), "batch")
    for number in range(20):
        writer.put(b"a", b"%d" % number, 1_600_000_000, [b"0123456789"], number)
    writer.close()
    volume.settle([block(1, record(b"a", *(b"%d" % number for number in range(20))))])
    disk.shut_down()
    odd.unplug()
    volume.close()
    odd.unmount(lazily=True)
    disk.unmount(lazily=True)
    disk.mount()
    assert {path.read_bytes() for path in Path(disk.path, "backing/a").iterdir()} == {b"0123456789"}


def test_a_full_disk_says_whether_bytes_or_inodes_are_missing(disks):
    small, few = disks.tmpfs("8m"), disks.tmpfs("64m", inodes=60)
    for disk in (small, few):
        initialise(disk.path)
    volume = open_volume(small.path)
    assert volume.status().state is VolumeState.OPEN
    Path(small.path, "filler").write_bytes(bytes((7 << 20) - 200_000))
    assert (volume.status().state, volume.status().detail) == (
        VolumeState.FULL,
        "no bytes left above the reserve",
    )
    Path(small.path, "filler").unlink()
    assert volume.status().state is VolumeState.OPEN
    volume.close()
    volume = open_volume(few.path)
    for number in range(50):
        if volume.status().state is VolumeState.FULL:
            break
        Path(few.path, str(number)).touch()
    assert (volume.status().state, volume.status().detail) == (VolumeState.FULL, "no inodes left")
    volume.close()


def test_a_disk_that_was_unmounted_is_sick_and_the_folder_beneath_stays_empty(disks):
    disk = disks.tmpfs()
    identity = initialise(disk.path)
    volume = open_volume(disk.path)
    writer = open_writer(disk.path, identity, "batch")
    disk.unmount(lazily=True)
    with pytest.raises(VolumeSick, match="no longer the disk"):
        volume.status()
    writer.put(b"a", b"x", 0, [b"x"], 1)
    writer.close()
    volume.settle([block(1, record(b"a", b"x"))])
    volume.close()
    assert os.listdir(disk.path) == []


def test_a_disk_mounted_over_the_volume_is_noticed_and_not_written(disks):
    disk = disks.ext4()
    initialise(disk.path)
    volume = open_volume(disk.path)
    other = disks.tmpfs()
    subprocess.run(["mount", "--bind", other.path, disk.path], check=True)
    try:
        with pytest.raises(VolumeSick, match="no longer the disk"):
            volume.status()
        assert os.listdir(other.path) == []
    finally:
        subprocess.run(["umount", disk.path], check=True)
    assert volume.status().state is VolumeState.OPEN
    volume.close()


def test_a_disk_that_the_kernel_made_read_only_is_sick_though_nothing_is_written(disks):
    disk = disks.ext4()
    initialise(disk.path)
    volume = open_volume(disk.path)
    disk.remount("abort")
    with pytest.raises(VolumeSick, match="not measured: Read-only"):
        volume.status()
    volume.close()


def test_a_disk_that_fails_is_sick_at_the_next_settling_and_stays_so(disks):
    disk = disks.ext4()
    initialise(disk.path)
    volume = open_volume(disk.path)
    disk.shut_down()
    for _ in range(2):
        with pytest.raises(VolumeSick, match=r"not synced|not written"):
            volume.settle([block(1, record(b"", b"x"))])
        with pytest.raises(VolumeSick):
            volume.status()
    volume.close()


def test_a_damaged_block_is_told_and_the_volume_still_opens(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    extents = volume.settle([block(number, record(b"a", b"%d" % number)) for number in range(3)])
    volume.close()
    with open(tmp_path / HOME / "ledger", "r+b") as file:
        file.seek(extents[1].offset + 60)
        file.write(b"\xff")
    volume = open_volume(str(tmp_path))
    with pytest.raises(LedgerError, match="no whole entry"):
        volume.read(extents[1].offset)
    assert volume.read(extents[2].offset) == [record(b"a", b"2")]
    assert 1 not in dict(volume.pending(JOURNAL))
    volume.close()


def test_an_append_torn_in_its_middle_is_cut_off_as_a_whole(tmp_path):
    """A power cut may keep the end of an append and not its middle."""
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    volume.intend(JOURNAL, 1)
    [first] = volume.settle([block(1, record(b"a", b"1"))])
    for work in (2, 3):
        volume.intend(JOURNAL, work)
    extents = volume.settle([block(2, record(b"a", b"2")), block(3, record(b"a", b"3"))])
    volume.close()
    with open(tmp_path / HOME / "ledger", "r+b") as file:
        file.seek(extents[0].offset)
        file.write(bytes(20))
    volume = open_volume(str(tmp_path))
    assert sorted(volume.pending(JOURNAL)) == [(1, [first.offset]), (2, []), (3, [])]
    assert volume.settle([block(2, record(b"a", b"2"))]) == [Extent(volume.id, extents[0].offset)]
    volume.close()


def with_a_damaged_block_since_a_note(path):
    """Note a batch, and store three others with it; return the volume, opened again, of which the first block since the note is damaged, and the blocks."""
    initialise(str(path))
    volume = open_volume(str(path))
    volume.intend(JOURNAL, 1)
    extents = [volume.settle([block(work, record(b"a", b"%d" % work))])[0] for work in (2, 1, 3)]
    volume.close()
    with open(path / HOME / "ledger", "r+b") as file:
        file.seek(extents[0].offset + 60)
        file.write(b"\xff")
    return open_volume(str(path)), extents


def test_a_damaged_block_since_the_oldest_note_costs_itself(tmp_path):
    volume, (damaged, mine, other) = with_a_damaged_block_since_a_note(tmp_path)

    assert volume.pending(JOURNAL) == [(1, [mine.offset])]
    assert volume.read(other.offset) == [record(b"a", b"3")]
    with pytest.raises(LedgerError, match="no whole entry"):
        volume.read(damaged.offset)
    assert "damaged" in volume.status().warning
    [more] = volume.settle([block(4, record(b"a", b"4"))])
    assert more.offset > other.offset
    volume.close()


def test_no_file_goes_of_which_a_damaged_block_may_tell(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    for work in (1, 2):
        volume.intend(JOURNAL, work)
    (tmp_path / "a").mkdir()
    for name in ("x", "y"):
        (tmp_path / "a" / name).write_bytes(b"z")
    [gone] = volume.settle([block(1, record(b"a", b"x"))])
    [damaged] = volume.settle([block(2, record(b"a", b"y"))])
    volume.settle([block(3, record(b"a", b"w"))])
    volume.close()
    with open(tmp_path / HOME / "ledger", "r+b") as file:
        file.seek(damaged.offset + 60)
        file.write(b"\xff")

    volume = open_volume(str(tmp_path))
    volume.conclude(JOURNAL, [Conclusion(1, [gone.offset])])
    volume.conclude(JOURNAL, [Conclusion(2, [])])
    volume.close()

    assert sorted(os.listdir(tmp_path / "a")) == ["x", "y"]


def test_settling_measuring_and_discarding_may_overlap(tmp_path):
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path))
    old = volume.settle([block(work, record(b"old", b"%d" % work)) for work in range(50)])

    def settle(thread):
        return volume.settle([block(1000 + thread, record(b"new", b"%d" % thread))])[0]

    with ThreadPoolExecutor(8) as threads:
        extents = threads.map(settle, range(50))
        list(
            threads.map(
                lambda work: volume.conclude(JOURNAL, [Conclusion(work, [old[work].offset])]), range(50)
            )
        )
        list(threads.map(lambda _: volume.status(), range(50)))
        assert [volume.read(extent.offset) for extent in extents] == [
            [record(b"new", b"%d" % n)] for n in range(50)
        ]
    assert sum(1 for _ in volume._ledger.salvage()) == 150
    assert volume.status().stored_objects == 50
    volume.close()
    with pytest.raises(VolumeSick):
        volume.settle([block(1, record(b"a", b"x"))])


def open_below(root):
    """Return what this process has open below a folder."""
    links = [os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
    return [
        path for link in links if os.path.lexists(link) and (path := os.readlink(link)).startswith(str(root))
    ]


@pytest.mark.parametrize("broken", ["thinned", "packs/0.lock"])
def test_a_disk_whose_volume_cannot_be_opened_can_be_unmounted(tmp_path, broken):
    """A sick one is tried again and again, as long as it takes to repair it."""
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / f"{identity[:6]}-0-000000.tar").touch()
    (tmp_path / HOME / broken).mkdir(parents=True)
    with pytest.raises(VolumeSick):
        open_volume(str(tmp_path))
    assert open_below(tmp_path) == []


def test_a_volume_that_another_process_has_leaves_nothing_open(volume, tmp_path):
    before = open_below(tmp_path)
    with pytest.raises(ConfigError):
        open_volume(str(tmp_path))
    assert open_below(tmp_path) == before
