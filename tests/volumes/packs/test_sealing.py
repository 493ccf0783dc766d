"""A sealed pack has an index that ratarmount takes, and its SHA-256; what a kill left of it is put in order."""

import hashlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import msgspec
import pytest
from ratarmountcore.mountsource.factory import open_mount_source

from bucketpull.domain import keys
from bucketpull.domain.record import Sealed
from bucketpull.volumes.beneath import OwnDirectory, open_root
from bucketpull.volumes.packs import tar
from bucketpull.volumes.packs.folder import Folders
from bucketpull.volumes.packs.sealing import seal

PACK = "012345-0-000000"
KEYS = [
    b"1.2.jpg",
    b"1.3.jpg",
    b"a/b/nosuffix",
    "图片/中文.jpg".encode(),
    b"d/" * 60 + b"x" * 200,
    b"n" * 300,
    b"../../up",
]


def archive(bodies):
    return b"".join(
        tar.header(key, len(body), 1_600_000_000) + body + bytes(tar.padding(len(body)))
        for key, body in bodies
    )


@pytest.fixture
def packs(tmp_path):
    (tmp_path / "packs").mkdir()
    root = open_root(str(tmp_path), writing=True)
    found = OwnDirectory.open(root, "packs", str(tmp_path), writing=True)
    yield found
    found.close()
    os.close(root)


@pytest.fixture
def folders(tmp_path):
    (tmp_path / ".bucketpull").mkdir()
    root = open_root(str(tmp_path), writing=True)
    with closing(OwnDirectory.open(root, ".bucketpull", str(tmp_path), writing=True)) as home:
        found = Folders(root, home, "0123456789ab", str(tmp_path))
        yield found
        found.close()
    os.close(root)


def write(tmp_path, data):
    path = tmp_path / "packs" / f"{PACK}.tar"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("place", ["", "/no/such/folder"], ids=["TMPDIR", "no TMPDIR"])
def test_ratarmount_reads_every_object_by_our_index(tmp_path, packs, capfd, monkeypatch, place):
    bodies = [(key, b"body of " + key) for key in KEYS]
    path = write(tmp_path, archive([(KEYS[0], b"old version"), *bodies]))
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", place or tempfile.tempdir)
        seal(packs.fd, PACK)
    before = os.stat(f"{path}.index.sqlite")
    source = open_mount_source(str(path), writeIndex=False)
    for key, body in bodies:
        found = source.lookup("/" + os.fsdecode(keys.path_of(key)))
        assert found is not None, key
        with source.open(found) as file:
            assert file.read() == body
        assert found.mtime == 1_600_000_000
    assert {"1.2.jpg", "1.3.jpg", "a", "图片"} <= set(source.list("/"))
    assert list(source.list("/a")) == ["b"]
    assert os.stat(f"{path}.index.sqlite").st_mtime_ns == before.st_mtime_ns
    assert "Creating" not in capfd.readouterr().out, "the pack was indexed again"


@pytest.mark.parametrize(
    "left", [b"", bytes(1024), bytes(512) + b"body without its header" * 100, bytes(20_000)]
)
def test_the_end_is_put_in_order_whatever_a_kill_left_there(tmp_path, packs, left):
    data = archive([(b"%d" % number, os.urandom(30_000)) for number in range(300)])
    path = write(tmp_path, data + left)
    sealed = seal(packs.fd, PACK, len(data))
    assert path.read_bytes() == data + bytes(1024)
    assert sealed == (Sealed(PACK, len(data) + 1024, hashlib.sha256(data + bytes(1024)).digest(), 300), 0)
    assert seal(packs.fd, PACK, len(data)) == sealed, "it may be done again"


def test_an_end_of_which_the_disk_takes_a_part_at_once_is_written_whole(tmp_path, packs, monkeypatch):
    path = write(tmp_path, archive([(b"a", b"x")]))
    pwrite, pwritev = os.pwrite, os.pwritev
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:512], at))
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, at: pwritev(fd, [pieces[0][:512]], at))
    sealed, _ = seal(packs.fd, PACK)
    assert hashlib.sha256(path.read_bytes()).digest() == sealed.sha256


