"""Reading by key from Python: every key, the newest version, from files and packs, by threads, forks and other processes."""

import concurrent.futures
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from tests.volumes.filling import JOURNAL, ODD_KEYS, SMALL_PACKS, Filler, bodies

import bucketpull
from bucketpull.domain.errors import VolumeError
from bucketpull.domain.model import key_of
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Conclusion
from bucketpull.volumes import key_index


@pytest.fixture(params=[None, Packing(), SMALL_PACKS], ids=["files", "packs", "small packs"])
def packing(request):
    return request.param


def by_key(objects):
    return {key_of(*key): body for key, body in objects.items()}


def test_every_odd_key_is_read_exactly_as_text_and_as_bytes(tmp_path, packing):
    objects = {key: b"body of " + key_of(*key) for key in ODD_KEYS} | {(b"", b"empty"): b""}
    with Filler(tmp_path, packing) as filler:
        filler.store(objects, mtime=1_234_567_890)
    with bucketpull.open(tmp_path) as bucket:
        for key, body in by_key(objects).items():
            text = key.decode("utf-8", "surrogateescape")
            assert bucket.read(key) == bucket.read(text) == body
            assert bucket.open(key).read() == body
            found = bucket.stat(text)
            assert (found.key, found.size, found.mtime) == (text, len(body), 1_234_567_890)
            with open(found.path, "rb") as file:
                file.seek(found.offset)
                assert file.read(found.size) == body
        assert {os.fsencode(key) for key in bucket.keys()} == by_key(objects).keys()  # noqa: SIM118 - no mapping
        assert {os.fsencode(key): body for key, body in bucket.items()} == by_key(objects)


def discard(filler, work):
    """Remove what a batch stored, as if another's receipt had come first."""
    filler.volume.conclude(JOURNAL, [Conclusion(work, filler.blocks[work])])


def test_the_newest_version_counts_and_what_was_removed_is_gone(tmp_path, packing):
    with Filler(tmp_path, packing) as filler:
        filler.store(bodies(30) | {(b"d", b"a"): b"one"})
        filler.store({(b"d", b"a"): b"second"})
        filler.store({(b"d", b"b"): b"discarded"})
        discard(filler, 3)
        with bucketpull.open(tmp_path) as bucket:
            assert bucket.read("d/a") == b"second"
            assert "d/b" not in bucket
            assert sorted(bucket.keys("d/")) == ["d/a"]
            assert list(bucket.items("d/")) == [("d/a", b"second")]
            with pytest.raises(KeyError):
                bucket.read("d/b")


def test_what_is_stored_while_it_is_open_is_found(tmp_path, packing):
    with Filler(tmp_path, packing) as filler:
        filler.store(bodies(30))
        with bucketpull.open(tmp_path) as bucket:
            filler.store({(b"d", b"a"): b"one"})
            bucket.refresh()
            assert bucket.read("d/a") == b"one"
            filler.store({(b"d", b"a"): b"two"})
            bucket.refresh()
            assert bucket.read("d/a") == b"two"


def test_an_open_object_is_a_file_that_can_be_sought(tmp_path, packing):
    with Filler(tmp_path, packing) as filler:
        filler.store({(b"", b"a"): b"0123456789" * 10, (b"", b"b"): b"other"})
    with bucketpull.open(tmp_path) as bucket:
        file = bucket.open("a")
        assert isinstance(file, io.BufferedReader)
        assert file.seek(-15, io.SEEK_END) == 85
        assert file.read() == b"567890123456789"
        assert file.read() == b""
        assert file.seek(3) == 3
        assert file.read(4) == b"3456"
        assert bucket.read("a", 95) == b"56789"
        assert bucket.read("a", 5, 3) == b"567"
        assert bucket.read("a", 500) == b""
    assert file.read(2) == b"78", "a file outlives its bucket"


def test_several_volumes_are_one_bucket_and_of_two_copies_the_newer_counts(tmp_path):
    for name, packing, mtime in (("one", None, 5), ("two", Packing(), 9), ("three", Packing(), 7)):
        (tmp_path / name).mkdir()
        with Filler(tmp_path / name, packing) as filler:
            filler.store({(b"", b"same"): name.encode(), (b"", name.encode()): b"own"}, mtime=mtime)
    with bucketpull.open(tmp_path / "one", tmp_path / "two", tmp_path / "three") as bucket:
        assert bucket.read("same") == b"two"
        assert [bucket.read(name) for name in ("one", "two", "three")] == [b"own"] * 3


def read_some(bucket, keys):
    return [len(bucket.read(key)) for key in keys]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_bucket_goes_into_the_processes_of_a_pool(tmp_path, packing, method):
    with Filler(tmp_path, packing) as filler:
        filler.store(bodies(40))
    with bucketpull.open(tmp_path) as bucket:
        keys = list(bucket.keys())
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            futures = [pool.submit(read_some, bucket, keys[start::2]) for start in range(2)]
            assert [each.result(60) for each in futures] == [[3000] * 20] * 2
    assert pickle.loads(pickle.dumps(bucket)).read(keys[0])


