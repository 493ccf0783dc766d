"""Writing here or in a thread: everything handed over comes out once, by the call or told by one file descriptor."""

import functools
import os
import select
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bucketpull.domain.errors import MachineShort, Reason, VolumeFull
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Written
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.packs.writer import open_pack_writer
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer


@pytest.fixture
def writer(tmp_path):
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    opened = open_writer(str(tmp_path), identity, "batch")
    yield opened
    opened.close()


def readable(fd, seconds):
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Clerk:
    """Puts objects, by their numbers, and keeps what became of them; `wakes` counts how often there were outcomes to fetch."""

    def __init__(self, writer):
        self.writer = writer
        self.found = []
        self.wakes = 0

    def put(self, number, name=None, directory=b"d", body=b"x"):
        written = self.writer.put(directory, name or b"%d" % number, 1, [body], number)
        if written is not None:
            self.found.append(written)

    def collect(self, count):
        """Wait by the file descriptor until there are so many outcomes; return them all."""
        while len(self.found) < count:
            assert readable(self.writer.wake_fd, 10), f"{len(self.found)} of {count} outcomes"
            self.found += self.writer.outcomes()
            self.wakes += 1
        return sorted(self.found, key=lambda written: str(written.token))


@pytest.fixture
def clerk(writer):
    return Clerk(writer)


def test_each_object_has_one_outcome_at_once_or_told_in_groups(writer, clerk, tmp_path):
    for number in range(3000):
        clerk.put(number, body=b"%d" % number)
    assert clerk.collect(3000) == sorted(map(Written, range(3000)), key=lambda written: str(written.token))
    assert clerk.wakes < 1500
    assert writer.queued_bytes == 0
    assert len(list((tmp_path / "d").iterdir())) == 3000
    assert not readable(writer.wake_fd, 0)
    assert writer.outcomes() == []


def test_a_bug_in_its_thread_is_raised_where_outcomes_are_taken(tmp_path):
    """Else the process would wait for them for ever."""
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    writer = open_writer(str(tmp_path), identity, "file")
    writer.give(1, lambda: 1 / 0, ())
    assert readable(writer.wake_fd, 10)
    with pytest.raises(ZeroDivisionError):
        writer.outcomes()
    writer.close()


@pytest.mark.parametrize("durability", ["batch", "file"])  # the latter always writes in the thread
def test_no_object_waits_for_the_next_one(tmp_path, durability):
    """A lost wake-up would leave the thread asleep beside a full queue."""
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    writer = open_writer(str(tmp_path), identity, durability)
    for number in range(2000):
        clerk = Clerk(writer)
        clerk.put(number, b"x")
        assert clerk.collect(1) == [Written(number)]
    writer.close()


def test_closing_finishes_what_was_handed_over(writer, clerk, tmp_path):
    for number in range(500):
        clerk.put(number)
    writer.close()
    assert len(list((tmp_path / "d").iterdir())) == 500
    assert list((tmp_path / ".bucketpull/tmp").iterdir()) == []


def test_a_large_object_goes_through_in_pieces_between_small_ones(writer, clerk, tmp_path):
    stream = writer.stream(b"", b"film", 1_000_000, 5, hashed=True)
    for number in range(1000):
        stream.append(b"%03d" % number + bytes(997))
        clerk.put(number)
    stream.publish(1_000_000, None, "film")
    assert clerk.collect(1001)[-1] == Written("film")
    assert (tmp_path / "film").read_bytes() == b"".join(
        b"%03d" % number + bytes(997) for number in range(1000)
    )


def test_a_stream_is_resumed_restarted_or_dropped(writer, clerk, tmp_path):
    first = writer.stream(b"", b"film", 10, 5)
    first.note('"v"', "")
    first.append(b"12345")
    first.close(keep=True)
    clerk.put(0, b"barrier")
    clerk.collect(1)
    second = writer.stream(b"", b"film", 10, 5)
    assert second.offset == 5
    second.restart()
    assert second.offset == 0
    second.append(b"abcdefghij")
    second.publish(10, None, 1)
    assert clerk.collect(2) == [Written(0), Written(1)]
    assert (tmp_path / "film").read_bytes() == b"abcdefghij"
    third = writer.stream(b"", b"other", 10, 5)
    third.append(b"x")
    third.close(keep=False)
    clerk.put(2, b"barrier")
    clerk.collect(3)
    assert list((tmp_path / ".bucketpull/partial").iterdir()) == []


def test_a_disk_that_refuses_a_piece_is_told_at_once_and_by_the_outcome(disks):
    disk = disks.tmpfs("4m")
    identity = initialise(disk.path)
    open_volume(disk.path).close()
    writer = open_writer(disk.path, identity, "batch")
    stream = writer.stream(b"", b"film", 9 << 20, 5)
    deadline = time.monotonic() + 60
    while stream.trouble is None and time.monotonic() < deadline:
        stream.append(bytes(1 << 20))
    assert stream.trouble
    assert stream.trouble.reason is Reason.VOLUME_FULL
    stream.publish(9 << 20, None, "film")
    [outcome] = Clerk(writer).collect(1)
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
    clerk = Clerk(writer)
    clerk.put(0)
    thawing = hang(disk, seconds=0.2)
    clerk.put(1)
    thawing.join()
    thawing = hang(disk, seconds=60)
    for number in range(100):
        clerk.put(number + 2)
    assert writer.queued_bytes > 90
    assert not thawing.finished.is_set(), "who puts waited for the disk"
    thawing.cancel()
    disk.thaw()
    assert sorted(written.token for written in clerk.collect(102)) == list(range(102))
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


@pytest.mark.parametrize(
    "opened", [open_writer, functools.partial(open_pack_writer, packing=Packing())], ids=["files", "packs"]
)
def test_a_writer_that_cannot_be_begun_holds_nothing(tmp_path, monkeypatch, opened):
    """No thread may be started for now: it is tried again when the volume is opened anew."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(threading.Thread, "start", refuse)

    with pytest.raises(MachineShort):
        opened(str(tmp_path), identity, "batch")

    assert sorted(os.listdir("/proc/self/fd")) == before
