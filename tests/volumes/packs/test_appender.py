"""An open pack is a valid tar at every instant, and is gone on with where it was settled."""

import errno
import os
import subprocess
import sys
import tarfile

import msgspec
import pytest

from bucketpull.domain import keys
from bucketpull.domain.model import key_of
from bucketpull.domain.packing import Packing, PackNames
from bucketpull.volumes.beneath import OwnDirectory, open_root
from bucketpull.volumes.packs.folder import Folders
from bucketpull.volumes.packs.writer import Appender, Member

VOLUME = "0123456789ab"
STEPS = ("pack_begun", "bodies_written", "packed")


def members(*sizes, start=0):
    return [
        Member(
            b"d",
            b"%d.jpg" % (start + number),
            1_600_000_000,
            [bytes([size % 251]) * size] if size else [],
            size,
            number,
        )
        for number, size in enumerate(sizes)
    ]


class Place:
    """A folder that packs are written to, without the books of a volume."""

    def __init__(self, path):
        self._path = str(path)
        os.mkdir(f"{path}/.bucketpull")
        self._root = open_root(self._path, writing=True)
        self._home = OwnDirectory.open(self._root, ".bucketpull", self._path, writing=True)

    def folders(self):
        return Folders(self._root, self._home, VOLUME, self._path)

    def appender(self, packing=None):
        return Appender(self.folders(), packing or Packing(), sync=False)

    def leave_open(self, writer, number, end):
        folders = self.folders()
        folders.leave_open(writer, number, end)
        folders.close()

    def close(self):
        self._home.close()
        os.close(self._root)


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    found.close()


def listed(path):
    """Return what GNU tar lists; it must be content."""
    run = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    with tarfile.open(path) as archive:
        names = archive.getnames()
    assert run.stdout.splitlines() == names
    return names


def test_objects_lie_where_the_appender_says(tmp_path, place):
    appender = place.appender()
    pack, offsets = appender.append(members(0, 1, 512, 20_000))
    more, others = appender.append(members(5, start=10))
    appender.close()
    assert pack == more == "012345-0-000000"
    data = (tmp_path / "packs" / f"{pack}.tar").read_bytes()
    for size, offset in zip((0, 1, 512, 20_000, 5), [*offsets, *others], strict=True):
        assert data[offset * 512 : offset * 512 + size] == bytes([size % 251]) * size
    assert listed(tmp_path / "packs" / f"{pack}.tar") == [
        "d/0.jpg",
        "d/1.jpg",
        "d/2.jpg",
        "d/3.jpg",
        "d/10.jpg",
    ]


def test_members_have_the_paths_that_files_would_have_whatever_directory_came_before(tmp_path, place):
    appender = place.appender()
    found = [
        (b"", b"a"),
        (b"", b"b"),
        (b"d", b"a"),
        (b"d", b"b"),
        (b"", b"c"),
        (b"d", b"%~x"),
        (b"../d", b"a"),
        (b"../d", b"b"),
    ]
    pack, _ = appender.append([Member(directory, name, 1, [], 0, None) for directory, name in found])
    appender.close()
    assert listed(tmp_path / "packs" / f"{pack}.tar") == [
        os.fsdecode(keys.path_of(key_of(directory, name))) for directory, name in found
    ]


def test_a_pack_that_is_full_is_ended_and_the_next_one_begun(tmp_path, place):
    appender = place.appender(Packing(size=100_000))
    packs = [appender.append(members(30_000, start=number))[0] for number in range(7)]
    appender.close()
    assert sorted(set(packs)) == [f"012345-0-00000{number}" for number in range(3)]
    files = sorted((tmp_path / "packs").iterdir())
    assert all(listed(file) for file in files)
    assert all(file.read_bytes().endswith(bytes(1024)) for file in files[:2])
    assert max(file.stat().st_size for file in files) <= 102_000


def test_writers_at_the_same_time_have_packs_of_their_own(place):
    first, second = (place.appender() for _ in range(2))
    assert [first.append(members(1))[0], second.append(members(1))[0]] == [
        "012345-0-000000",
        "012345-1-000000",
    ]
    first.close()
    again = place.appender()
    assert again.append(members(1))[0] == "012345-0-000001", "what another process wrote may be settled yet"
    again.close()
    second.close()


def test_a_pack_is_gone_on_with_where_it_was_left_open(tmp_path, place):
    appender = place.appender()
    pack, _ = appender.append(members(700))
    appender.close()
    place.leave_open(0, 0, os.stat(tmp_path / "packs" / f"{pack}.tar").st_size)
    again = place.appender()
    assert again.append(members(700, start=1))[0] == pack
    again.close()
    assert listed(tmp_path / "packs" / f"{pack}.tar") == ["d/0.jpg", "d/1.jpg"]


def test_a_note_that_a_power_cut_left_empty_costs_no_more_than_a_new_pack(tmp_path, place):
    appender = place.appender()
    appender.append(members(700))
    appender.close()
    (tmp_path / ".bucketpull/packs/0.open").touch()
    again = place.appender()
    assert again.append(members(700, start=1))[0] == "012345-0-000001"
    again.close()


