"""A bucket pulled into packs: whole, whatever is killed, and readable by ordinary tools at every instant."""

import json
import os
import random
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from tests.volumes.conftest import disks

from upyun_simulator import content

__all__ = ["disks"]

STEPS = (
    "intended",
    "pack_begun",
    "bodies_written",
    "packed",
    "packs_synced",
    "synced",
    "appended",
    "settled",
)


def archives(job):
    return [path for volume in job.volumes for path in sorted((volume / "packs").glob("*.tar"))]


def packed(job):
    """Return the newest body by name, as an ordinary reader of all packs finds it."""
    found = {}
    for path in archives(job):
        assert_tar_lists(path)
        with tarfile.open(path) as archive:
            for member in archive:
                body = archive.extractfile(member).read()
                if member.name not in found or found[member.name][0] <= member.mtime:
                    found[member.name] = (member.mtime, body)
    return {name: body for name, (_, body) in found.items()}


def assert_tar_lists(path):
    run = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr


def assert_holds_the_bucket(job):
    expected = {
        item.key: content(item.key, item.size, item.version) for item in job.simulator.contents.walk()
    }
    found = packed(job)
    assert found.keys() == expected.keys()
    assert all(found[key] == body for key, body in expected.items())


def test_a_bucket_comes_whole_into_packs(make_job):
    job = make_job("demo", volumes=2)

    summary = job.sync("--pack", "4M")

    assert summary["complete"] is True
    assert_holds_the_bucket(job)
    assert len(archives(job)) > 10


def test_a_second_run_fetches_what_is_new_or_changed_and_goes_on_with_the_open_packs(make_job):
    job = make_job("flat:3000,size=2KiB")
    job.sync("--pack")
    before = {path.name: path.read_bytes() for path in archives(job)}
    keys = [item.key for item in job.simulator.contents.walk()]
    job.simulator.mutate(put={"new.jpg": 100}, touch=[keys[7], keys[2999]])

    summary = job.sync("--pack")

    assert (summary["stored"], summary["skipped"]) == (3, 2998)
    assert {path.name for path in archives(job)} == before.keys(), "no pack was begun for three objects"
    assert all(path.read_bytes().startswith(before[path.name]) for path in archives(job))
    found = packed(job)
    assert found[keys[7]] == content(keys[7], 2048, 1)
    assert len(found["new.jpg"]) == 100


@pytest.mark.parametrize("first", [True, False])
def test_a_job_can_go_on_with_packs_and_without(make_job, first):
    """What is changed replaces a file, or dead bytes in a pack."""
    job = make_job("flat:2000,size=2KiB")
    job.sync(*["--pack"] * first)
    keys = [item.key for item in job.simulator.contents.walk()]
    job.simulator.mutate(put={"new.jpg": 100}, touch=keys[:50])

    summary = job.sync(*["--pack"] * (not first))

    assert (summary["stored"], summary["skipped"]) == (51, 1950)
    files = {name: body for name, body in job.files().items() if not name.startswith("packs/")}
    found = packed(job)
    if first:
        assert len(files) == 51
        assert files[keys[7]] == content(keys[7], 2048, 1)
    else:
        assert len(files) == 1950, "an old file was left beside its pack"
        assert found[keys[7]] == content(keys[7], 2048, 1)
    assert (found | files if first else files | found).keys() == {*keys, "new.jpg"}


def test_objects_above_the_limit_stay_files_and_others_are_packed_even_if_they_are_streamed(
    make_job, tmp_path
):
    objects = {"small.jpg": 2000, "medium.mp4": 9_000_000, "large.mp4": 12_000_000}
    (tmp_path / "bucket.json").write_text(json.dumps({"objects": objects}))
    job = make_job(f"manifest:{tmp_path}/bucket.json")

    job.sync("--pack", "--pack-limit", "10M")

    assert packed(job).keys() == {"small.jpg", "medium.mp4"}
    assert packed(job)["medium.mp4"] == content("medium.mp4", 9_000_000, 0)
    assert (job.volumes[0] / "large.mp4").read_bytes() == content("large.mp4", 12_000_000, 0)


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_nothing(make_job, step):
    job = make_job("flat:4000,size=3KiB", volumes=2)
    environment = {**job.environment, "BUCKETPULL_KILL_AT": f"{step}:3"}
    died = subprocess.run(
        job.arguments("--pack", "2M"), env=environment, capture_output=True, check=False, timeout=300
    )
    assert died.returncode in {-9, 0, 1, 3}, died.stderr
    if died.returncode == 3:  # each new process died at its third chunk too, until its objects were blamed
        job.command("retry", "--state", str(job.state))

    summary = job.sync("--pack", "2M")

    assert summary["complete"] is True
    assert_holds_the_bucket(job)
    assert_numbers_have_no_gaps(job)


