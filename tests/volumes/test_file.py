"""Writing objects: whole under their names or not at all, inside the volume, whatever lies in the way."""

import errno
import os
import resource
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bucketpull.domain.errors import Reason, VolumeSick
from bucketpull.domain.record import Written
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.volume import open_volume


@pytest.fixture
def writer_on(disks):
    made = []

    def open_on(path, layout="key", sync=False):
        identity = initialise(str(path), layout)
        open_volume(str(path)).close()
        made.append(FileWriter.open(str(path), identity, sync))
        return made[-1]

    yield open_on
    for files in made:
        files.close()


def files_below(path):
    found = (file.relative_to(path) for file in Path(path).rglob("*") if file.is_file())
    return sorted(str(file) for file in found if file.parts[0] != HOME)


@pytest.mark.parametrize("sync", [False, True])
def test_an_object_lies_under_its_key_with_its_bytes_and_time(writer_on, tmp_path, sync):
    files = writer_on(tmp_path, sync=sync)
    assert files.store(b"a/b", b"c.jpg", 1_600_000_000, [b"one ", b"two"], 7) == Written(7)
    assert files.store(b"", b"empty", 1, [], 8) == Written(8)
    stored = tmp_path / "a/b/c.jpg"
    assert (stored.read_bytes(), stored.stat().st_mtime) == (b"one two", 1_600_000_000)
    assert (tmp_path / "empty").read_bytes() == b""


def test_a_body_of_many_pieces_is_whole(writer_on, tmp_path):
    pieces = [os.urandom(3) for _ in range(5000)]
    writer_on(tmp_path).store(b"", b"x", 1, pieces, 0)
    assert (tmp_path / "x").read_bytes() == b"".join(pieces)


def test_a_changed_object_replaces_the_old_one(writer_on, tmp_path):
    files = writer_on(tmp_path)
    files.store(b"a", b"x", 1, [b"old"], 0)
    files.store(b"a", b"x", 2, [b"new"], 0)
    assert files_below(tmp_path) == ["a/x"]
    assert (tmp_path / "a/x").read_bytes() == b"new"


def test_file_and_folder_of_one_name_are_both_kept_in_either_order(writer_on, tmp_path):
    files = writer_on(tmp_path)
    first = [files.store(b"", b"a", 1, [b"file"], 0), files.store(b"a/b", b"c", 1, [b"below"], 1)]
    other = [files.store(b"z/b", b"c", 1, [b"below"], 2), files.store(b"", b"z", 1, [b"file"], 3)]
    assert [written.reason for written in first + other] == [None] * 4
    below, beside = first[1].path, other[1].path
    assert first[0].path is None
    assert (tmp_path / "a").read_bytes() == (tmp_path / os.fsdecode(beside)).read_bytes() == b"file"
    assert (tmp_path / "z/b/c").read_bytes() == (tmp_path / os.fsdecode(below)).read_bytes() == b"below"
    assert below.endswith(b"/b/c")


