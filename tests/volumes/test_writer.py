"""The writing thread: everything handed over comes out, in order, told by one file descriptor."""

import select
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bucketpull.domain.errors import Reason, VolumeFull
from bucketpull.domain.record import Written
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer


@pytest.fixture
def writer(tmp_path):
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    opened = open_writer(str(tmp_path), identity, "batch")
    yield opened
    opened.close()


def collect(writer, count):
    """Wait by the file descriptor for so many outcomes; return them and how often it was readable."""
    found, wakes = [], 0
    while len(found) < count:
        assert select.select([writer.wake_fd], [], [], 10)[0], f"{len(found)} of {count} outcomes"
        found += writer.outcomes()
        wakes += 1
    return found, wakes


def test_outcomes_come_in_order_and_in_groups(writer, tmp_path):
    for number in range(3000):
        writer.put(b"d", b"%d" % number, 1, [b"%d" % number], number)
    found, wakes = collect(writer, 3000)
    assert found == [Written(number) for number in range(3000)]
    assert wakes < 1500
    assert (writer.queued_bytes, writer.written_bytes) == (0, sum(len(str(number)) for number in range(3000)))
    assert len(list((tmp_path / "d").iterdir())) == 3000
    assert not select.select([writer.wake_fd], [], [], 0)[0]
    assert writer.outcomes() == []


def test_no_object_waits_for_the_next_one(writer):
    """A lost wake-up would leave the thread asleep beside a full queue."""
    for number in range(2000):
        writer.put(b"d", b"x", 1, [b"x"], number)
        assert collect(writer, 1) == ([Written(number)], 1)


def test_closing_finishes_what_was_handed_over(writer, tmp_path):
    for number in range(500):
        writer.put(b"d", b"%d" % number, 1, [b"x"], number)
    writer.close()
    assert len(list((tmp_path / "d").iterdir())) == 500
    assert list((tmp_path / ".bucketpull/tmp").iterdir()) == []


def test_a_large_object_goes_through_in_pieces_between_small_ones(writer, tmp_path):
    stream = writer.stream(b"", b"film", 1_000_000, 5, hashed=True)
    for number in range(1000):
        stream.append(b"%03d" % number + bytes(997))
        writer.put(b"d", b"%d" % number, 1, [b"x"], number)
    stream.publish(1_000_000, b"", "film")
    found, _ = collect(writer, 1001)
    assert found[-1] == Written("film")
    assert (tmp_path / "film").read_bytes() == b"".join(
        b"%03d" % number + bytes(997) for number in range(1000)
    )


def test_a_stream_is_resumed_restarted_or_dropped(writer, tmp_path):
    first = writer.stream(b"", b"film", 10, 5)
    first.append(b"12345")
    first.close(keep=True)
    writer.put(b"", b"barrier", 1, [b""], 0)
    collect(writer, 1)
    second = writer.stream(b"", b"film", 10, 5)
    assert second.offset == 5
    second.restart()
    assert second.offset == 0
    second.append(b"abcdefghij")
    second.publish(10, b"", 1)
    assert collect(writer, 1)[0] == [Written(1)]
    assert (tmp_path / "film").read_bytes() == b"abcdefghij"
    third = writer.stream(b"", b"other", 10, 5)
    third.append(b"x")
    third.close(keep=False)
    writer.put(b"", b"barrier", 1, [b""], 0)
    collect(writer, 1)
    assert list((tmp_path / ".bucketpull/partial").iterdir()) == []


def test_a_disk_that_refuses_a_piece_is_told_at_once_and_by_the_outcome(disks):
    disk = disks.tmpfs("4m")
    identity = initialise(disk.path)
    open_volume(disk.path).close()
    writer = open_writer(disk.path, identity, "batch")
    stream = writer.stream(b"", b"film", 9 << 20, 5)
    deadline = time.monotonic() + 10
    while stream.trouble is None and time.monotonic() < deadline:
        stream.append(bytes(1 << 20))
    assert stream.trouble
    assert stream.trouble.reason is Reason.VOLUME_FULL
    stream.publish(9 << 20, b"", "film")
    [outcome], _ = collect(writer, 1)
    assert (outcome.token, outcome.reason) == ("film", Reason.VOLUME_FULL)
    fill_inodes(disk)
    with pytest.raises(VolumeFull):
        writer.stream(b"", b"second", 9 << 20, 5)
    writer.close()


def test_a_disk_that_hangs_stalls_the_caller_once_and_then_only_its_own_queue(disks):
    disk = disks.ext4()
    identity = initialise(disk.path)
    open_volume(disk.path).close()
    writer = open_writer(disk.path, identity, "batch")
    writer.put(b"d", b"first", 1, [b"x"], 0)
    frozen = hang(disk, seconds=0.2)
    writer.put(b"d", b"stalled", 1, [b"x"], 1)
    frozen.join()
    frozen = hang(disk, seconds=0.5)
    began = time.monotonic()
    for number in range(100):
        writer.put(b"d", b"%d" % number, 1, [b"x"], number + 2)
    assert time.monotonic() - began < 0.4
    assert writer.queued_bytes > 90
    frozen.join()
    assert [written.token for written in collect(writer, 102)[0]] == list(range(102))
    writer.close()


def hang(disk, seconds):
    """Freeze a disk, and thaw it by a thread."""
    disk.freeze()
    thawing = threading.Timer(seconds, disk.thaw)
    thawing.start()
    return thawing


def fill_inodes(disk):
    subprocess.run(["mount", "-o", "remount,nr_inodes=14", disk.path], check=True)
    for number in range(14):
        try:
            Path(disk.path, f"n{number}").touch()
        except OSError:
            return
