"""Several disks as one: full, failing, read-only, unmounted, moved, added, lost or slow, the bucket ends up on them once."""

import contextlib
import os
from pathlib import Path

import pytest
from tests.e2e.holdings import (
    check_each_once,
    ended,
    files_on,
    requests,
    running_state,
    until,
    volumes,
)
from tests.volumes.conftest import disks  # noqa: F401 - a fixture


def on(job, *paths):
    """Give a job these volumes."""
    job.volumes = [Path(path) for path in paths]
    return job


def fill_up(disk):
    """Let somebody else take what is free on a disk; return the file that does."""
    ballast = Path(disk.path, "ballast")
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return ballast


def pull_while_disks_come_and_go(job, disks, objects, megabytes):  # noqa: F811
    full, failing, good, added = (
        disks.tmpfs(f"{megabytes}m"),
        disks.ext4(megabytes),
        disks.tmpfs(f"{megabytes}m"),
        disks.tmpfs(f"{megabytes}m"),
    )
    on(job, full.path, failing.path, good.path)
    process = job.start("--rate", str(max(2500, objects // 50)))
    until(lambda: job.count() > objects // 10, "a tenth", process)
    fill_up(full)
    until(lambda: volumes(job)[failing.path]["stored_objects"] > 0, "something to be settled", process)
    failing.remount("abort")
    until(lambda: volumes(job)[failing.path]["state"] == "sick", "the sick disk to be known", process)
    job.command("volumes", "add", added.path, "--reserve", "0", "--state", str(job.state))
    said = ended(process)
    failing.unmount(lazily=True)
    failing.mount()
    return said, (full, failing, good, added)


@pytest.mark.parametrize("objects", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_one_disk_fills_up_one_turns_read_only_one_is_added_and_the_bucket_is_there_once(
    make_job, disks, objects
):  # noqa: F811
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