def test_no_symbolic_link_leads_out_of_the_volume(writer_on, tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (outside / "precious").write_text("precious")
    (inside / "link").symlink_to(outside)
    (inside / "name").symlink_to(outside / "precious")
    files = writer_on(inside)
    below = files.store(b"link/deep", b"x", 1, [b"1"], 0)
    direct = files.store(b"", b"name", 1, [b"2"], 1)
    assert (below.reason, direct.reason) == (None, None)
    assert below.path is not None
    assert (inside / os.fsdecode(below.path)).read_bytes() == b"1"
    assert (inside / "name").read_bytes() == b"2"
    assert os.listdir(outside) == ["precious"]
    assert (outside / "precious").read_text() == "precious"


@example(
    stored={
        (b"", b"a"): b"1",
        (b"", b"/a"): b"2",
        (b"", b"b/a"): b"3",
        (b"", b"b/A"): b"4",
        (b"b", b"/A"): b"5",
    }
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stored=st.dictionaries(
        st.tuples(
            st.lists(st.sampled_from([b"..", b".", b"", b"a", b"A", b".bucketpull", b"%~"]), max_size=3).map(
                b"/".join
            ),
            st.sampled_from(
                [
                    b"..",
                    b"",
                    b"a",
                    b"A",
                    b"b",
                    b"a/b",
                    b"a/A",
                    b"a//A",
                    b"/a",
                    b"/",
                    b"../x",
                    b"\xff",
                    b"n" * 300,
                    b"%~",
                    b".bucketpull",
                ]
            )
            | st.binary(max_size=9),
        ),
        st.binary(max_size=4),
        max_size=8,
    )
)
def test_any_keys_are_stored_apart_and_inside_the_volume(writer_on, tmp_path_factory, stored):
    """Keys that are one (a//b listed in two ways) are one object; all others are found where the outcome says."""
    root = tmp_path_factory.mktemp("world")
    (root / "volume").mkdir()
    files = writer_on(root / "volume")
    found = {}
    for (directory, name), body in stored.items():
        written = files.store(directory, name, 1, [body], 0)
        assert written.reason is None, written
        found[directory + b"/" + name if directory else name] = (
            written.path or files.identity.path_of(directory, name),
            body,
        )
    for path, body in found.values():
        assert (root / "volume" / os.fsdecode(path)).read_bytes() == body
    assert os.listdir(root) == ["volume"]
    assert len(files_below(root / "volume")) == len(found)
    assert set(os.listdir(root / "volume" / HOME)) == {
        "intents",
        "ledger",
        "lock",
        "partial",
        "tmp",
        "volume.json",
    }


def test_a_full_disk_takes_nothing_leaves_nothing_and_takes_again_when_there_is_room(writer_on, disks):
    disk = disks.tmpfs("8m")
    files = writer_on(disk.path)
    outcomes = [files.store(b"d", b"%d" % number, 1, [bytes(100_000)] * 5, number) for number in range(30)]
    refused = [written for written in outcomes if written.reason]
    assert {written.reason for written in refused} == {Reason.VOLUME_FULL}
    assert len(files_below(disk.path)) == 30 - len(refused)
    assert {file.stat().st_size for file in Path(disk.path, "d").iterdir()} == {500_000}
    Path(disk.path, "d/0").unlink()
    assert files.store(b"d", b"0", 1, [bytes(100_000)] * 5, 0).reason is None


def test_exhausted_inodes_are_told_from_exhausted_bytes(writer_on, disks):
    disk = disks.tmpfs("64m", inodes=40)
    files = writer_on(disk.path)
    outcomes = [files.store(b"d%d" % number, b"x", 1, [b"x"], number) for number in range(40)]
    assert outcomes[-1].reason is Reason.VOLUME_FULL
    assert outcomes[-1].detail.endswith("no inodes left")
    assert len(files_below(disk.path)) == sum(written.reason is None for written in outcomes)


def test_a_quota_and_a_full_ext4_are_full_too(writer_on, disks):
    disk = disks.ext4(16)
    files = writer_on(disk.path)
    outcomes = [files.store(b"d", b"%d" % number, 1, [bytes(1 << 20)], number) for number in range(20)]
    assert outcomes[0].reason is None
    assert outcomes[-1].reason is Reason.VOLUME_FULL
    assert {file.stat().st_size for file in Path(disk.path, "d").iterdir()} == {1 << 20}


def test_a_directory_that_takes_no_more_entries_goes_on_in_hashed_folders(writer_on, disks):
    disk = disks.ext4(64, "loop,max_dir_size_kb=8")
    files = writer_on(disk.path)
    outcomes = {
        b"%0200d" % number: files.store(b"full", b"%0200d" % number, 1, [b"%d" % number], number)
        for number in range(100)
    }
    assert {written.reason for written in outcomes.values()} == {None}
    moved = {name: written.path for name, written in outcomes.items() if written.path}
    assert 10 < len(moved) < 90
    for name, path in moved.items():
        assert path.startswith(b"%~%~full/")
        assert Path(disk.path, os.fsdecode(path)).read_bytes() == b"%d" % int(name)
    assert len(files_below(disk.path)) == 100
    below = files.store(b"full/" + b"s" * 200, b"y", 1, [b"y"], 0)
    assert below.reason is None


@pytest.mark.parametrize(
    ("operation", "number"),
    [("rename", errno.ENAMETOOLONG), ("mkdir", errno.ENAMETOOLONG), ("rename", errno.EINVAL)],
)
def test_an_object_whose_name_a_file_system_refuses_lies_under_a_short_one(
    writer_on, disks, operation, number
):
    disk = disks.odd()
    files = writer_on(disk.path)
    names = [("\u4e2d" * 60 + f"{number}").encode() for number in range(2)]
    disk.fail(operation, number, "\u4e2d" * 60)
    written = [files.store(name, name, 1, [name], 0) for name in names]
    disk.fail()
    assert [each.reason for each in written] == [None, None]
    for name, each in zip(names, written, strict=True):
        assert each.path.startswith(b"%~%~long/")
        assert max(map(len, each.path.split(b"/"))) <= 143
        assert Path(disk.path, os.fsdecode(each.path)).read_bytes() == name
    assert len(files_below(disk.path)) == 2


def test_a_disk_that_fails_refuses_at_once_and_only_the_first_time_asks_the_disk(writer_on, disks):
    disk = disks.ext4()
    files = writer_on(disk.path)
    assert files.store(b"a", b"x", 1, [b"x"], 0).reason is None
    disk.shut_down()
    first, second = (files.store(b"a", b"y", 1, [b"y"], number) for number in range(2))
    assert (first.reason, second.reason) == (Reason.VOLUME_SICK, Reason.VOLUME_SICK)
    assert first.detail == second.detail == "file not written: Input/output error"


def test_a_read_only_disk_is_sick(writer_on, disks):
    disk = disks.ext4()
    files = writer_on(disk.path)
    disk.remount("abort")
    assert files.store(b"a", b"y", 1, [b"y"], 0).reason is Reason.VOLUME_SICK


def test_a_path_that_cannot_be_reached_fails_only_that_object(writer_on, disks):
    files = writer_on(disks.tmpfs().path)
    root = Path(files.path)
    (root / "other").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root / "other"], check=True)
    try:
        refused = files.store(b"other", b"x", 1, [b"x"], 0)
        assert refused.reason is Reason.UNSTORABLE
        assert "other/x: Invalid cross-device link" in refused.detail
        assert files.store(b"a", b"x", 1, [b"x"], 0).reason is None
    finally:
        subprocess.run(["umount", "-l", root / "other"], check=True)


