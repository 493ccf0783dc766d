"""Batches that are begun on a volume are noted there, and several threads take notes away."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from bucketpull.volumes.beneath import OwnDirectory
from bucketpull.volumes.leftovers import BatchNotes, tidy

WORKS = [("journal", work) for work in range(100)]


@pytest.fixture
def _taking_turns():
    """Threads that are begun take turns line by line."""

    def trace(*_):
        time.sleep(0)
        return trace

    usual = threading.gettrace()
    threading.settrace(trace)
    yield
    threading.settrace(usual)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir(mode=0o755)
    root = os.open(tmp_path, os.O_RDONLY)
    with closing(OwnDirectory.open(root, "home", str(tmp_path), writing=True)) as found:
        yield found
    os.close(root)


@pytest.mark.parametrize("older", [b"attached\nbody", b"", b"\xff"])
def test_of_several_notes_of_a_batch_the_oldest_says_from_where_the_newest_what_and_all_are_removed(
    home, tmp_path, older
):
    notes = BatchNotes(home)
    notes.add(("journal", 7), 90, "attached", b"older")
    [left] = (tmp_path / "home/intents").iterdir()
    notes.add(("journal", 7), 1_000, "attached", b"newer")
    left.write_bytes(older)

    notes = BatchNotes(home)

    assert notes.ends == {("journal", 7): 90}
    assert notes.read(("journal", 7)).body == b"newer"
    notes.remove(("journal", 7))
    assert list((tmp_path / "home/intents").iterdir()) == []


@pytest.mark.usefixtures("_taking_turns")
def test_a_note_that_several_threads_remove_is_gone(home):
    notes = BatchNotes(home)
    for work in WORKS:
        notes.add(work, 0, "", b"")
    with ThreadPoolExecutor(4) as threads:
        done = [threads.submit(lambda: [notes.remove(work) for work in WORKS]) for _ in range(4)]
    for each in done:
        each.result()
    assert BatchNotes(home).ends == notes.ends == {}


def test_what_a_killed_process_still_gives_its_final_name_does_not_keep_a_volume_from_being_opened(
    home, monkeypatch
):
    monkeypatch.setattr(OwnDirectory, "names", lambda _: ["renamed meanwhile"])
    tidy(home)
