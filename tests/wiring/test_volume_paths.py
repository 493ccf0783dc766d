"""Where a volume may be: not inside of another one, and not around one, whichever was there first."""

import os
import shutil
import subprocess
import time

import pytest
from tests.volumes.conftest import Disks

from bucketpull.domain.errors import ConfigError, VolumeSick
from bucketpull.volumes.identity import Owner, initialise
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import (
    check_copy_of,
    check_paths,
    named_if_silent,
    open_all,
    opened_to_read,
)

OWNER = Owner("0123456789ab")


@pytest.fixture
def disks(tmp_path):
    made = Disks(tmp_path)
    yield made
    made.close()


def test_a_volume_that_cannot_be_written_is_told_and_left_out_wherever_it_was_seen_last(tmp_path, disks):
    read_only, good = disks.tmpfs("8m"), tmp_path / "good"
    initialise(read_only.path)
    read_only.remount("ro")
    good.mkdir()
    told = []
    settings = Settings(source="upyun://b", reserve="0")

    (opened,) = open_all([read_only.path, str(good)], {}, settings, OWNER, told.append)
    opened.close()

    assert opened.path == str(good)
    assert [error.volume for error in told] == [read_only.path]
    with pytest.raises(VolumeSick, match="Read-only"):
        open_all([read_only.path], {}, settings, OWNER, told.append)


@pytest.mark.parametrize("below", ["inner", "a/b/c/inner", "many/inner"])
def test_a_volume_around_another_is_refused(tmp_path, below):
    inner = tmp_path / below
    inner.mkdir(parents=True)
    for number in range(200):
        (inner.parent / str(number)).mkdir()
    initialise(str(inner))

    with pytest.raises(ConfigError, match=f"volume {tmp_path}: the volume {inner} lies inside of it"):
        check_paths([str(tmp_path)])


def test_a_volume_within_another_is_refused(tmp_path):
    initialise(str(tmp_path))

    with pytest.raises(ConfigError, match=f"lies inside of the volume {tmp_path}"):
        check_paths([str(tmp_path / "a")])


def test_those_that_are_there_already_go_on(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    initialise(str(inner))
    initialise(str(tmp_path))

    assert check_paths([str(tmp_path)]) == [str(tmp_path)]
    assert check_paths([str(inner)]) == [str(inner)]


def test_links_are_not_followed_in_search_of_one(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    initialise(str(elsewhere))
    (tmp_path / "new").mkdir()
    os.symlink(elsewhere, tmp_path / "new/link")

    assert check_paths([str(tmp_path / "new")]) == [str(tmp_path / "new")]


def test_a_volume_that_was_put_in_the_place_of_the_one_that_is_written_to_is_not_read_for_it(tmp_path):
    (tmp_path / "disk").mkdir()
    identity = initialise(str(tmp_path / "disk"))
    (tmp_path / "disk").rename(tmp_path / "aside")
    (tmp_path / "disk").mkdir()
    initialise(str(tmp_path / "disk"))

    with opened_to_read(str(tmp_path / "aside"), identity) as reader:
        assert reader.id == identity
    with (
        pytest.raises(VolumeSick, match="mount the right disk"),
        opened_to_read(str(tmp_path / "disk"), identity),
    ):
        pass


def test_a_volume_is_not_added_a_second_time_by_its_copy_but_goes_on_where_it_was_moved(tmp_path):
    (tmp_path / "disk").mkdir()
    identity = initialise(str(tmp_path / "disk"))
    seen_at = {identity: str(tmp_path / "disk")}
    copy, moved = tmp_path / "copy", str(tmp_path / "moved")
    shutil.copytree(tmp_path / "disk", copy)

    with pytest.raises(ConfigError, match=f"{copy} and {seen_at[identity]} are both the volume {identity}"):
        check_copy_of(str(copy), seen_at)

    check_copy_of(seen_at[identity], seen_at)
    os.rename(tmp_path / "disk", moved)
    check_copy_of(moved, seen_at)


def test_a_disk_that_is_mounted_twice_is_no_copy(tmp_path):
    disk, again = tmp_path / "disk", tmp_path / "again"
    disk.mkdir()
    identity = initialise(str(disk))
    again.symlink_to(disk)

    check_copy_of(str(again), {identity: str(disk)})


def test_a_volume_that_does_not_answer_when_a_job_begins_is_named(capfd):
    told = ""
    with named_if_silent("/mnt/disk1", 0.0):
        deadline = time.monotonic() + 60
        while "/mnt/disk1 has not answered" not in told and time.monotonic() < deadline:
            told += capfd.readouterr().err
            time.sleep(0.01)
    assert "volume /mnt/disk1 has not answered for 0 s" in told


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(tmp_path, disks):
    read_only = disks.tmpfs("8m")
    read_only.remount("ro")
    with pytest.raises(VolumeSick, match=r"not made: Read-only file system; .*mount it read-write"):
        open_all([f"{read_only.path}/new"], {}, Settings(source="upyun://b", reserve="0"), OWNER)


def test_one_folder_by_two_paths_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "again").mkdir()
    subprocess.run(["mount", "--bind", tmp_path / "disk", tmp_path / "again"], check=True)
    try:
        with pytest.raises(ConfigError, match=f"volume {tmp_path / 'again'}: given twice"):
            check_paths([str(tmp_path / "disk"), str(tmp_path / "again")])
        assert os.listdir(tmp_path / "disk") == []
    finally:
        subprocess.run(["umount", "-l", tmp_path / "again"], check=True)


def test_a_folder_that_is_immutable_is_told_with_what_changes_that(tmp_path, disks):
    folder = f"{disks.ext4().path}/fixed"
    os.mkdir(folder)
    subprocess.run(["chattr", "+i", folder], check=True)
    try:
        with pytest.raises(ConfigError, match=r"Operation not permitted.*chattr -i"):
            check_paths([folder])
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)