def test_names_that_a_folding_file_system_takes_for_one_are_stored_apart(writer_on, disks):
    disk = disks.odd("fold")
    files = writer_on(disk.path)
    assert files.identity.folds_case
    names = [
        b"A.jpg",
        b"a.jpg",
        "\u00e9.jpg".encode(),
        "e\u0301.jpg".encode(),
        "\u00c9.jpg".encode(),
        b"stra\xc3\x9fe",
        b"strasse",
    ]
    for directory in (b"Photos", b"photos"):
        for name in names:
            assert files.store(directory, name, 1, [directory, name], 0) == Written(0)
    assert len(files_below(disk.path)) == 14
    for directory in (b"Photos", b"photos"):
        for name in names:
            path = os.fsdecode(files.identity.path_of(directory, name))
            assert Path(disk.path, path).read_bytes() == directory + name


def test_a_note_that_files_have_no_dates_counts_whosever_it_is(writer_on, disks):
    disk = disks.odd()
    files = writer_on(disk.path)
    Path(disk.path, ".bucketpull", "undated").mkdir()  # like a file of root it cannot be opened for writing
    disk.fail("utimens", errno.EPERM)

    assert files.store(b"d", b"x", 1, [b"body"], 0).reason is None


@pytest.mark.parametrize(
    ("operation", "number", "reason"),
    [
        ("create", errno.EIO, Reason.VOLUME_SICK),
        ("write", errno.EIO, Reason.VOLUME_SICK),
        ("write", errno.ESTALE, Reason.VOLUME_SICK),
        ("write", errno.ENOSPC, Reason.VOLUME_FULL),
        ("write", errno.EDQUOT, Reason.VOLUME_FULL),
        ("flush", errno.EDQUOT, Reason.VOLUME_FULL),
        ("flush", errno.EIO, Reason.VOLUME_SICK),
        ("utimens", errno.EIO, Reason.VOLUME_SICK),
        ("rename", errno.EIO, Reason.VOLUME_SICK),
        ("rename", errno.EDQUOT, Reason.VOLUME_FULL),
        ("rename", errno.EILSEQ, Reason.UNSTORABLE),
        ("rename", errno.ENAMETOOLONG, Reason.UNSTORABLE),
        ("mkdir", errno.EROFS, Reason.VOLUME_SICK),
    ],
)
def test_any_operation_that_fails_leaves_nothing_and_blames_the_right_thing(
    writer_on, disks, operation, number, reason
):
    disk = disks.odd()
    files = writer_on(disk.path)
    disk.fail(operation, number)
    refused = files.store(b"d", b"x", 1, [b"body"], 0)
    disk.fail()
    assert refused.reason is reason
    assert os.strerror(number) in refused.detail
    assert files_below(disk.path) == []
    assert [file for file in Path(disk.path, HOME, "tmp").rglob("*") if file.is_file()] == []
    recovered = files.store(b"d", b"x", 1, [b"body"], 0)
    assert recovered.reason is (reason if reason is Reason.VOLUME_SICK else None)


