"""Several disks as one: full, failing, read-only, unmounted, moved, added, lost or slow, the bucket ends up on them once."""

import contextlib
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.e2e.holdings import (
    check_each_once,
    ended,
    files_on,
    holdings,
    requests,
    running,
    running_state,
    stored_on,
    until,
    volumes,
)
from tests.e2e.test_prune import prune
from tests.volumes.conftest import Disks

import bucketpull
from bucketpull.volumes.ledger import Gone
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.volume import open_volume
from upyun_simulator import content


@pytest.fixture
def disks(tmp_path):
    made = Disks(tmp_path)
    yield made
    made.close()


def on(job, *paths):
    """Give a job these volumes."""
    job.volumes = [Path(path) for path in paths]
    return job


def test_a_folder_that_is_deleted_and_made_again_goes_back_to_its_disk(make_job):
    job = make_job("a=flat:300,size=1KiB;b=flat:20,size=1KiB")
    job.sync()
    before = [item for item in job.simulator.contents.walk() if item.key.startswith("a/")]
    job.simulator.mutate(delete=[item.key for item in before])
    job.sync()
    job.volumes.append(job.folder / "second")
    job.simulator.mutate(put={item.key: 2000 for item in before[:200]})

    summary = job.sync()

    assert (summary["stored"], summary["skipped"]) == (200, 20)
    rows = holdings(job)
    # The hundred that were not made again lie there still.
    assert len(rows) == len({row["key"] for row in rows}) == 320
    assert sum(volume["stored_objects"] for volume in volumes(job).values()) == 320


def test_one_object_that_is_lost_from_a_ledger_is_told_and_fetched_by_the_next_run(make_job):
    job = make_job("flat:1500,size=300B")
    job.sync()
    with (
        contextlib.closing(open_reader(str(job.volumes[0]))) as reader,
        tempfile.TemporaryDirectory() as folder,
    ):
        block, record, index = next(LiveObjects(reader, folder).entries())
    with contextlib.closing(open_volume(str(job.volumes[0]))) as volume:
        volume.prune([Gone(block, record, index)])

    with running(job) as process:
        errors = ended(process, expect=3)
    assert "hold 1 object less than the books count" in errors
    assert "run the same command again" in errors.splitlines()[-1]
    assert "bucketpull retry" not in errors

    assert (job.sync()["stored"], len(job.files())) == (1, 1500)


def fill_up(disk, leave=0):
    """Let somebody else take what is free on a disk, but for so many bytes; return the file that does."""
    ballast = Path(disk.path, "ballast")
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, os.statvfs(disk.path).f_bfree * 4096 - leave)
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12) if not leave else ():
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return ballast


