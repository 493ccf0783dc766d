"""A volume is known by its id, wherever it is mounted; nothing is made unless asked."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from bucketpull.domain.errors import VolumeError, VolumeSick
from bucketpull.volumes.identity import Owner, enter, identify, initialise, owner_at
from bucketpull.volumes.volume import open_volume


def test_looking_for_a_volume_makes_none(tmp_path):
    assert identify(str(tmp_path)) is None
    assert identify(str(tmp_path / "absent")) is None
    assert os.listdir(tmp_path) == []


def test_a_volume_keeps_its_id(tmp_path):
    made = initialise(str(tmp_path))
    assert len(made) == 12
    assert int(made, 16) >= 0
    assert initialise(str(tmp_path), "hashed") == identify(str(tmp_path)) == made


def test_whose_a_volume_is_survives_a_power_cut(disks):
    disk = disks.ext4(64, "loop,commit=300")
    initialise(disk.path)
    volume = open_volume(disk.path)
    volume.belong_to(Owner("journal"))
    disk.shut_down()
    volume.close()
    disk.unmount(lazily=True)
    disk.mount()
    assert owner_at(disk.path) == (Owner("journal"), 0)


def test_of_several_jobs_that_make_a_volume_of_a_folder_at_once_one_makes_it(tmp_path):
    for number in range(20):
        (folder := tmp_path / str(number)).mkdir()
        with ThreadPoolExecutor(8) as jobs:
            made = set(jobs.map(initialise, [str(folder)] * 8))
        assert made == {identify(str(folder))}


def test_a_disk_mounted_elsewhere_is_the_same_volume(disks, tmp_path):
    disk = disks.ext4()
    made = initialise(disk.path)
    disk.unmount()
    assert identify(disk.path) is None
    disk.path = str(tmp_path)
    disk.mount()
    assert identify(disk.path) == made


def test_an_empty_mount_point_and_another_disk_are_refused(disks):
    first, second = disks.tmpfs(), disks.tmpfs()
    made, other = initialise(first.path), initialise(second.path)
    with pytest.raises(VolumeSick, match=f"volume {other} instead of {made}"):
        enter(second.path, made)
    first.unmount()
    with pytest.raises(VolumeSick, match="is the disk mounted"):
        enter(first.path, made)
    with pytest.raises(VolumeSick, match="not opened"):
        enter(first.path + "/absent", made)
    assert os.listdir(first.path) == []


def test_a_volume_of_a_later_version_is_refused(tmp_path):
    initialise(str(tmp_path))
    (tmp_path / ".bucketpull/volume.json").write_text('{"id": "abc", "format": 3}')
    with pytest.raises(VolumeError, match="format 3, this version knows 2"):
        identify(str(tmp_path))
    (tmp_path / ".bucketpull/volume.json").write_text("nonsense")
    with pytest.raises(VolumeError, match="not understood"):
        identify(str(tmp_path))


@pytest.mark.parametrize("id_", ["", "../../", "/abs", "a/b", "a\n", "\x1b[2J", "x" * 65])
def test_an_id_that_is_no_name_is_not_believed(tmp_path, id_):
    """It becomes a part of packs' names, and of a name in the cache of whoever reads the volume."""
    initialise(str(tmp_path))
    (tmp_path / ".bucketpull" / "volume.json").write_text(json.dumps({"id": id_, "format": 1}))

    with pytest.raises(VolumeError, match="is no id of a volume"):
        identify(str(tmp_path))


def test_layout_and_case_are_those_found_when_the_volume_was_made(tmp_path):
    initialise(str(tmp_path), "hashed")
    entered = enter(str(tmp_path), None)
    entered.close()
    identity = entered.identity
    assert (identity.layout, identity.folds_case) == ("hashed", False)
    assert identity.path_of(b"a/b", b"c.jpg").count(b"/") == 2


def test_a_full_or_read_only_disk_is_no_volume_and_says_why(disks):
    disk = disks.ext4(options="loop,ro")
    with pytest.raises(VolumeSick, match="Read-only"):
        initialise(disk.path)


@pytest.mark.parametrize("names", ["fold", "ascii"])
def test_a_volume_that_lies_where_names_are_told_apart_no_more_is_read_and_not_written(disks, names):
    disk = disks.odd(names)
    exact = f"{disk.image}/backing"
    initialise(exact)
    with pytest.raises(VolumeSick, match="takes `A` and `a` for one name"):
        open_volume(disk.path)
    enter(disk.path, None).close()
    open_volume(exact).close()


@pytest.mark.parametrize("names", ["fold", "ascii"])
def test_a_new_volume_knows_whether_names_are_told_apart(disks, names):
    disk = disks.odd(names)
    initialise(disk.path)
    entered = enter(disk.path, None)
    assert entered.identity.folds_case
    assert entered.identity.path_of(b"", b"A") != b"A"
    entered.close()
    open_volume(disk.path).close()