def test_a_folder_removed_by_somebody_is_made_again(writer_on, tmp_path):
    files = writer_on(tmp_path)
    files.store(b"a/b", b"x", 1, [b"x"], 0)
    (tmp_path / "a/b/x").unlink()
    (tmp_path / "a/b").rmdir()
    (tmp_path / "a").rmdir()
    assert files.store(b"a/b", b"y", 1, [b"y"], 0) == Written(0)
    assert files_below(tmp_path) == ["a/b/y"]


def test_open_directories_are_bounded_and_deep_paths_work(writer_on, tmp_path):
    files = writer_on(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    deep = b"/".join([b"d"] * 400)
    assert files.store(deep, b"x", 1, [b"x"], 0) == Written(0)
    for number in range(1000):
        files.store(b"w%d" % number, b"x", 1, [b"x"], 0)
    assert len(os.listdir("/proc/self/fd")) - before <= 257
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 257


def test_another_disk_in_the_place_of_the_volume_is_not_written(disks):
    disk = disks.tmpfs()
    initialise(disk.path)
    with pytest.raises(VolumeSick, match="mount the right disk"):
        FileWriter.open(disk.path, "0123456789ab", sync=False)


def test_the_hashed_layout_spreads_one_directory(writer_on, tmp_path):
    files = writer_on(tmp_path, "hashed")
    for number in range(200):
        assert files.store(b"a", b"%d.jpg" % number, 1, [b"x"], 0) == Written(0)
    assert len(files_below(tmp_path)) == 200
    assert len([entry for entry in os.listdir(tmp_path) if entry != HOME]) > 80


def test_objects_of_the_root_lie_beside_one_another_whatever_they_are_called(writer_on, tmp_path):
    files = writer_on(tmp_path)
    (tmp_path / "taken").mkdir()
    names = [b"a", b"b", HOME.encode(), b"..", b"taken", b"%~c", b"d" * 300, b"packs", b"a", b"e"]
    lies = [files.store(b"", name, 1, [name], 0) for name in names]

    assert all(written.reason is None for written in lies)
    usual = {name: (tmp_path / name.decode()).read_bytes() for name in (b"a", b"b", b"packs", b"e")}
    assert usual == {name: name for name in usual}
    assert (tmp_path / HOME).is_dir()
    below = files_below(tmp_path)
    assert len(below) == len(set(names))