def pull_while_disks_come_and_go(job, disks, objects, megabytes):
    full, failing, good, added = (
        disks.tmpfs(f"{megabytes}m"),
        disks.ext4(megabytes),
        disks.tmpfs(f"{megabytes}m"),
        disks.tmpfs(f"{megabytes}m"),
    )
    on(job, full.path, failing.path, good.path)
    with running(job, "--rate", str(max(1500, objects // 50))) as process:
        until(lambda: job.count() > objects // 10, "a tenth", process)
        fill_up(full)
        until(lambda: stored_on(job, failing.path) > 0, "something to be settled", process)
        job.command("pause", "--state", str(job.state))  # something must be left for the disk that is added
        failing.remount("abort")
        until(lambda: volumes(job)[failing.path]["state"] == "sick", "the sick disk to be known", process)
        job.command("volumes", "add", added.path, "--state", str(job.state))
        job.command("resume", "--state", str(job.state))
        said = ended(process)
    failing.unmount(lazily=True)
    failing.mount()
    return said, (full, failing, good, added)


@pytest.mark.parametrize("objects", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_one_disk_fills_up_one_turns_read_only_one_is_added_and_the_bucket_is_there_once(
    make_job, disks, objects
):
    job = make_job(f"flat:{objects},size=uniform:1KiB:4KiB")
    said, (full, failing, good, added) = pull_while_disks_come_and_go(job, disks, objects, objects // 150)

    summary = job.summary()

    assert summary["complete"] is True
    assert (summary["stored"], summary["failed"], summary["skipped"]) == (objects, 0, 0)
    states = {volume["path"]: volume["state"] for volume in summary["volumes"]}
    assert states == {full.path: "full", failing.path: "sick", good.path: "open", added.path: "open"}
    assert "is sick" in said
    held = check_each_once(job, leftovers=[failing.path])
    assert set(held) == {full.path, failing.path, good.path, added.path}
    assert sum(held.values()) == objects


def everything_is_whole(job):
    """Check that each file that has its final name has all its bytes."""
    for item in job.simulator.contents.walk():
        for volume in job.volumes:
            path = volume / item.key
            assert not path.exists() or path.read_bytes() == content(item.key, item.size, item.version)


def test_when_all_disks_are_full_the_job_waits_and_goes_on_when_there_is_room(make_job, disks):
    job = make_job("flat:4000,size=4KiB")
    first, second = disks.tmpfs("10m"), disks.tmpfs("30m")
    on(job, first.path, second.path)
    with running(job, "--rate", "1000") as process:
        until(lambda: job.count() > 500, "some objects", process)
        ballast = fill_up(second)
        until(lambda: running_state(job) == "no-room", "the job to wait", process)
        everything_is_whole(job)
        assert "full" in {volume["state"] for volume in volumes(job).values()}
        ballast.unlink()
        said = ended(process)

    assert "no room" in said
    assert job.summary()["failures"] == {}
    assert job.summary()["stored"] == 4000
    check_each_once(job)


def test_when_all_disks_are_full_and_it_must_not_wait_it_exits_5_and_can_go_on(make_job, disks):
    job = on(make_job("flat:4000,size=4KiB"), disks.tmpfs("5m").path, disks.tmpfs("6m").path)

    first = job.sync("--when-full", "exit", expect=5)
    everything_is_whole(job)
    job.volumes.append(Path(disks.tmpfs("30m").path))
    second = job.sync("--when-full", "exit")

    assert 0 < first["stored"] < 4000
    assert first["failed"] == 0
    assert (second["stored"], second["failed"]) == (4000, 0)
    assert requests(job) < 4000 + 2000, "what was stored before is not fetched again"
    check_each_once(job)


def test_a_disk_without_inodes_is_said_to_lack_inodes(make_job, disks):
    job = on(make_job("flat:2000,size=1KiB"), disks.tmpfs("64m", inodes=1000).path)

    summary = job.sync("--when-full", "exit", expect=5)

    (volume,) = summary["volumes"]
    assert (volume["state"], volume["detail"]) == ("full", "no inodes left")
    assert volumes(job)[volume["path"]]["state"] == "full"
    assert volume["free_bytes"] > 32 << 20
    assert volume["stored_objects"] == summary["stored"] > 800
    assert summary["failed"] == 0


def test_a_quota_that_is_used_up_stops_the_job_and_fails_nothing(make_job, disks):
    job = make_job("flat:600,size=1KiB")
    disk = disks.odd()
    on(job, disk.path)
    with running(job) as process:
        until(lambda: job.count() > 50, "some objects", process)
        disk.fail("write", errno.EDQUOT)
        until(lambda: running_state(job) == "no-room", "the job to wait", process)
        disk.fail()
        ended(process)

    assert job.summary()["failures"] == {}
    check_each_once(job)


def test_the_reserve_stays_free_and_no_more(make_job, disks):
    job = on(make_job("flat:4000,size=4KiB"), disks.tmpfs("10m").path, disks.tmpfs("16m").path)

    summary = job.sync("--reserve", "50%", "--when-full", "exit", expect=5)

    for volume in job.volumes:
        free = os.statvfs(volume)
        assert 0.5 <= free.f_bavail / free.f_blocks < 0.6
    assert 1000 < summary["stored"] < 4000


def hurry(job):
    """Lift the limit that gave time to look at a running job."""
    job.command("limit", "--rate", "off", "--state", str(job.state))


def pull_while_one_disk_fails(job, failing, fail):
    with running(job, "--rate", "300") as process:
        until(lambda: job.count() > 500, "some objects", process)
        until(lambda: stored_on(job, failing.path) > 0, "something to be settled", process)
        fail()
        hurry(job)
        return ended(process)


def test_what_a_disk_with_io_errors_has_not_settled_goes_to_the_others(make_job, disks):
    job = make_job("flat:8000,size=2KiB")
    failing = disks.ext4(128)
    on(job, failing.path, disks.tmpfs("128m").path, disks.tmpfs("128m").path)

    said = pull_while_one_disk_fails(job, failing, failing.shut_down)
    summary = job.summary()

    assert f"volume {failing.path} is sick" in said
    assert (summary["complete"], summary["stored"], summary["failures"]) == (True, 8000, {})
    assert summary["volumes"][0]["state"] == "sick"
    assert summary["volumes"][0]["detail"]
    assert volumes(job)[failing.path]["state"] == "sick"
    failing.unmount(lazily=True)
    failing.mount()
    assert check_each_once(job, leftovers=[failing.path])[failing.path] > 0
    job.sync()
    check_each_once(job)


def test_a_disk_that_is_unmounted_while_the_job_runs_is_left_and_nothing_is_written_beneath(make_job, disks):
    job = make_job("flat:8000,size=2KiB")
    failing = disks.ext4(128)
    on(job, failing.path, disks.tmpfs("128m").path, disks.tmpfs("128m").path)

    said = pull_while_one_disk_fails(job, failing, lambda: failing.unmount(lazily=True))

    assert f"volume {failing.path} is sick" in said
    assert job.summary()["stored"] == 8000
    assert os.listdir(failing.path) == []
    failing.mount()
    assert check_each_once(job, leftovers=[failing.path])[failing.path] > 0
    job.sync()
    check_each_once(job)


@pytest.mark.parametrize("others", [0, 1])
def test_a_disk_that_comes_back_while_the_job_runs_is_used_again(make_job, disks, others):
    job = make_job("flat:24000,size=1KiB")
    failing = disks.ext4(128)
    on(job, failing.path, *(disks.tmpfs("128m").path for _ in range(others)))
    with running(job, "--rate", "300") as process:
        until(lambda: running_state(job) and stored_on(job, failing.path), "some", process)
        failing.remount("abort")
        until(lambda: volumes(job)[failing.path]["state"] == "sick", "the disk to be sick", process)
        failing.unmount()  # the job has let go of it
        failing.mount()
        held = len(files_on(failing.path))
        until(lambda: volumes(job)[failing.path]["state"] == "open", "the disk to be used again", process)
        until(lambda: len(files_on(failing.path)) > held, "files on it", process)
        hurry(job)
        said = ended(process)

    assert f"volume.sick: volume {failing.path} is sick: " in said
    assert f"volume.open: volume {failing.path} takes objects again, after " in said
    assert job.summary()["failures"] == {}
    assert check_each_once(job)[failing.path] > 0
    for path in job.volumes:
        job.command("verify", str(path))


def test_a_disk_that_is_pulled_out_ends_nothing_and_is_used_again_when_it_is_plugged_in(make_job, disks):
    """Unlike a lazy unmount this makes every call on it fail, closing included."""
    job = make_job("flat:8000,size=1KiB")
    pulled = disks.odd()
    on(job, pulled.path, disks.tmpfs("128m").path)
    with running(job, "--rate", "200") as process:
        until(lambda: running_state(job) and stored_on(job, pulled.path), "some", process)
        pulled.unplug()
        until(lambda: volumes(job)[pulled.path]["state"] == "sick", "the disk to be sick", process)
        job.command("pause", "--state", str(job.state))  # something must be left for the disk when it is back
        pulled.plug_in()
        until(lambda: volumes(job)[pulled.path]["state"] == "open", "the disk to be used again", process)
        job.command("resume", "--state", str(job.state))
        hurry(job)
        ended(process)

    assert job.summary()["failures"] == {}
    assert check_each_once(job)[pulled.path] > 0


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_disk_that_keeps_no_dates_is_told_of_once_and_used(make_job, disks, number):
    job = make_job("few=flat:300,size=2KiB;film=flat:1,size=9MiB", patient=True)
    disk = disks.odd()
    disk.fail("utimens", number)
    on(job, disk.path)
    with running(job) as process:
        said = ended(process)

    assert said.count("keeps no dates") == 1
    assert job.summary()["retries"] == {}
    assert check_each_once(job) == {disk.path: 301}


def test_what_a_kill_leaves_on_a_disk_that_keeps_no_dates_is_not_taken_for_a_file_of_somebody(
    make_job, disks
):
    job = make_job("flat:300,size=2KiB")
    disk = disks.odd()
    disk.fail("utimens", errno.EPERM)
    on(job, disk.path)
    job.kill_when(lambda: len(files_on(disk.path)) > 40, "--rate", "100")

    job.sync()

    assert check_each_once(job) == {disk.path: 300}


def test_one_object_that_its_disk_never_takes_fails_alone_and_the_job_ends(make_job, disks):
    """A directory entry on a bad sector, say."""
    job = make_job("flat:300,size=2KiB")
    disk = disks.odd()
    on(job, disk.path)
    bad = sorted(item.key for item in job.simulator.contents.walk())[7]
    disk.fail("rename", errno.EIO, bad)

    summary = job.sync(expect=3)

    assert (summary["stored"], summary["failures"]) == (299, {"unwritten": 1})
    assert {volume["state"] for volume in summary["volumes"]} == {"open"}
    assert f"{bad}: Input/output error" in job.command("failures", "--state", str(job.state))


def test_a_disk_that_fails_while_it_is_pruned_keeps_no_other_from_being_pruned(make_job, disks, tmp_path):
    job = make_job("flat:300,size=2KiB")
    disk, other = disks.odd(), tmp_path / "plain"
    other.mkdir()
    on(job, other).sync()
    on(job, other, disk.path).sync()
    job.simulator.mutate(delete=[item.key for item in job.simulator.contents.walk()][:100])
    disk.fail("write", errno.EIO)

    _, said = prune(job, "--delete", "--max-delete", "100%", expect=3)

    assert f"volume {disk.path}: " in said
    assert "Input/output error" in said
    assert "; fix that, then run it again" in said
    assert "100 of 300 objects" in said
    disk.fail()
    prune(job, "--delete", "--max-delete", "100%")
    assert len(files_on(other)) == 200


def test_disks_in_another_order_are_recognised_and_nothing_is_fetched_again(make_job, disks):
    job = make_job("flat:1000,size=2KiB")
    first, second = disks.ext4(64), disks.ext4(64)
    on(job, first.path, second.path)
    job.sync()
    before = requests(job)
    for disk in (first, second):
        disk.unmount()
    first.image, second.image = second.image, first.image
    for disk in (first, second):
        disk.mount()

    summary = job.sync()

    assert (summary["stored"], summary["skipped"]) == (0, 1000)
    assert requests(job) == before
    check_each_once(job)


def test_an_empty_mount_point_in_place_of_a_disk_is_refused_and_stays_empty(make_job, disks):
    job = make_job("flat:1000,size=2KiB")
    first, second = disks.ext4(64), disks.ext4(64)
    on(job, first.path, second.path)
    job.sync()
    second.unmount()
    with running(job) as process:
        said = ended(process, expect=2)

    assert f"volume {second.path}" in said
    assert os.listdir(second.path) == []


def test_what_a_lost_disk_held_is_fetched_again_and_nothing_else(make_job, disks):
    job = make_job("tree:dirs=30,files=100,size=2KiB")
    made = [disks.tmpfs("64m") for _ in range(3)]
    paths = [disk.path for disk in made]
    on(job, *paths)
    job.sync()
    lost = volumes(job)[paths[1]]
    gone = files_on(paths[1])
    kept = {path: files_on(path) for path in (paths[0], paths[2])}
    before = requests(job)
    made[1].unmount()

    job.command("volumes", "lost", lost["id"], "--state", str(job.state))
    on(job, paths[0], paths[2])
    job.sync()

    assert requests(job) - before == len(gone) > 0
    now = [files_on(path) for path in job.volumes]
    assert len(now[0]) + len(now[1]) == 3000
    assert now[0] >= kept[paths[0]]
    assert now[1] >= kept[paths[2]]
    assert (now[0] | now[1]) == gone | kept[paths[0]] | kept[paths[2]]


def test_a_drained_disk_takes_nothing_new_in_a_running_job(make_job, disks):
    job = make_job("flat:16000,size=2KiB")
    drained, other = disks.tmpfs("128m"), disks.tmpfs("128m")
    on(job, drained.path, other.path)
    with running(job, "--rate", "500") as process:
        until(lambda: job.count() > 500, "some objects", process)
        job.command("volumes", "drain", drained.path, "--state", str(job.state))
        hurry(job)
        ended(process)

    held = check_each_once(job)

    assert held[drained.path] < 8000 < held[other.path]
    assert volumes(job)[drained.path]["state"] == "draining"


def test_changed_objects_are_replaced_where_they_lie(make_job, disks):
    job = make_job("tree:dirs=20,files=100,size=2KiB")
    on(job, disks.tmpfs("64m").path, disks.tmpfs("64m").path, disks.tmpfs("64m").path)
    job.sync()
    before = {row["key"]: row["volume"] for row in holdings(job)}
    asked = requests(job)
    touched = sorted(before)[::20]
    job.simulator.mutate(touch=touched)

    summary = job.sync()

    assert (summary["stored"], summary["skipped"]) == (len(touched), 2000 - len(touched))
    assert requests(job) - asked == len(touched)
    assert {row["key"]: row["volume"] for row in holdings(job)} == before
    files = job.files()
    assert len(files) == 2000
    assert all(files[key] == content(key, 2048, 1) for key in touched)


def test_what_was_fetched_again_while_its_disk_was_away_lies_there_no_more_when_it_is_back(make_job):
    job = make_job("flat:3000,size=2KiB", volumes=2)
    first, second = job.volumes
    job.sync()
    before = requests(job)
    held = len(files_on(second))
    away = second.rename(second.with_name("away"))
    job.simulator.mutate(touch=[item.key for item in job.simulator.contents.walk()][::1000])
    on(job, first)
    assert job.sync()["complete"] is True
    again = requests(job) - before
    away.rename(second)

    summary = job.sync()

    assert again >= held > 0  # who has which objects of a changed page only the absent disk could tell
    assert (summary["stored"], summary["skipped"]) == (0, 3000)
    assert files_on(second) == set()
    assert len(files_on(first)) == len(holdings(job)) == 3000
    on(job, first, second)
    for path in job.volumes:
        job.command("verify", str(path))
    assert job.sync()["skipped"] == 3000


@pytest.mark.parametrize("options", [(), ("--pack",)], ids=["files", "packs"])
def test_what_a_volume_lacks_that_was_put_back_from_an_older_copy_is_fetched_again(
    make_job, tmp_path, options
):
    job = make_job("tree:dirs=10,files=60,size=2KiB", volumes=2)
    job.sync(*options)
    older = tmp_path / "older"
    shutil.copytree(job.volumes[0], older)
    keys = [item.key for item in job.simulator.contents.walk()]
    job.simulator.mutate(touch=keys[::3])
    job.sync(*options)
    shutil.rmtree(job.volumes[0])
    older.rename(job.volumes[0])

    with running(job, *options) as process:
        said = ended(process)

    assert f"volume {job.volumes[0]} was put back from an older copy" in said
    with bucketpull.open(*job.volumes) as bucket:
        for number, key in enumerate(keys):
            assert bucket.read(key) == content(key, 2048, int(number % 3 == 0)), key
    asked = requests(job)
    with running(job, *options) as process:
        assert "older copy" not in ended(process)
    assert requests(job) == asked


def test_the_others_go_on_without_a_disk_that_never_answers(make_job, disks, monkeypatch):
    monkeypatch.setenv("BUCKETPULL_HANG_SECONDS", "2")
    job = make_job("flat:12000,size=2KiB")
    hung, good = disks.odd(), disks.tmpfs("128m")
    on(job, hung.path, good.path)
    with running(job, "--rate", "3000") as process:
        until(lambda: files_on(hung.path) and files_on(good.path), "some objects", process)
        hung.hang()
        try:
            until((job.folder / "summary.json").exists, "the end")
        finally:
            hung.answer()
        said = ended(process)

    assert f"{hung.path} is sick: has not answered for" in said
    assert job.summary()["stored"] == 12000
    assert job.sync()["skipped"] == 12000
    check_each_once(job)


def test_a_job_whose_only_disk_never_answers_leaves_when_it_is_told_to(make_job, disks):
    job = make_job("flat:3000,size=2KiB")
    hung = disks.odd()
    on(job, hung.path)
    with running(job, "--rate", "1000") as process:
        until(lambda: len(files_on(hung.path)) > 100, "some objects", process)
        hung.hang()
        try:
            process.send_signal(signal.SIGINT)
            until((job.folder / "summary.json").exists, "the end")
        finally:
            hung.answer()
        ended(process, expect=130)

    assert job.sync()["complete"] is True
    check_each_once(job)


@pytest.mark.parametrize("layout", ["key", "hashed"])
def test_changed_objects_of_a_disk_that_takes_nothing_more_move_and_are_fetched_again_when_that_is_lost(
    make_job, layout
):
    job = make_job("tree:dirs=20,files=100,size=2KiB", volumes=2)
    job.options += ["--layout", layout]
    first, second = job.volumes
    job.sync()
    ids = {path: volume["id"] for path, volume in volumes(job).items()}
    job.command("volumes", "drain", str(second), "--state", str(job.state))
    mine = sorted(row["key"] for row in holdings(job) if row["volume"] == ids[str(second)])
    touched = mine[::50]
    job.simulator.mutate(touch=touched)
    before = files_on(second)

    assert job.sync()["stored"] == len(touched) > 0

    moved = before - files_on(second)
    assert len(moved) == len(touched)
    assert not files_on(first) & files_on(second)
    assert len(holdings(job)) == len({row["key"] for row in holdings(job)}) == 2000
    asked, alone = requests(job), len(files_on(first))
    job.command("volumes", "lost", ids[str(first)], "--state", str(job.state))
    job.command("volumes", "add", str(second), "--state", str(job.state))
    on(job, second)
    again = sum(job.sync()["retries"].values())
    # A request over a connection that the server closes at that moment is sent anew, and is no retry.
    assert alone + again <= requests(job) - asked <= alone + again + 5
    check = {row["key"] for row in holdings(job)}
    assert len(check) == len(files_on(second)) == 2000


def test_the_hashed_layout_is_pulled_found_verified_and_not_pulled_again(make_job, disks):
    job = make_job("flat:2000,size=2KiB")
    on(job, disks.tmpfs("64m").path, disks.tmpfs("64m").path)
    job.sync("--layout", "hashed")
    before = requests(job)

    again = job.sync("--layout", "hashed")

    assert (again["stored"], again["skipped"]) == (0, 2000)
    assert requests(job) == before
    check_each_once(job)
    assert not any((volume / "img-0001.jpg").exists() for volume in job.volumes)
    row = holdings(job)[7]
    place = json.loads(job.command("where", row["key"], "--json", "--state", str(job.state)))
    assert Path(place["path"]).read_bytes() == content(row["key"], 2048, 0)
    job.command("verify", "--hash", *map(str, job.volumes))
    Path(place["path"]).unlink()
    job.command("verify", *map(str, job.volumes), expect=3)


@pytest.mark.parametrize(("leave", "told"), [(32 << 20, "free on its disk"), (0, "disk is full")])
def test_a_journal_whose_disk_is_nearly_full_stops_in_order_and_goes_on(make_job, disks, leave, told):
    job = make_job("flat:4000,size=1KiB")
    small = disks.tmpfs("256m")
    job.folder = Path(small.path)
    with running(job, "--rate", "500") as process:
        until(lambda: job.count() > 100, "some objects", process)
        ballast = fill_up(small, leave)
        said = ended(process, expect=3)

    assert told in said
    assert "Traceback" not in said
    ballast.unlink()
    assert job.sync()["stored"] == 4000
    job.check_every_byte()


@pytest.mark.parametrize("spot", [0.01, 0.5, -1])
def test_batches_that_the_journal_s_disk_damaged_are_listed_again_and_the_job_is_complete(make_job, spot):
    job = make_job("tree:dirs=6,files=1500,size=1KiB")
    job.sync("--limit", "1000", expect=6)
    with contextlib.closing(sqlite3.connect(job.state / "journal.sqlite", isolation_level=None)) as journal:
        bodies = journal.execute("select id, body from work join body using (id) where kind = 1").fetchall()
        for work, body in bodies[::2]:
            damaged = bytearray(body)
            damaged[int(spot * len(body)) if spot > 0 else spot] ^= 4
            journal.execute("update body set body = ? where id = ?", (bytes(damaged), work))

    summary = job.sync()

    assert bodies
    assert summary["complete"] is True
    assert (summary["listed"], summary["failed"]) == (9_000, 0)
    job.check_every_byte()


def test_a_disk_that_is_read_only_at_the_start_is_left_out_and_what_it_holds_counts(make_job, disks):
    job = make_job("tree:dirs=40,files=100,size=2KiB")
    failing, good = disks.ext4(64), disks.tmpfs("64m")
    on(job, failing.path, good.path)
    job.sync()
    asked = requests(job)
    assert files_on(failing.path)
    failing.unmount()
    failing.options = "loop,ro"
    failing.mount()

    with running(job) as process:
        said = ended(process)

    assert f"volume {failing.path}" in said
    assert "Read-only" in said
    assert job.summary()["skipped"] == 4000
    assert requests(job) == asked


def test_a_slow_disk_slows_only_what_goes_to_it_and_its_queue_is_seen(make_job, disks):
    job = make_job("flat:20000,size=2KiB")
    fast, slow = disks.tmpfs("256m"), disks.odd(write_seconds=0.05)
    on(job, fast.path, slow.path)
    with running(job) as process:
        until(lambda: len(files_on(fast.path)) > 8000, "the fast disk to have most", process)

        def is_seen():
            seen = volumes(job)
            crowded = seen[slow.path]["queued_bytes"] > 10 * 2048
            return crowded and seen[slow.path]["written_per_second"] < seen[fast.path]["written_per_second"]

        until(is_seen, "the queue of the slow one to be seen", process)

    assert len(files_on(slow.path)) < 1000


def test_a_disk_that_does_not_answer_for_a_while_costs_time_only(make_job, disks):
    job = make_job("flat:4000,size=2KiB")
    stuck, good = disks.ext4(128), disks.tmpfs("128m")
    on(job, stuck.path, good.path)
    with running(job, "--rate", "1000") as process:
        until(lambda: job.count() > 500, "some objects", process)
        stuck.freeze()
        try:
            before = len(files_on(stuck.path))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            assert len(files_on(stuck.path)) == before
        finally:
            stuck.thaw()
        ended(process)

    assert job.summary()["failures"] == {}
    check_each_once(job)


def test_a_large_object_is_read_no_faster_than_its_disk_writes(make_job, disks):
    job = make_job("flat:1,size=48MiB", patient=True, faults=["ignore-range", "no-md5"])
    on(job, disks.odd(write_seconds=0.001).path)

    summary = job.sync()

    assert job.simulator.counters()["requests"]["cdn.get"] == {"200": 1}
    assert summary["retries"] == {}
    job.check_every_byte()


def test_what_was_stored_while_a_disk_kept_no_dates_is_known_when_it_keeps_them_again(make_job, disks):
    job = make_job("few=flat:300,size=2KiB;film=flat:1,size=9MiB")
    disk = disks.odd()
    disk.fail("utimens", errno.EPERM)
    on(job, disk.path)
    job.kill_when(lambda: len(files_on(disk.path)) > 40, "--rate", "100")
    disk.fail()

    job.sync()

    assert check_each_once(job) == {disk.path: 301}
    assert job.command("verify", str(disk.path)) == ""