def test_of_a_chunk_that_a_kill_left_without_its_first_header_nothing_is_kept(tmp_path, packs):
    data, chunk = (
        archive([(b"%s%d" % (name, n), os.urandom(3_000)) for n in range(9)]) for name in (b"a", b"b")
    )
    path = write(tmp_path, data + bytes(512) + chunk[512:])
    sealed, damaged = seal(packs.fd, PACK, len(data))
    assert path.read_bytes() == data + bytes(1024)
    assert (sealed.members, damaged) == (9, 0)


@pytest.mark.parametrize(
    "damage", [bytes(512), b"\xff" * 512, b"\xff" * 20_000], ids=["zeros", "a header", "much"]
)
@pytest.mark.parametrize("end", [b"", bytes(1024)], ids=["", "finished"])
@pytest.mark.parametrize("number", [0, 150, 299], ids=["first", "middle", "last"])
def test_what_follows_a_damaged_header_is_kept(tmp_path, packs, damage, end, number):
    members = [archive([(b"%d" % each, os.urandom(30_000))]) for each in range(300)]
    members[number] = damage + members[number][len(damage) :]
    data = b"".join(members)
    path = write(tmp_path, data + end)
    sealed = seal(packs.fd, PACK, len(data))
    assert path.read_bytes() == data + bytes(1024)
    assert sealed == (Sealed(PACK, len(data) + 1024, hashlib.sha256(data + bytes(1024)).digest(), 299), 1)
    assert seal(packs.fd, PACK, len(data)) == sealed, "it may be done again"


@pytest.mark.parametrize(
    "data", [b"", b"x", b"x" * 700, bytes(2048), bytes(512) + b"x" * 512, b"x" * 512 + bytes(9000)]
)
def test_what_is_no_archive_at_all_becomes_one_and_none_of_it_is_lost(tmp_path, packs, data):
    path = write(tmp_path, data)
    sealed, _ = seal(packs.fd, PACK, 5000)
    assert path.read_bytes().startswith(data.rstrip(b"\0"))
    assert (sealed.members, sealed.length) == (0, path.stat().st_size)
    assert seal(packs.fd, PACK, 5000)[0] == sealed


def test_a_member_larger_than_what_is_read_at_once(tmp_path, packs):
    data = archive([(b"large", os.urandom(9_000_000)), (b"small", b"x")])
    write(tmp_path, data)
    assert seal(packs.fd, PACK)[0].sha256 == hashlib.sha256(data + bytes(1024)).digest()


def test_the_sums_are_those_of_sha256sum(tmp_path, folders):
    write(tmp_path, archive([(b"a", b"x")]))
    sealed, _ = seal(folders.packs.fd, PACK)
    for _ in range(2):
        folders.note_sealed(sealed)
    run = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"],
        cwd=tmp_path / "packs",
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == f"{PACK}.tar: OK\n"
    assert folders.sealed() == {PACK}


def test_sums_are_written_and_forgotten_by_several_threads_at_once(tmp_path, folders):
    """`compact` removes packs while others are sealed."""
    names = [f"012345-0-{number:06d}" for number in range(100)]
    sealed = [Sealed(name, 1, bytes(32), 1) for name in names]
    for name in names:
        (tmp_path / "packs" / f"{name}.tar").touch()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(folders.note_sealed, sealed[:50]))
        adding = [threads.submit(folders.note_sealed, each) for each in sealed[50:]]
        forgetting = [threads.submit(folders.remove, name) for name in names[:50]]
        for each in (*adding, *forgetting):
            each.result()

    assert folders.sealed() == set(names[50:])


def test_a_pack_that_was_removed_while_it_was_sealed_has_no_sum(folders):
    folders.note_sealed(Sealed(PACK, 1, bytes(32), 1))
    assert folders.sealed() == set()


def test_sealing_is_a_program(tmp_path, packs):
    write(tmp_path, archive([(b"a", b"x")]))
    command = [sys.executable, "-m", "bucketpull.volumes.packs.sealing", str(packs.fd), PACK]
    run = subprocess.run(command, pass_fds=(packs.fd,), capture_output=True, check=True, timeout=60)
    assert msgspec.json.decode(run.stdout, type=Sealed) == seal(packs.fd, PACK)[0]


def test_a_sealing_whose_asker_was_killed_ends_without_a_word(tmp_path, packs):
    write(tmp_path, archive([(b"a", b"x")]))
    command = [sys.executable, "-m", "bucketpull.volumes.packs.sealing", str(packs.fd), PACK]
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run(
        command, pass_fds=(packs.fd,), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60
    )
    os.close(writer)
    assert run.stderr == b""
