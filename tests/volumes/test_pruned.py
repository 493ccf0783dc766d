"""Only files that are as they were stored are pruned: what others put in their place stays, and the volume opens."""

import errno
import os
import tracemalloc

import msgspec
import pytest
from tests.volumes.filling import Filler

from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import Part
from bucketpull.domain.record import Block, Conclusion
from bucketpull.volumes.beneath import remove_all
from bucketpull.volumes.identity import HOME
from bucketpull.volumes.ledger import Gone
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.pruning import Comparison
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.trash import Trash, TrashFolder, TrashFolders
from bucketpull.volumes.verification import walk
from bucketpull.volumes.volume import open_volume

BODY = b"0123456789"


@pytest.fixture(params=["", "until-99990101T000000Z"])
def trash(request):
    return request.param


@pytest.fixture
def root(tmp_path):
    (tmp_path / "disk").mkdir()
    with Filler(tmp_path / "disk") as filler:
        filler.store({(b"old", b"%d" % number): BODY for number in range(3)})
    return tmp_path / "disk"


def entries(root):
    reader = open_reader(str(root))
    try:
        return list(LiveObjects(reader, str(root.parent)).entries())
    finally:
        reader.close()


def prune(root, trash=""):
    """Prune all; return what is told, and what is still said to be left of the blocks."""
    gone = [Gone(*entry) for entry in entries(root)]
    volume = open_volume(str(root))
    try:
        volume.prune(gone, trash)
        return volume.left_alone.warning(), [volume.read(each.block) for each in gone]
    finally:
        volume.close()


