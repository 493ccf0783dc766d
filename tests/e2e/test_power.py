"""The power goes while a job runs whose journal lies on another disk: what the journal calls stored is there, whole."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from tests.e2e.holdings import check_each_once, holdings, running, until, volumes
from tests.volumes.conftest import Disks

from upyun_simulator import content

OBJECTS = 8000


@pytest.fixture
def disk(tmp_path):
    made = Disks(tmp_path)
    yield made.ext4(128)
    made.close()


def cut_the_power(job, disk, *options):
    """Cut it while the job runs, kill the job at once, and mount the disk again; return what the journal calls stored."""
    with running(job, "--rate", "2000", *options) as process:
        until(lambda: stored_on(job, disk) > OBJECTS // 4, "a quarter to be stored", process)
        disk.shut_down()
        process.kill()
        process.wait()
    said = json.loads(job.command("status", "--json", "--state", str(job.state)))
    disk.unmount(lazily=True)
    disk.mount()
    return said["counters"]["stored"]


def stored_on(job, disk):
    known = volumes(job) if (job.state / "journal.sqlite").exists() else {}
    return known.get(disk.path, {}).get("stored_objects", 0)


def whole_on(job, disk):
    """Count the recorded objects whose files are there and whole."""
    items = {item.key: item for item in job.simulator.contents.walk()}
    whole = 0
    for row in holdings(job):
        item, path = items[row["key"]], Path(disk.path, row["path"])
        whole += path.is_file() and path.read_bytes() == content(item.key, item.size, item.version)
    return whole


def test_after_a_power_cut_all_that_was_called_stored_is_there_and_the_job_goes_on(make_job, disk):
    job = make_job(f"flat:{OBJECTS},size=uniform:1KiB:8KiB")
    job.volumes = [Path(disk.path)]

    stored = cut_the_power(job, disk)

    assert stored > 1000
    assert whole_on(job, disk) >= stored
    summary = job.sync()
    assert (summary["complete"], summary["listed"], summary["stored"]) == (True, OBJECTS, OBJECTS)
    check_each_once(job)


def test_without_a_sync_the_loss_is_seen(make_job, tmp_path):
    """A volume on FUSE, anywhere on this machine, has all disks synced now and then: whether that was so is seen on a disk beside."""
    for number in range(20):
        (tmp_path / f"disks{number}").mkdir()
        with closing(Disks(tmp_path / f"disks{number}")) as disks:
            disk, beside = disks.ext4(128), disks.ext4()
            for each in (disk, beside):
                each.remount("commit=300")  # so that the kernel's own write-back, after 5 s, does not do it
            Path(beside.path, "file").write_bytes(b"not synced")
            job = make_job(f"flat:{OBJECTS},size=uniform:1KiB:8KiB")
            job.volumes, job.folder = [Path(disk.path)], tmp_path / f"disks{number}"

            stored = cut_the_power(job, disk, "--durability", "none")

            beside.shut_down()
            beside.unmount(lazily=True)
            beside.mount()
            if not Path(beside.path, "file").exists():
                assert stored > 1000
                assert whole_on(job, disk) < stored / 2
                return
    raise AssertionError("all disks were synced by others each time")
