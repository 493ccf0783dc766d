"""A kill at any step, at random instants, and a power cut: what was called settled is there, whole; nothing partial has a name."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.volume import open_volume

VICTIM = Path(__file__).with_name("victim.py")
sys.path.insert(0, str(VICTIM.parent))
import victim  # noqa: E402

STEPS = ("intended", "opened", "written", "closed", "renamed", "synced", "appended", "settled")


def start(path, durability, last, kill_at=""):
    return subprocess.Popen(
        [sys.executable, VICTIM, path, durability, "0", str(last)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BUCKETPULL_KILL_AT": kill_at},
    )


def settled_in(output):
    """Return what the victim said it had settled: work -> offset in the ledger."""
    words = [line.split() for line in output.splitlines()]
    return {int(line[1]): int(line[2]) for line in words if line[:1] == ["settled"] and len(line) == 3}


def lost(path, settled):
    """Return the works that were called settled and whose record or files are not whole."""
    volume = open_volume(path)
    missing = []
    for work, offset in settled.items():
        try:
            stored = {(r.directory, r.names[0]) for r in volume.read(offset)}
        except Exception:  # noqa: BLE001 - any way of not being there is a loss
            missing.append(work)
            continue
        for directory, name, body in victim.objects(work):
            file = Path(path, os.fsdecode(directory), os.fsdecode(name))
            if (directory, name) not in stored or not file.is_file() or file.read_bytes() != body:
                missing.append(work)
                break
    volume.close()
    return missing


def assert_only_whole_files(path, last):
    expected = {
        os.fsdecode(directory + b"/" + name): body
        for work in range(last)
        for directory, name, body in victim.objects(work)
    }
    for file in Path(path).rglob("*"):
        name = file.relative_to(path)
        if file.is_file() and name.parts[0] != HOME:
            assert file.read_bytes() == expected[str(name)], f"{name} is not whole"


def assert_ledger_is_on_disk(path):
    volume = open_volume(path)
    for frame in volume._ledger.salvage():
        for record in frame.records():
            assert Path(path, os.fsdecode(record.directory), os.fsdecode(record.names[0])).is_file()
    assert os.listdir(Path(path, HOME, "tmp")) == []
    volume.close()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("time_reached", [1, 3])
def test_a_kill_at_any_step_loses_nothing_and_repeats_nothing_settled(tmp_path, step, time_reached):
    path = str(tmp_path)
    initialise(path)
    died = start(path, "batch", 20, f"{step}:{time_reached}")
    output, _ = died.communicate(timeout=60)
    assert died.returncode == -9, "the step was never reached"
    assert_only_whole_files(path, 20)
    assert_ledger_is_on_disk(path)
    assert lost(path, settled_in(output)) == []
    again = start(path, "batch", 20)
    more, errors = again.communicate(timeout=60)
    assert more.endswith("done\n"), errors
    assert not set(settled_in(output)) & set(settled_in(more)), "settled twice"
    volume = open_volume(path)
    blocks = [frame.work for frame in volume._ledger.salvage()]
    volume.close()
    assert sorted(blocks) == list(range(20))
    assert len([file for file in tmp_path.rglob("*") if file.is_file() and HOME not in file.parts]) == 400


def kill_at_random(tmp_path, times, works=400):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    path = str(tmp_path)
    initialise(path)
    settled, kills, patience = {}, 0, 1.0
    for _ in range(times):
        running = start(path, "batch", works)
        timer = threading.Timer((0.15 + source.random() * 0.5) * patience, running.kill)
        timer.start()
        output, errors = running.communicate(timeout=60)
        timer.cancel()
        assert running.returncode in {-9, 0}, errors
        settled.update(settled_in(output))
        assert_ledger_is_on_disk(path)
        assert_only_whole_files(path, works)
        assert lost(path, settled) == []
        if running.returncode == 0:
            break
        kills += 1
        if not settled:  # of a busy machine, which had not begun yet
            patience *= 2
    assert settled
    return kills


def test_kills_at_random_instants_lose_nothing(tmp_path):
    kill_at_random(tmp_path, 8)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(8))
def test_hundreds_of_kills_at_random_instants_lose_nothing(tmp_path, part):
    kills = 0
    while kills < 25:
        folder = tmp_path / str(kills)
        folder.mkdir()
        kills += kill_at_random(folder, 25, works=1500)


def cut_the_power(disk, durability, works):
    """Run a victim and cut the power when it has settled so many works; return what it had called settled."""
    initialise(disk.path)
    subprocess.run(["sync", "-f", disk.path], check=True)
    running = start(disk.path, durability, 100_000)
    before = "".join(running.stdout.readline() for _ in range(works))
    # Between two system calls: of a sync under way the kernel may say that it was done, though it lost what that was to keep.
    running.send_signal(signal.SIGSTOP)
    os.waitpid(running.pid, os.WUNTRACED)
    disk.shut_down()
    running.send_signal(signal.SIGCONT)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == 1, "the victim noticed nothing"
    assert "refused" in errors or "VolumeSick" in errors, errors
    disk.unmount()
    disk.mount()
    return settled_in(before + output)


@pytest.mark.parametrize("works", [1, 30, 75])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("durability", ["batch", "file"])
def test_a_power_cut_loses_nothing_that_was_called_settled(disks, kind, durability, works):
    disk = disks.ext4(256) if kind == "ext4" else disks.xfs()
    settled = cut_the_power(disk, durability, works)
    assert len(settled) >= works
    assert lost(disk.path, settled) == []
    if durability == "file":
        assert_only_whole_files(disk.path, max(settled, default=0) + 50)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_the_loss_is_seen_where_nothing_is_synced(disks, kind):
    disk = disks.ext4(256) if kind == "ext4" else disks.xfs()
    settled = cut_the_power(disk, "none", 100)
    assert len(lost(disk.path, settled)) > len(settled) / 2


def test_after_a_power_cut_a_batch_comes_back_to_the_volume_that_has_some_of_its_files(disks):
    """The note of an intention is as durable as any file of the batch, though it is never synced."""
    disk = disks.ext4(256)
    initialise(disk.path)
    running = start(disk.path, "batch", 100_000)
    while not running.stdout.readline().startswith("settled 29 "):
        pass
    disk.shut_down()
    running.communicate(timeout=60)
    disk.unmount()
    disk.mount()
    volume = open_volume(disk.path)
    known = dict(volume.pending(victim.JOURNAL))
    for work in range(200):
        some = any(
            Path(disk.path, os.fsdecode(directory), os.fsdecode(name)).exists()
            for directory, name, _ in victim.objects(work)
        )
        assert work in known or not some
    volume.close()