def die_while_pruning(root, trash, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("bucketpull.volumes.trash.TrashFolder.take", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prune(root, trash)


def another_date(path):
    path.write_bytes(b"9876543210")


def another_length(path):
    path.write_bytes(b"my own different work")


def folder(path):
    path.unlink()
    path.mkdir()


def full_folder(path):
    folder(path)
    (path / "mine").write_bytes(BODY)


def link(path):
    path.unlink()
    path.symlink_to("nowhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder_linked(path):
    elsewhere = path.parent.with_name("elsewhere")
    path.parent.rename(elsewhere)
    path.parent.symlink_to(elsewhere)


OTHERS = [another_date, another_length, folder, full_folder, link, pipe]


def look(path):
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("other", OTHERS)
def test_what_others_put_in_the_place_of_an_object_stays_and_is_told(root, trash, other):
    place = root / "old" / "1"
    other(place)
    before = look(place)

    told, _ = prune(root, trash)

    assert os.listdir(root / "old") == ["1"]
    assert look(place) == before
    assert (
        told == "has something else in the place of removed objects, which is left alone (1, such as old/1)"
    )
    assert entries(root) == []


@pytest.mark.parametrize("other", OTHERS)
def test_so_it_is_when_a_pruning_that_was_killed_is_finished(root, trash, other, monkeypatch):
    die_while_pruning(root, trash, monkeypatch)
    place = root / "old" / "1"
    other(place)
    before = look(place)

    volume = open_volume(str(root))

    told = volume.status().warning
    volume.close()
    assert os.listdir(root / "old") == ["1"]
    assert look(place) == before
    assert "which is left alone (1, such as old/1)" in told
    assert os.listdir(root / HOME / "intents") == []


def test_a_folder_that_is_a_link_now_is_not_followed(root, trash, monkeypatch):
    die_while_pruning(root, trash, monkeypatch)
    folder_linked(root / "old" / "1")
    open_volume(str(root)).close()
    assert sorted(os.listdir(root / "elsewhere")) == ["0", "1", "2"]


@pytest.mark.parametrize("other", [another_length, folder, link])
def test_what_others_put_there_is_not_taken_for_the_object(root, other):
    other(root / "old" / "1")
    _, left = prune(root)
    assert left == [[], [], []]


def test_a_file_that_was_taken_over_with_another_date_is_known_by_its_md5(root):
    os.utime(root / "old" / "1", (5, 5))
    told, _ = prune(root)
    assert told == ""
    assert not (root / "old").exists()


def test_where_no_dates_are_kept_the_length_must_do(root, monkeypatch):
    another_date(root / "old" / "1")
    monkeypatch.setattr("bucketpull.volumes.syscalls.set_date", lambda *_: False)
    told, _ = prune(root)
    assert told == ""
    assert not (root / "old").exists()


def test_a_folder_in_the_place_of_a_discarded_copy_keeps_no_volume_from_opening(root, monkeypatch):
    volume = open_volume(str(root))
    volume.intend("job", 7)
    records = msgspec.msgpack.encode([record for _, record, _ in entries(root)])
    [extent] = volume.settle([Block("job", 7, records)])
    with monkeypatch.context() as patch:
        patch.setattr("bucketpull.volumes.trash.TrashFolder.take", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            volume.conclude("job", [Conclusion(7, [extent.offset])])
    volume.close()
    full_folder(root / "old" / "0")

    open_volume(str(root)).close()

    assert (root / "old" / "0" / "mine").exists()


def test_a_file_that_the_disk_does_not_give_keeps_no_other_from_being_removed(root, trash, monkeypatch):
    with monkeypatch.context() as patch:
        break_disk(patch, lambda path: path == b"old/1")
        warning, _ = prune(root, trash)
    assert "1, such as old/1" in warning
    assert os.listdir(root / "old") == ["1"]


def test_a_disk_that_fails_while_it_is_pruned_is_told_as_one_that_is_sick(root, trash, monkeypatch):
    with monkeypatch.context() as patch:
        break_disk(patch, lambda path: path == b"old/1")
        patch.setattr("bucketpull.volumes.removal.try_writing", fail)
        with pytest.raises(VolumeSick, match="objects not removed: Input/output error; see `dmesg`"):
            prune(root, trash)
    assert entries(root) == []
    open_volume(str(root)).close()  # finishes what was begun
    assert not (root / "old/1").exists()


def test_a_file_that_the_disk_does_not_give_keeps_no_volume_from_opening(root, trash, monkeypatch):
    die_while_pruning(root, trash, monkeypatch)
    break_disk(monkeypatch, lambda path: path == b"old/1")
    volume = open_volume(str(root))
    try:
        assert "1, such as old/1" in volume.left_alone.warning()
    finally:
        volume.close()
    assert os.listdir(root / "old") == ["1"]


@pytest.mark.parametrize("note", [b"", b"until-", b"../../elsewhere", b"\xff\xfe"])
def test_what_a_damaged_note_would_have_kept_in_the_trash_stays(root, note, monkeypatch):
    die_while_pruning(root, "until-99990101T000000Z", monkeypatch)
    [path] = (root / HOME / "intents").iterdir()
    path.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n" + note)
    volume = open_volume(str(root))
    try:
        assert "3, such as old/" in volume.left_alone.warning()
    finally:
        volume.close()
    assert len(os.listdir(root / "old")) == 3


@pytest.mark.parametrize("use", [Trash.expired, lambda trash: trash.empty("until-x")])
def test_a_trash_that_the_disk_does_not_give_is_told(root, use, monkeypatch):
    prune(root, "until-20200101T000000Z")
    volume = open_volume(str(root))
    monkeypatch.setattr("bucketpull.volumes.trash.beneath.remove_all", fail)
    monkeypatch.setattr("bucketpull.volumes.beneath.OwnDirectory.names", fail)
    try:
        with pytest.raises(VolumeSick, match=r"not (read|removed): Input/output error"):
            use(volume.trash)
    finally:
        volume.close()


def test_one_pruning_makes_a_folder_of_the_trash_an_hour_and_keeps_nothing_shorter_than_was_said():
    folders, day = TrashFolders(86_400), 1_800_000_000

    assert {folders.at(day + second) for second in (0, 0.5, 1, 3600)} == {"until-20270116T090000Z"}
    assert folders.at(day + 3601) == "until-20270116T100001Z"
    assert TrashFolders(0).at(day) == ""


def fail(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def break_disk(patch, hits):
    """Have the disk fail where a file is removed or renamed whose path `hits`."""
    take = TrashFolder.take
    patch.setattr(TrashFolder, "take", lambda self, path: fail() if hits(path) else take(self, path))


def peak_of(action):
    """Return how much memory, in bytes, an action needs beyond what is there."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_folder_of_the_trash_is_emptied_in_memory_that_does_not_grow_with_it(tmp_path):
    """A list of 3,000 entries takes 1 MB."""
    kept = tmp_path / "until" / "a"
    (kept / "folder").mkdir(parents=True)
    for number in range(3000):
        (kept / f"{number:0200}").touch()
    top = os.open(tmp_path, os.O_RDONLY)
    try:
        assert peak_of(lambda: remove_all(top, "until")) < 500_000
    finally:
        os.close(top)
    assert os.listdir(tmp_path) == []


def test_folders_are_walked_in_memory_that_does_not_grow_with_their_number(tmp_path):
    """The paths of 3,000 folders take 700 kB."""
    for number in range(3000):
        (tmp_path / f"{number:0200}").mkdir()
    (tmp_path / f"{7:0200}" / "file").touch()
    deep = tmp_path / ("x/" * 120)
    deep.mkdir(parents=True)
    (deep / "file").touch()
    top = os.open(tmp_path, os.O_RDONLY)
    found = []
    try:
        assert peak_of(lambda: found.extend(walk(top, lambda *_: None))) < 300_000
    finally:
        os.close(top)
    assert sorted(found) == sorted([b"%0200d/file" % 7, b"x/" * 120 + b"file"])


def test_of_copies_on_two_volumes_those_go_that_are_not_as_listed(tmp_path):
    names, dates = ("one", "two"), (1_600_000_000, 1_600_000_100)
    for name, date in zip(names, dates, strict=True):
        (tmp_path / name).mkdir()
        with Filler(tmp_path / name) as filler:
            filler.store({(b"a", b"both"): BODY, (b"a", name.encode()): BODY}, mtime=date)
    readers = [open_reader(str(tmp_path / name)) for name in names]
    try:
        live = [LiveObjects(reader, str(tmp_path)) for reader in readers]
        comparison = Comparison(live, str(tmp_path), b"")
        comparison.take(Part(b"a", "", [b"both", b"one", b"two"], [10] * 3, [dates[1], 5, dates[1]]))
        assert (comparison.finish(), comparison.copies) == (1, 1)
        assert [[each.key for each in comparison.gone(number)] for number in range(2)] == [[b"a/both"], []]
    finally:
        for reader in readers:
            reader.close()
