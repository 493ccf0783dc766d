"""A bookkeeper killed at random instants, or losing its power: what it had said is booked is booked, once, and all adds up."""

import fcntl
import os
import random
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.journal.conftest import extents_of

from bucketpull.journal.sqlite_journal import SqliteJournal

BOOKKEEPER = Path(__file__).with_name("bookkeeper.py")
KILLS = 12
SHUT_DOWN, WITHOUT_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN


class Ext4:
    """An ext4 file system in a file, whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        self.path, self.image = folder / "ext4", folder / "ext4.image"
        self.path.mkdir()
        self.image.touch()
        os.truncate(self.image, 128 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        self.mount()

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.path], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.path], check=True)

    def cut_the_power(self) -> None:
        """Lose what is not on the disk by now; all further access fails."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUT_DOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        finally:
            os.close(fd)


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Ext4]:
    disk = Ext4(tmp_path)
    yield disk
    disk.unmount()


def run_and_kill(folder: Path, lines: int) -> int:
    """Let a bookkeeper book so many times and kill it without warning; return what it had booked last."""
    command = [sys.executable, BOOKKEEPER, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        said = [int(keeper.stdout.readline()) for _ in range(lines)]
        keeper.kill()
        said += [int(line) for line in keeper.stdout if line.endswith("\n")]
    return said[-1]


def test_nothing_booked_is_lost_or_doubled_by_kills(folder):
    seed = random.randrange(10**6)
    print("seed", seed)
    luck = random.Random(seed)

    for _ in range(KILLS):
        said = run_and_kill(folder, luck.randint(1, 30))
        journal = SqliteJournal.open(folder, "job", None)
        counters, outstanding = journal.counters(), journal.outstanding()
        assert counters.stored >= said
        assert counters.listed == counters.stored + outstanding.objects
        for balance in journal.balances():
            assert (balance.listed, balance.stored) == (counters.listed, counters.stored)
        check_rows(journal)
        journal.close()


def check_rows(journal: SqliteJournal) -> None:
    """Each page has as many ledger blocks as it has settled batches, and as much work as it has open ones."""
    connection = journal._tables.connection.sqlite
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    open_batches = connection.execute("select count(*) from work where kind = 1").fetchone()[0]
    pages = connection.execute("select objects, stored from page").fetchall()
    settled = sum(len(extents) for _, _, extents in extents_of(journal))
    assert sum(stored for _, stored in pages) == 100 * settled
    assert sum(objects - stored for objects, stored in pages) == 100 * open_batches
    assert connection.execute("select count(*) from work where kind = 0").fetchone() == (1,)


def booked_before_a_power_cut(disk: Ext4, lines: int, synced: str = "") -> int:
    """Let a bookkeeper book so many times and cut the power; return what it had booked last."""
    command = [sys.executable, BOOKKEEPER, disk.path / "state", synced]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as keeper:
        said = [int(keeper.stdout.readline()) for _ in range(lines)]
        # Between two system calls: of a sync under way ext4 may say that it was done, though it lost what that was to keep.
        keeper.send_signal(signal.SIGSTOP)
        os.waitpid(keeper.pid, os.WUNTRACED)
        disk.cut_the_power()
        keeper.send_signal(signal.SIGCONT)
        output, errors = keeper.communicate(timeout=60)
        assert "JournalError" in errors, errors
    disk.unmount()
    disk.mount()
    return [*said, *map(int, output.split())][-1]


@pytest.mark.parametrize("lines", [1, 20, 60])
def test_a_power_cut_loses_nothing_booked(ext4, lines):
    for _ in range(2):
        said = booked_before_a_power_cut(ext4, lines)
        journal = SqliteJournal.open(ext4.path / "state", "job", None)
        assert journal.counters().stored >= said
        check_rows(journal)
        journal.close()


def test_the_loss_is_seen_where_nothing_is_synced(ext4):
    SqliteJournal.open(ext4.path / "state", "job", {"source": "upyun://b"}).close()
    subprocess.run(["sync", "-f", ext4.path], check=True)

    said = booked_before_a_power_cut(ext4, 60, "unsynced")

    journal = SqliteJournal.open(ext4.path / "state", "job", None)
    assert journal.counters().stored < said
    journal.close()