def test_a_pack_that_is_not_as_it_was_left_is_not_touched(tmp_path, place):
    appender = place.appender()
    appender.append(members(700))
    appender.close()
    before = (tmp_path / "packs" / "012345-0-000000.tar").read_bytes()
    place.leave_open(0, 0, 512)
    again = place.appender()
    assert again.append(members(700, start=1))[0] == "012345-0-000001"
    again.close()
    assert (tmp_path / "packs" / "012345-0-000000.tar").read_bytes() == before


def test_a_large_object_is_packed_from_the_file_it_came_to(tmp_path, place):
    body = os.urandom(3_000_001)
    (tmp_path / "part").write_bytes(body)
    appender = place.appender()
    appender.append(members(1))
    fd = os.open(tmp_path / "part", os.O_RDONLY)
    pack, offset = appender.append_file(b"d", b"large.mp4", 1_600_000_000, fd, len(body))
    os.close(fd)
    appender.append(members(1, start=2))
    appender.close()
    path = tmp_path / "packs" / f"{pack}.tar"
    assert path.read_bytes()[offset * 512 :][: len(body)] == body
    assert listed(path) == ["d/0.jpg", "d/large.mp4", "d/2.jpg"]


def test_samples_for_webdataset_have_a_description_beside_them(tmp_path, place):
    appender = place.appender(Packing(names=PackNames.WDS))
    pack, offsets = appender.append(members(5, 700))
    appender.close()
    with tarfile.open(tmp_path / "packs" / f"{pack}.tar") as archive:
        found = archive.getmembers()
        description = msgspec.json.decode(archive.extractfile(found[0]).read())
        assert description == {"key": "d/0.jpg", "size": 5, "mtime": 1_600_000_000}
        assert [each.offset_data // 512 for each in found[1::2]] == offsets
    assert [each.name for each in found] == [
        "00000000-000000.json", "00000000-000000.jpg", "00000000-000004.json", "00000000-000004.jpg",
    ]  # fmt: skip


@pytest.mark.parametrize("refused", [0, 1])
def test_what_the_disk_refuses_is_cut_off_again(disks, refused):
    """Both in the bodies and in a member of its own; the room is back afterwards."""
    disk = disks.tmpfs("1m")
    place = Place(disk.path)
    appender = place.appender()
    pack, _ = appender.append(members(1000))
    path = f"{disk.path}/packs/{pack}.tar"
    size = os.stat(path).st_size
    with pytest.raises(OSError) as refusal:
        appender.append(members(*[110_000] * 10 * (refused + 1), start=1))
    assert refusal.value.errno == errno.ENOSPC
    assert os.stat(path).st_size == size
    assert appender.append(members(1000, start=50))[0] == pack
    assert listed(path) == ["d/0.jpg", "d/50.jpg"]
    appender.close()
    place.close()


def test_a_pack_without_members_is_an_archive_too_when_it_was_begun_and_when_the_disk_refused_its_first(
    disks,
):
    disk = disks.tmpfs("1m")
    place = Place(disk.path)
    folders = place.folders()
    os.close(folders.begin("012345-7-000000"))
    folders.close()
    appender = place.appender()
    with pytest.raises(OSError, match="No space left"):
        appender.append(members(*[110_000] * 20))
    assert [listed(f"{disk.path}/packs/012345-{writer}-000000.tar") for writer in (7, 0)] == [[], []]
    appender.append(members(1000))
    assert listed(f"{disk.path}/packs/012345-0-000000.tar") == ["d/0.jpg"]
    appender.close()
    place.close()


def test_a_pack_that_the_disk_cannot_write_is_left_and_the_next_one_begun(disks):
    disk = disks.odd()
    place = Place(disk.path)
    appender = place.appender()
    assert appender.append(members(1000))[0] == "012345-0-000000"
    disk.fail("write", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        appender.append(members(1000, start=1))
    disk.fail()
    assert appender.append(members(1000, start=2))[0] == "012345-0-000001"
    appender.close()
    place.close()
    assert listed(f"{disk.path}/packs/012345-0-000000.tar") == ["d/0.jpg"]


VICTIM = """
import os, sys
from bucketpull.domain.packing import Packing
from bucketpull.volumes.beneath import OwnDirectory, open_root
from bucketpull.volumes.packs.writer import Appender, Member
from bucketpull.volumes.packs.folder import Folders
root = open_root(sys.argv[1], writing=True)
home = OwnDirectory.open(root, ".bucketpull", sys.argv[1], writing=True)
appender = Appender(Folders(root, home, "0123456789ab", sys.argv[1]), Packing(size=60_000), sync=False)
for chunk in range(8):
    appender.append([Member(b"d", b"%d-%d.jpg" % (chunk, n), 1, [b"x" * 3000], 3000, None) for n in range(5)])
"""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("time_reached", [1, 2])
def test_a_kill_at_any_step_leaves_valid_archives(tmp_path, step, time_reached):
    (tmp_path / ".bucketpull").mkdir()
    run = subprocess.run(
        [sys.executable, "-c", VICTIM, tmp_path],
        env={**os.environ, "BUCKETPULL_KILL_AT": f"{step}:{time_reached}"},
        check=False,
        timeout=60,
    )
    assert run.returncode == -9, "the step was never reached"
    names = [name for path in sorted((tmp_path / "packs").glob("*.tar")) for name in listed(path)]
    assert len(names) % 5 == 0, "part of a chunk is visible"