def assert_numbers_have_no_gaps(job):
    numbers = {}
    for path in archives(job):
        writer, _, number = path.stem.rpartition("-")
        numbers.setdefault(writer, []).append(int(number))
    for writer, found in numbers.items():
        assert sorted(found) == list(range(len(found))), writer


def kill_at_random(job, times, spec_options=("--pack", "3M")):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    source = random.Random(seed)
    for _ in range(times):
        process = job.start(*spec_options)
        try:
            process.communicate(timeout=0.4 + source.random() * 1.2)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate(timeout=60)
        for path in archives(job):
            assert_tar_lists(path)


def test_kills_at_random_instants_lose_nothing(make_job):
    job = make_job("flat:20000,size=3KiB", volumes=2)

    kill_at_random(job, 10)

    assert job.sync("--pack", "3M")["complete"] is True
    assert_holds_the_bucket(job)
    assert_numbers_have_no_gaps(job)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(8))
def test_hundreds_of_kills_at_random_instants_lose_nothing(make_job, part):
    job = make_job(f"flat:50000,size=3KiB,seed={part}", volumes=2)

    kill_at_random(job, 25, ("--pack", "3M", "--rate", "4000"))

    assert job.sync("--pack", "3M")["complete"] is True
    assert_holds_the_bucket(job)
    assert_numbers_have_no_gaps(job)


def test_full_packs_are_sealed_with_sums_and_an_index(make_job):
    job = make_job("flat:4000,size=3KiB")
    job.sync("--pack", "2M")
    folder = job.volumes[0] / "packs"
    # A pack is finished when its writer has begun the next one.
    finished = {path.name for path in archives(job)} - newest(job)
    assert len(finished) >= 4
    deadline = time.monotonic() + 120
    while sealed(folder) < finished:  # a busy machine may leave some to the next run
        assert time.monotonic() < deadline
        job.sync("--pack", "2M")

    assert sealed(folder) == finished
    assert all((folder / f"{name}.index.sqlite").exists() for name in finished)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True, timeout=60)


def sealed(folder):
    sums = folder / "SHA256SUMS"
    return {line.partition("  ")[2] for line in sums.read_text().splitlines()} if sums.exists() else set()


def newest(job):
    last = {}
    for path in archives(job):
        writer, _, number = path.stem.rpartition("-")
        last[writer] = max(last.get(writer, (-1, "")), (int(number), path.name))
    return {name for _, name in last.values()}


def test_a_disk_with_few_inodes_takes_any_number_of_objects(make_job, disks):
    job = make_job("flat:5000,size=1KiB")
    job.volumes = [Path(disks.tmpfs("64m", inodes=300).path)]

    assert job.sync("--pack")["complete"] is True

    assert_holds_the_bucket(job)


def test_a_disk_that_is_mounted_elsewhere_goes_on_with_its_packs(make_job):
    job = make_job("flat:3000,size=2KiB")
    job.sync("--pack")
    moved = job.volumes[0].with_name("elsewhere")
    job.volumes[0].rename(moved)
    job.volumes = [moved]
    before = {path.name for path in archives(job)}
    job.simulator.mutate(put={f"new-{number}.jpg": 3000 for number in range(50)})

    summary = job.sync("--pack")

    assert (summary["stored"], summary["skipped"]) == (50, 3000)
    assert {path.name for path in archives(job)} == before
    assert len(packed(job)) == 3050
