"""Scratch folders: gone when they are done with, also those of killed processes."""

import os
import signal
import subprocess
import sys

from bucketpull.volumes import scratch
from bucketpull.volumes.scratch import hold, scratch_folder

KILLED = """
import os, signal, sys
from bucketpull.volumes import scratch
from bucketpull.volumes.scratch import scratch_folder
with scratch_folder("prune", sys.argv[1]) as path:
    open(path + "/part", "w").write("10 GB")
    print(path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def left_behind(below):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(below)], capture_output=True, text=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    return killed.stdout.strip()


def age(path):
    os.utime(path, (1, 1))


def test_a_folder_is_private_and_goes_when_it_is_done_with(tmp_path):
    with scratch_folder("prune", str(tmp_path)) as path:
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    age(left_behind(tmp_path))

    with scratch_folder("verify", str(tmp_path)) as path:
        assert os.listdir(tmp_path) == [os.path.basename(path)]


def test_what_is_new_in_use_or_not_ours_stays(tmp_path):
    new = left_behind(tmp_path)
    others = [
        tmp_path / name for name in ("bucketpull-prune-x", "bucketpull-abcdefgh", "else-prune-abcdefgh")
    ]
    for other in others:
        other.mkdir()
        age(other)
    (tmp_path / "target").mkdir()
    (tmp_path / "bucketpull-prune-12345678").symlink_to(tmp_path / "target")
    with scratch_folder("prune", str(tmp_path)) as used:
        age(used)
        with scratch_folder("prune", str(tmp_path)):
            kept = {os.path.basename(path) for path in (new, used, *others)}
            assert kept | {"target", "bucketpull-prune-12345678"} < set(os.listdir(tmp_path))


def test_a_folder_is_in_use_while_it_is_held(tmp_path):
    folder = tmp_path / "bucketpull-index-abcdefgh"
    folder.mkdir()
    lock = hold(str(folder))
    age(folder)
    with scratch_folder("prune", str(tmp_path)):
        assert folder.exists()
    os.close(lock)
    with scratch_folder("prune", str(tmp_path)):
        assert not folder.exists()


def test_a_folder_that_another_process_removes_meanwhile_keeps_no_other_from_being_removed(
    tmp_path, monkeypatch
):
    left = [left_behind(tmp_path) for _ in range(2)]
    for path in left:
        age(path)
    is_old = scratch._is_old
    inodes = {os.stat(path).st_ino: path for path in left}

    def is_gone_when_it_is_the_first(found):
        if len(inodes) == 2 and (first := inodes.pop(found.st_ino, None)):
            os.unlink(f"{first}/part")
            os.rmdir(first)
            raise FileNotFoundError(first)
        return is_old(found)

    monkeypatch.setattr(scratch, "_is_old", is_gone_when_it_is_the_first)
    with scratch_folder("verify", str(tmp_path)) as path:
        assert os.listdir(tmp_path) == [os.path.basename(path)], left
    assert len(inodes) == 1