def test_threads_read_at_the_same_time(tmp_path, packing, monkeypatch):
    monkeypatch.setattr("bucketpull.reading.readable_volumes._MOST_PACKS", 2)
    objects = by_key(bodies(300))
    with Filler(tmp_path, packing) as filler:
        for start in range(0, 300, 30):
            some = list(objects.items())[start : start + 30]
            filler.store({tuple(key.split(b"/")): body for key, body in some})
    wrong = []
    with bucketpull.open(tmp_path) as bucket:

        def read(start):
            for key, body in list(objects.items())[start:] + list(objects.items())[:start]:
                if bucket.read(key) != body:
                    wrong.append(key)

        threads = [threading.Thread(target=read, args=(start,)) for start in range(0, 300, 37)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []


def test_a_folder_that_is_no_volume_is_refused_and_so_is_none(tmp_path):
    with pytest.raises(VolumeError, match="is not a volume"):
        bucketpull.open(tmp_path)
    with pytest.raises(ValueError, match="at least one volume"):
        bucketpull.open()


def test_the_copy_of_a_volume_is_refused_beside_it(tmp_path):
    """Which of them has the newer version of an object nobody knows: their ledgers are of one volume."""
    (tmp_path / "disk").mkdir()
    with Filler(tmp_path / "disk") as filler:
        filler.store(bodies(1))
    shutil.copytree(tmp_path / "disk", tmp_path / "copy")
    with pytest.raises(
        VolumeError, match=f"is the same volume as {tmp_path}/disk, or a copy of it; name one of them"
    ):
        bucketpull.open(tmp_path / "disk", tmp_path / "copy")


def test_damage_is_an_error_not_other_bytes(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a"): b"first", (b"", b"b"): b"second"})
    [pack] = tmp_path.glob("packs/*.tar")
    with bucketpull.open(tmp_path) as bucket:
        offset = bucket.stat("b").offset
        with pack.open("r+b") as file:
            file.seek(offset - 512)
            file.write(bytes(512))
        with pytest.raises(OSError, match="no object of 6 bytes"):
            bucket.read("b")
        assert bucket.read("a") == b"first"
        os.truncate(pack, offset + 2)
        with pytest.raises(OSError, match="ends within"):
            bucket.read("b")


def test_an_index_of_a_ledger_that_was_put_back_from_a_copy_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(key_index, "_SEGMENT_BYTES", 100)
    first, lost, other = (bodies(5, size=50, start=start) for start in (0, 100, 200))
    volume = tmp_path / "volume"
    volume.mkdir()
    with Filler(volume) as filler:
        filler.store(first, md5=False)
    copy = shutil.copytree(volume, tmp_path / "copy")
    with Filler(volume) as filler:
        filler.store(lost, md5=False)
    bucketpull.open(volume).close()
    assert list((volume / ".bucketpull/keys").glob("0-*.keys"))

    shutil.copytree(copy, volume, dirs_exist_ok=True)
    with Filler(volume) as filler:
        filler.store(other, md5=False)
        filler.store(bodies(5, size=50, start=300), md5=False)

    with bucketpull.open(volume) as bucket:
        there = by_key(first) | by_key(other)
        assert {key: bucket.read(key) for key in there} == there
        assert {os.fsencode(key) for key in bucket.keys()}.isdisjoint(by_key(lost))  # noqa: SIM118 - no mapping


def test_what_a_kill_left_of_an_index_goes_when_it_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(key_index, "_SEGMENT_BYTES", 100)
    with Filler(tmp_path) as filler:
        filler.store(bodies(30))
        bucketpull.open(tmp_path).close()
        folder = tmp_path / ".bucketpull/keys"
        for name in ("0-7.keys", "0-99.keys.new", "7-99.keys", "0-999999.keys"):
            (folder / name).write_bytes(b"not whole")
        filler.store(bodies(30, start=30))
        with bucketpull.open(tmp_path) as bucket:
            assert len(list(bucket.keys())) == 60

    left = {path.name for path in folder.iterdir()} - {"lock", f"0-{filler.volume._ledger.end}.keys"}
    assert left == {"0-999999.keys"}, "of another process, which has read more of the ledger"


def test_an_index_of_many_segments_finds_what_the_ledger_says(tmp_path, monkeypatch):
    """Small bounds: segments are written, merged and opened again, with removals and replacements in each."""
    for name, value in {"_SEGMENT_BYTES": 1500, "_TAIL_ENTRIES": 40, "_BUFFER_BYTES": 64}.items():
        monkeypatch.setattr(key_index, name, value)
    expected = {}
    with Filler(tmp_path, SMALL_PACKS) as filler:
        for batch in range(40):
            some = bodies(25, size=50, start=batch * 17)
            filler.store(some, md5=False)
            expected |= by_key(some)
            if batch % 10 == 9:
                discard(filler, batch + 1)
                for key in by_key(some):
                    expected.pop(key)
            if batch % 7 == 0:
                with bucketpull.open(tmp_path) as bucket:
                    assert {os.fsencode(key): body for key, body in bucket.items()} == expected
    segments = list((tmp_path / ".bucketpull/keys").glob("*.keys"))
    assert 1 <= len(segments) <= 6
    with bucketpull.open(tmp_path) as bucket:
        assert {os.fsencode(key): body for key, body in bucket.items()} == expected
        assert all(bucket.read(key) == body for key, body in expected.items())
    spoilt = next((tmp_path / ".bucketpull/keys").glob("*.keys"))
    spoilt.write_bytes(spoilt.read_bytes()[:100])
    with bucketpull.open(tmp_path) as bucket:
        assert all(bucket.read(key) == body for key, body in expected.items()), "a spoilt index is made again"


def test_a_volume_that_cannot_be_written_is_read(disks, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    disk = disks.ext4(64)
    with Filler(disk.path, Packing()) as filler:
        filler.store(bodies(20))
    disk.remount("ro")
    with bucketpull.open(disk.path) as bucket:
        assert len(list(bucket.items())) == 20


def test_the_index_of_another_user_s_disk_is_not_taken_for_that_of_ours_though_it_bears_its_id(
    tmp_path, monkeypatch
):
    """Both lie in our cache: theirs because it is theirs, ours because the disk cannot be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(key_index, "_SEGMENT_BYTES", 0)
    monkeypatch.setattr("bucketpull.reading.readable_volumes.is_writable", lambda _: False)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    held = {ours: bodies(20), theirs: bodies(2, start=50)}
    for disk, objects in held.items():
        disk.mkdir()
        if disk is theirs:
            (theirs / ".bucketpull").mkdir()
            shutil.copy(ours / ".bucketpull/volume.json", theirs / ".bucketpull")
        with Filler(disk, Packing()) as filler:
            filler.store(objects)
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, 54_321, 54_321)

    for disk in (theirs, ours):
        objects = by_key(held[disk])
        with bucketpull.open(disk) as bucket:
            assert {key: bucket.read(key) for key in objects} == objects
    assert list((tmp_path / "cache").rglob("*.keys"))


def test_packs_behind_a_link_are_not_read(tmp_path):
    """Whoever may write beside a volume can put a link in the place of its folder of packs."""
    volume, objects = tmp_path / "volume", by_key(bodies(3))
    volume.mkdir()
    with Filler(volume, Packing()) as filler:
        filler.store(bodies(3))
    (volume / "packs").rename(tmp_path / "elsewhere")
    (volume / "packs").symlink_to(tmp_path / "elsewhere")

    with bucketpull.open(volume) as bucket, pytest.raises((OSError, VolumeError)):
        bucket.read(next(iter(objects)))


@pytest.mark.parametrize("known", [False, True], ids=["before a pack was opened", "after"])
def test_an_object_is_read_while_its_pack_is_written_anew_whose_room_is_free_then(tmp_path, known):
    objects, newer = bodies(60), bodies(20)
    with Filler(tmp_path, SMALL_PACKS) as filler:
        filler.store(objects)
        filler.store(newer)
        filler.store(bodies(20, start=100))
    objects |= newer
    with bucketpull.open(tmp_path) as bucket:
        assert not known or dict(bucket.items())
        command = [sys.executable, "-m", "bucketpull", "compact", tmp_path]
        assert b"are free now" in subprocess.run(command, check=True, stderr=subprocess.PIPE).stderr

        for key, body in by_key(objects).items():
            assert bucket.read(key) == bucket.open(key).read() == body
        bucket.refresh()
        assert removed_packs() == []


def removed_packs():
    """Return the packs that this process has open and whose room is taken still, though they have no name any more."""
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [name for name in names if "/packs/" in name and name.endswith("(deleted)")]


def test_an_object_is_read_after_it_moved_from_a_file_to_a_pack(tmp_path):
    objects = bodies(5)
    with Filler(tmp_path) as filler:
        filler.store(objects)
    with bucketpull.open(tmp_path) as bucket:
        with Filler(tmp_path, Packing()) as filler:
            filler.store(newer := bodies(3), mtime=1_600_000_001)
        assert {key: bucket.read(key) for key in by_key(objects)} == by_key(objects | newer)


def test_an_index_that_names_the_place_of_another_object_of_the_same_size_is_not_believed(
    tmp_path, monkeypatch
):
    objects = bodies(5)
    with Filler(tmp_path, Packing()) as filler:
        filler.store(objects)
    with bucketpull.open(tmp_path) as bucket:
        places = {key: bucket._only._index.find(key) for key in by_key(objects)}
        one, other = sorted(places)[:2]
        monkeypatch.setattr(bucket._only._index, "find", lambda key, _=None: places[other])
        assert bucket.read(other) == by_key(objects)[other]
        for read in (bucket.read, bucket.open, bucket.stat):
            with pytest.raises(OSError, match="see `bucketpull verify --hash`"):
                read(one)


def test_a_key_with_half_a_surrogate_pair_as_json_may_have_it_is_like_any_key(tmp_path):
    with Filler(tmp_path, None) as filler:
        filler.store({(b"d", b"\xed\xa0\x80"): b"body"})
    with bucketpull.open(tmp_path) as bucket:
        assert bucket.read("d/\ud800") == b"body"
        assert "d/\udbff" not in bucket
