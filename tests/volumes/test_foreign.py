"""What of a volume's files is ours, what is an object, and what is put aside."""

import errno
import hashlib
import os
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest

from bucketpull.domain.batching import batch_of, encode_parts
from bucketpull.domain.model import Part
from bucketpull.domain.record import Block, Inspection, Record
from bucketpull.volumes import beneath
from bucketpull.volumes.files.tree import Tree
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.volume import open_volume

MTIME = 1_600_000_000


@pytest.fixture
def volume(tmp_path):
    initialise(str(tmp_path))
    opened = open_volume(str(tmp_path))
    yield opened
    opened.close()


def put(volume, path, body, mtime=MTIME):
    place = os.path.join(volume.path, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        file.write(body)
    os.utime(place, (mtime, mtime))


def part(*names, size=3, mtime=MTIME, versions=()):
    return Part(b"d", "", list(names), [size] * len(names), [mtime] * len(names), list(versions))


def on(volume):
    return sorted(os.listdir(os.path.join(volume.path, "d")))


def md5(body):
    return hashlib.md5(body).digest()


@pytest.mark.parametrize("version", ["{}", '"{}"'])
def test_an_md5_that_the_listing_states_decides_at_once(volume, version):
    for name in ("d/a", "d/b"):
        put(volume, name, b"abc", mtime=5)
    versions = [version.format(md5(b"abc").hex()), version.format("0" * 32)]

    seen = volume.inspect([part(b"a", b"b", versions=versions)], "md5")

    (record,) = seen.records
    assert (record.names, record.md5s, seen.claims) == ([b"a"], [md5(b"abc")], [])
    assert on(volume) == ["a", "b.kept"]


def test_without_one_the_files_own_is_told(volume):
    put(volume, "d/a", b"abc", mtime=5)
    put(volume, "d/longer", b"abcd")

    seen = volume.inspect([part(b"a", b"longer", b"missing", versions=["", '"x-2"', ""])], "md5")

    assert seen.records == []
    assert [(claim.directory, claim.name, claim.md5) for claim in seen.claims] == [(b"d", b"a", md5(b"abc"))]


def test_a_date_decides_where_that_is_asked_for(volume):
    put(volume, "d/a", b"abc")
    put(volume, "d/b", b"abc", mtime=MTIME - 60)

    seen = volume.inspect([part(b"a", b"b")], "date")

    assert [record.names for record in seen.records] == [[b"a"]]
    assert seen.claims == []


def test_an_object_without_size_or_date_is_not_recognised(volume):
    put(volume, "d/a", b"abc")

    assert volume.inspect([part(b"a", size=-1)], "md5") == Inspection([], [])
    assert volume.inspect([part(b"a", mtime=-1)], "date") == Inspection([], [])


def test_links_are_not_followed_and_are_kept_too(volume, tmp_path):
    put(volume, "d/x", b"abc")
    outside = tmp_path / "outside"
    outside.write_bytes(b"abc")
    os.symlink(outside, tmp_path / "d/a")

    assert volume.inspect([part(b"a")], "md5") == Inspection([], [])
    volume.clear(batch_of([part(b"a")]))

    assert on(volume) == ["a.kept", "x"]
    assert outside.read_bytes() == b"abc"


def test_what_has_the_objects_size_and_date_is_no_loss_and_stays(volume):
    put(volume, "d/a", b"abc")

    volume.clear(batch_of([part(b"a")]))

    assert on(volume) == ["a"]
    assert volume.status().warning == ""


def test_anything_else_is_put_aside_and_told(volume):
    put(volume, "d/a", b"abc", mtime=5)
    put(volume, "d/b", b"longer", mtime=6)

    volume.clear(batch_of([part(b"a", b"b")]))

    assert on(volume) == ["a.kept", "b.kept"]
    assert "had 2 files of others" in volume.status().warning


def test_what_can_be_neither_renamed_nor_replaced_is_the_trouble_of_its_object_alone(
    volume, tmp_path_factory
):
    for name in ("d/a", "d/mounted", "d/z"):
        put(volume, name, b"xyz", mtime=5)
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.write_bytes(b"of others")
    subprocess.run(["mount", "--bind", outside, os.path.join(volume.path, "d/mounted")], check=True)
    try:
        volume.clear(batch_of([part(b"a", b"mounted", b"z")]))
    finally:
        subprocess.run(["umount", os.path.join(volume.path, "d/mounted")], check=True)

    assert on(volume) == ["a.kept", "mounted", "z.kept"]
    assert "2 files of others" in volume.status().warning


def test_what_the_disk_cannot_look_at_is_the_trouble_of_its_object_alone(disks):
    disk = disks.odd()
    folder = Path(disk.image, "backing", "d")
    folder.mkdir()
    for name in ("bad", "z"):
        (folder / name).write_bytes(b"xyz")  # behind the file system, which would remember what it has seen
    initialise(disk.path)
    volume = open_volume(disk.path)
    disk.fail("getattr", errno.EIO, "/d/bad")

    volume.clear(batch_of([part(b"bad", b"z")]))

    disk.fail()
    assert on(volume) == ["bad", "z.kept"]
    volume.close()


@pytest.mark.parametrize("is_link", [False, True])
def test_what_lies_where_a_folder_belongs_stays_and_is_told(volume, is_link):
    place = os.path.join(volume.path, "d")
    os.symlink("/", place) if is_link else put(volume, "d", b"mine")

    volume.clear(batch_of([Part(b"d/e", "", [b"a"], [3], [MTIME])]))

    assert os.path.islink(place) if is_link else os.path.isfile(place)
    assert "of others where the folder d belongs" in volume.status().warning


def test_an_object_of_ours_where_a_folder_belongs_is_nothing_to_tell(volume):
    put(volume, "d", b"abc")
    record = Record(b"", "", [b"d"], [3], [MTIME])
    volume.settle([Block("j", 1, msgspec.msgpack.encode([record]))])

    volume.clear(batch_of([part(b"a")]))

    assert volume.status().warning == ""


def test_an_object_of_ours_that_is_not_settled_yet_where_a_folder_belongs_is_nothing_to_tell(volume):
    volume.intend("j", 1, encode_parts([Part(b"", "", [b"d"], [3], [MTIME])]))
    put(volume, "d", b"abc")

    volume.clear(batch_of([part(b"a")]))

    assert volume.status().warning == ""


def test_an_older_version_of_ours_stays_to_be_replaced(volume):
    put(volume, "d/a", b"old", mtime=5)
    record = Record(b"d", "", [b"a"], [3], [5])
    volume.settle([Block("j", 1, msgspec.msgpack.encode([record]))])

    volume.clear(batch_of([part(b"a", size=7)]))

    assert on(volume) == ["a"]


@pytest.mark.parametrize(
    "is_told", [True, False], ids=["in a block that is named", "in a block that is looked up"]
)
@pytest.mark.parametrize(
    ("lies", "mtime", "record", "kept"),
    [
        (b"old", 5, Record(b"d", "", [b"a"], [3], [5]), False),
        (b"new", 99, Record(b"d", "", [b"a"], [3], [5]), True),
        (b"longer", 5, Record(b"d", "", [b"a"], [3], [5]), True),
        (b"old", 99, Record(b"d", "", [b"a"], [3], [5], md5s=[md5(b"old")]), False),
        (b"new", 99, Record(b"d", "", [b"a"], [3], [5], md5s=[md5(b"old")]), True),
        (b"old", 99, Record(b"d", "", [b"a"], [3], [-1]), False),
        (b"thumbnail", 5, Record(b"d", "", [b"a"], [3], [5], stored=[9]), False),
    ],
)
def test_an_older_version_that_somebody_changed_is_put_aside(volume, is_told, lies, mtime, record, kept):
    put(volume, "d/a", lies, mtime)
    (extent,) = volume.settle([Block("j", 1, msgspec.msgpack.encode([record]))])

    volume.clear(batch_of([part(b"a", size=7)]), [extent.offset] if is_told else [])

    assert on(volume) == (["a.kept"] if kept else ["a"])


def test_an_older_version_that_lies_elsewhere_is_put_aside_there(volume):
    put(volume, "full/a", b"changed", mtime=99)
    record = Record(b"d", "", [b"a"], [3], [5], paths={0: b"full/a"})
    (extent,) = volume.settle([Block("j", 1, msgspec.msgpack.encode([record]))])

    volume.clear(batch_of([part(b"a", size=7)]), [extent.offset])

    assert os.listdir(os.path.join(volume.path, "full")) == ["a.kept"]


def test_what_a_kill_left_is_ours(tmp_path):
    initialise(str(tmp_path))
    first = open_volume(str(tmp_path))
    first.intend("j", 1, b"")
    put(first, "d/a", b"thumbnail")  # shorter than listed, with the listed date
    put(first, "d/b", b"of unknown date", mtime=5)
    first.close()

    with_leftovers = open_volume(str(tmp_path))
    with_leftovers.clear(batch_of([part(b"a"), part(b"b", mtime=-1)]))
    with_leftovers.close()

    assert on(with_leftovers) == ["a", "b"]


@pytest.mark.parametrize("before", ["absent", "empty", "of folders"])
def test_a_folder_in_which_no_file_was_is_not_looked_through_again(volume, before):
    if before != "absent":
        os.mkdir(os.path.join(volume.path, "d"))
    if before == "of folders":
        os.mkdir(os.path.join(volume.path, "d/e"))
    volume.clear(batch_of([part(b"a")]))
    put(volume, "d/a", b"ours by now", mtime=5)

    volume.clear(batch_of([part(b"a")]))

    assert set(on(volume)) - {"e"} == {"a"}


def test_beside_folders_alone_nothing_is_looked_for_twice_not_even_in_the_root(volume, monkeypatch):
    looked, look = [], Tree.stat
    monkeypatch.setattr(Tree, "stat", lambda self, path: looked.append(path) or look(self, path))
    os.mkdir(os.path.join(volume.path, "lost+found"))
    for names in [b"a", b"b"], [b"c", b"d"]:
        volume.clear(batch_of([Part(b"", "", names, [3, 3], [MTIME, MTIME])]))

    assert looked.count(b"a") == 1
    assert not {b"b", b"c", b"d"} & set(looked)


def test_beside_a_file_or_a_link_to_a_folder_all_is_looked_for(volume):
    os.symlink(volume.path, os.path.join(volume.path, "link"))
    volume.clear(batch_of([Part(b"", "", [b"a"], [3], [MTIME])]))
    put(volume, "a", b"another program's", mtime=5)

    volume.clear(batch_of([Part(b"", "", [b"a"], [3], [MTIME])]))

    assert "a.kept" in os.listdir(volume.path)


def test_beside_a_great_many_folders_all_is_looked_for(volume, monkeypatch):
    monkeypatch.setattr(beneath, "_ENTRIES_AT_ONCE", 2)
    os.makedirs(os.path.join(volume.path, "d/e"))
    os.makedirs(os.path.join(volume.path, "d/f"))
    volume.clear(batch_of([part(b"a")]))
    put(volume, "d/a", b"another program's", mtime=5)

    volume.clear(batch_of([part(b"a")]))

    assert "a.kept" in on(volume)


def test_of_a_deep_tree_each_folder_is_looked_at_once_not_once_for_each_below(volume, monkeypatch):
    levels, looked, look = 60, [], Tree.stat
    put(volume, "/".join(["d"] * levels) + "/a", b"abc")
    monkeypatch.setattr(Tree, "stat", lambda self, path: looked.append(path) or look(self, path))
    for level in range(1, levels + 1):
        volume.clear(batch_of([Part(b"/".join([b"d"] * level), "", [b"new"], [3], [MTIME])]))

    assert len(looked) < 5 * levels


def test_names_with_slashes_lie_in_other_folders_than_the_one_that_was_empty(volume):
    volume.clear(batch_of([part(b"a")]))
    put(volume, "d/e/x", b"other", mtime=5)

    volume.clear(batch_of([part(b"b", b"e/x")]))

    assert sorted(os.listdir(os.path.join(volume.path, "d/e"))) == ["x.kept"]


def test_a_version_that_a_kill_left_is_no_change_of_somebody(tmp_path):
    initialise(str(tmp_path))
    first = open_volume(str(tmp_path))
    record = Record(b"d", "", [b"a"], [3], [5])
    (extent,) = first.settle([Block("j", 1, msgspec.msgpack.encode([record]))])
    first.intend("j", 2, b"")
    put(first, "d/a", b"second", mtime=6)  # and the third is what the source has by now
    first.close()

    with_leftovers = open_volume(str(tmp_path))
    with_leftovers.clear(batch_of([part(b"a", mtime=7)]), [extent.offset])
    with_leftovers.close()

    assert on(with_leftovers) == ["a"]


def test_a_folder_in_which_something_is_is_looked_through_each_time(volume):
    put(volume, "d/other", b"abc")
    volume.clear(batch_of([part(b"a")]))
    put(volume, "d/a", b"another program's", mtime=5)

    volume.clear(batch_of([part(b"a")]))

    assert on(volume) == ["a.kept", "other"]


def test_long_names_are_kept_too(volume):
    name = b"n" * 255
    put(volume, "d/" + name.decode(), b"abc", mtime=5)

    volume.clear(batch_of([part(name)]))

    assert on(volume) == ["n" * 250 + ".kept"]


def test_several_threads_may_look_at_once(volume):
    for number in range(200):
        put(volume, f"d/{number}", b"abc")
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                len(volume.inspect([part(*(b"%d" % n for n in range(200)))], "md5").claims)
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [200] * 4
