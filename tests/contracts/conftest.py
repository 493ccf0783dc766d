"""The implementations of each seam, behind the few things that a suite needs to play with them."""

import os
import shutil

import msgspec
import pytest
from tests.transport.conftest import ends

from bucketpull.domain.model import Part, key_of
from bucketpull.domain.record import Block, Record
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.testing.memory_journal import MemoryJournal
from bucketpull.testing.memory_volume import MemoryVolume
from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.volume import open_volume

__all__ = ["ends"]
JOURNAL = "0123456789ab"
BODY = b"0123456789"
MTIME = 1_600_000_000


def part(directory, *names):
    """Return listed objects as they are written by `write`."""
    return Part(directory, "", list(names), [len(BODY)] * len(names), [MTIME] * len(names))


def block(work, *parts, former=()):
    """Return what a ledger is to say of objects."""
    records = [Record(each.directory, "", each.names, each.sizes, each.mtimes) for each in parts]
    return Block(JOURNAL, work, msgspec.msgpack.encode(records), list(former))


class InMemory:
    """A volume without a disk."""

    def __init__(self, _):
        self.volume = MemoryVolume("v1")

    def write(self, *parts):
        """Give whole files their final names, as a writer in another process does."""
        for each in parts:
            for name in each.names:
                self.volume.write(each.directory, name, len(BODY), MTIME)

    def put_foreign(self, directory, name, body=BODY):
        """Put a file of somebody else's at an object's path."""
        self.volume.foreign[directory, name] = (len(body), b"")

    def is_taken(self, directory, name):
        """Whether anything lies at an object's path."""
        return (directory, name) in self.volume.files.keys() | self.volume.foreign.keys()

    def files(self):
        """Return the objects of which a file is there."""
        return set(self.volume.files)

    def kill(self):
        """Have the agent killed, and its volume opened by the next one."""

    def restart(self):
        """Let the machine be started anew meanwhile."""
        self.volume.boots += 1

    def close(self):
        self.volume.close()


class OnDisk:
    """A volume in a folder, with files."""

    def __init__(self, path):
        self.path = path
        initialise(str(path))
        self.volume = open_volume(str(path))

    def write(self, *parts):
        for each in parts:
            for name in each.names:
                self._write(each.directory, name)

    def put_foreign(self, directory, name, body=BODY):
        self._write(directory, name, body)

    def is_taken(self, directory, name):
        return (directory, name) in self.files()

    def _write(self, directory, name, body=BODY):
        path = self.path / os.fsdecode(key_of(directory, name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        date = MTIME if body == BODY else 1
        os.utime(path, (date, date))

    def files(self):
        found = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return {
            (b"" if str(path.parent) == "." else os.fsencode(path.parent), os.fsencode(path.name))
            for path in found
            if HOME not in path.parts
        }

    def kill(self):
        self.volume.close()
        self.volume = open_volume(str(self.path))

    def restart(self):
        for note in (self.path / HOME / "intents").iterdir():
            note.write_bytes(b"another boot 1 2\n")
        self.kill()

    def close(self):
        self.volume.close()
        shutil.rmtree(self.path)


@pytest.fixture(params=[InMemory, OnDisk])
def bench(request, tmp_path):
    found = request.param(tmp_path)
    yield found
    found.close()


@pytest.fixture(params=["in memory", "on disk"])
def journal(request, tmp_path):
    """The books of a job that has not begun."""
    if request.param == "in memory":
        found = MemoryJournal()
    else:
        found = SqliteJournal.open(tmp_path, "job", {"source": "upyun://b"})
    yield found
    found.close()
