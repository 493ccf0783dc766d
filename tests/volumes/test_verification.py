"""Verification finds exactly what is wrong, and what it names for repair is exactly what is missing."""

import errno
import hashlib
import os
import resource
import tarfile
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from tests.volumes.filling import ODD_KEYS, SMALL_PACKS, Filler, bodies

from bucketpull.domain.batching import batch_of
from bucketpull.domain.model import Part
from bucketpull.domain.packing import Packing, PackNames
from bucketpull.domain.record import Block, Record
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.packs import tar
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.verification import Fault, Verification, repairs, walk
from bucketpull.volumes.volume import open_volume

OBJECTS = {(b"d%d" % (number % 3), b"%d.jpg" % number): b"body %d" % number for number in range(30)}


def fill(path, objects, work=1, md5=True, layout="key"):
    identity = initialise(str(path), layout)
    volume = open_volume(str(path))
    files = FileWriter.open(str(path), identity, sync=False)
    records = []
    for (directory, name), body in objects.items():
        written = files.store(directory, name, 5, [body], 0)
        assert written.reason is None
        record = Record(directory, "cursor", [name], [len(body)], [5])
        record.md5s = [hashlib.md5(body).digest()] if md5 else []
        record.paths = {0: written.path} if written.path else {}
        records.append(record)
    volume.settle([Block("0123456789ab", work, msgspec.msgpack.encode(records))])
    files.close()
    volume.close()


def verify(path, **options):
    reader = open_reader(str(path))
    verification = Verification(reader, **options)
    found = list(verification.run())
    reader.close()
    return found, verification


@pytest.mark.parametrize("layout", ["key", "hashed"])
def test_a_volume_as_it_was_written_has_no_faults(tmp_path, layout):
    clashing = {
        **OBJECTS,
        (b"", b"d1"): b"a file where a folder is",
        (b"d0/1.jpg", b"x"): b"x",
        (b"..", b"y"): b"y",
    }
    fill(tmp_path, clashing, layout=layout)
    found, verification = verify(tmp_path, hashed=True)
    assert found == []
    assert (verification.objects, verification.hashed_objects) == (33, 33)
    assert verification.bytes == sum(map(len, clashing.values()))


def test_flipped_truncated_missing_and_extra_are_found_and_only_those(tmp_path):
    fill(tmp_path, OBJECTS)
    (tmp_path / "d0/3.jpg").write_bytes(b"bodY 3")
    (tmp_path / "d1/4.jpg").write_bytes(b"bod")
    (tmp_path / "d2/5.jpg").unlink()
    (tmp_path / "d0/6.jpg").unlink()
    (tmp_path / "d0/6.jpg").symlink_to("/etc/passwd")
    (tmp_path / "d1/7.jpg").unlink()
    (tmp_path / "d1/7.jpg").mkdir()
    (tmp_path / "d1/stranger").touch()
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/stranger").touch()
    found, _ = verify(tmp_path, hashed=True)
    assert {(finding.fault, finding.path) for finding in found} == {
        (Fault.CONTENT, "d0/3.jpg"),
        (Fault.SIZE, "d1/4.jpg"),
        (Fault.MISSING, "d2/5.jpg"),
        (Fault.MISSING, "d0/6.jpg"),
        (Fault.MISSING, "d1/7.jpg"),
        (Fault.EXTRA, "d1/stranger"),
        (Fault.EXTRA, "deep/er/stranger"),
    }
    assert {part.directory + b"/" + name for part in repairs(found) for name in part.names} == {
        b"d0/3.jpg", b"d1/4.jpg", b"d2/5.jpg", b"d0/6.jpg", b"d1/7.jpg",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["文.jpg", "two\nlines.jpg", "\n", "with\ta tab.jpg"])
def test_what_was_put_aside_for_an_object_is_told_apart_from_what_nobody_knows(tmp_path, name):
    fill(tmp_path, OBJECTS)
    (tmp_path / "d0" / name).write_bytes(b"somebody else's")
    (tmp_path / "d1/named.kept").touch()
    with closing(open_volume(str(tmp_path))) as volume:
        volume.clear(batch_of([Part(b"d0", "", [name.encode()], [5], [5])]))
        assert "1 file of others" in volume.status().warning

    found, verification = verify(tmp_path)

    assert {(finding.fault, finding.path) for finding in found} == {
        (Fault.KEPT, f"d0/{name}.kept"),
        (Fault.EXTRA, "d1/named.kept"),
    }
    assert verification.faults == {Fault.KEPT: 1, Fault.EXTRA: 1}


def test_without_reading_a_flipped_byte_is_not_found(tmp_path):
    fill(tmp_path, OBJECTS)
    (tmp_path / "d0/3.jpg").write_bytes(b"bodY 3")
    assert verify(tmp_path)[0] == []
    assert [finding.fault for finding in verify(tmp_path, hashed=True)[0]] == [Fault.CONTENT]


def test_without_reading_nothing_is_said_of_what_packs_hold(tmp_path):
    with Filler(tmp_path, SMALL_PACKS) as filler:
        filler.store(bodies(60))
        filler.store(bodies(30, start=100))
    pack = min((tmp_path / "packs").glob("*.tar"))
    assert pack.stem in (tmp_path / "packs/SHA256SUMS").read_text()
    with tarfile.open(pack) as archive, pack.open("r+b") as file:
        file.seek(archive.getmembers()[2].offset_data)
        file.write(b"?")
    assert verify(tmp_path)[0] == []
    assert [finding.fault for finding in verify(tmp_path, hashed=True)[0]] == [Fault.CONTENT]


@pytest.mark.parametrize("length", [0, 20 * tar.BLOCK], ids=["empty", "cut"])
def test_a_pack_that_was_cut_is_said_to_end_too_early(tmp_path, length):
    with Filler(tmp_path, SMALL_PACKS) as filler:
        filler.store(bodies(60))
    pack = min((tmp_path / "packs").glob("*.tar"))
    whole = pack.stat().st_size
    os.truncate(pack, length)
    found = verify(tmp_path, hashed=True)[0]
    assert {finding.fault for finding in found} == {Fault.SIZE, Fault.CONTENT}
    (of_pack,) = (finding for finding in found if finding.stored is None)
    assert (of_pack.pack, of_pack.detail) == (pack.stem, f"ends at byte {length} instead of {whole}")


def test_where_no_md5_was_recorded_reading_still_finds_what_cannot_be_read(tmp_path):
    fill(tmp_path, OBJECTS, md5=False)
    found, verification = verify(tmp_path, hashed=True)
    assert (found, verification.hashed_objects, verification.objects) == ([], 0, 30)
    assert verification.unhashed_objects == 30


@pytest.mark.parametrize("names", PackNames)
def test_every_header_of_every_member_of_a_pack_is_looked_at(tmp_path, names):
    """Of what needs several, as long and odd names do, and samples: other programs would give it another name, or none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    bodies = {key: b"body of %d bytes" % len(key[1]) for key in (*OBJECTS, *ODD_KEYS)}
    with Filler(disk, Packing(names=names)) as filler:
        filler.store(bodies)
    (pack,) = (disk / "packs").glob("*.tar")
    whole = pack.read_bytes()
    assert verify(disk, hashed=True)[0] == []

    with closing(open_reader(str(disk))) as reader:
        members = sorted(LiveObjects(reader, str(tmp_path)).objects(), key=lambda each: each.location.offset)
    start = 0
    for each in members:
        head = range(start, each.location.offset, 512)
        for block in head if names is PackNames.KEY else {head[0], head[-1]}:
            pack.write_bytes(whole[: block + 7] + b"\1" + whole[block + 8 :])
            assert [finding.stored for finding in verify(disk, hashed=True)[0]] == [each]
        start = each.location.offset + each.location.length + tar.padding(each.location.length)


@pytest.mark.parametrize("names", PackNames)
@pytest.mark.parametrize("damage", [bytes(512), b"\xff" * 512], ids=["zeros", "no header"])
def test_a_damaged_header_of_what_was_replaced_is_a_finding_of_its_pack(tmp_path, names, damage):
    """Whoever reads the pack from its beginning stops there, before what is still alive; behind the last of that too."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with Filler(disk, Packing(names=names)) as filler:
        filler.store(dict.fromkeys((*OBJECTS, *ODD_KEYS), b"first"))
        filler.store(dict.fromkeys([(b"d0", b"0.jpg"), (b"a", b"n" * 300), (b"x", b"last")], b"second"))
        filler.store(dict.fromkeys([(b"a", b"n" * 300), (b"x", b"last")], b"third"))
    with Filler(disk) as filler:
        filler.store(dict.fromkeys([(b"a", b"n" * 300), (b"x", b"last")], b"a file at last"))
    (pack,) = (disk / "packs").glob("*.tar")
    whole = pack.read_bytes()
    assert verify(disk, hashed=True)[0] == []

    dead = dead_headers(disk, pack, tmp_path)
    assert len(dead) >= 8
    for at in dead:
        pack.write_bytes(whole[:at] + damage + whole[at + tar.BLOCK :])
        (found,) = verify(disk, hashed=True)[0]
        assert (found.fault, found.pack, found.stored) == (Fault.CONTENT, pack.stem, None)
        assert "of what was replaced or removed, is damaged" in found.detail


def dead_headers(disk, pack, folder):
    """Return where in a pack the headers of members are that hold no object any more."""
    with closing(open_reader(str(disk))) as reader:
        objects = list(LiveObjects(reader, str(folder)).objects())
    alive = {each.location.offset for each in objects if each.location.pack}
    with tarfile.open(pack) as archive:
        members = archive.getmembers()
    samples = {each.name.partition(".")[0] for each in members if each.offset_data in alive}
    return [
        at
        for each in members
        if each.offset_data not in alive and not (each.name.endswith(".json") and each.name[:-5] in samples)
        for at in range(each.offset, each.offset_data, tar.BLOCK)
    ]


def test_a_header_that_was_damaged_before_its_pack_was_sealed_is_found(tmp_path):
    with Filler(tmp_path, SMALL_PACKS) as filler:
        filler.store(dict.fromkeys(OBJECTS, b"first"))
        filler.store(dict.fromkeys(OBJECTS, b"second"))
        (pack,) = (tmp_path / "packs").glob("*.tar")
        with pack.open("r+b") as file:
            file.seek(5 * 2 * tar.BLOCK)
            file.write(b"\xff" * tar.BLOCK)
        filler.store(bodies(30, start=100))
    assert pack.stem in (tmp_path / "packs/SHA256SUMS").read_text()
    (found,) = verify(tmp_path, hashed=True)[0]
    assert (found.fault, found.pack, found.stored) == (Fault.CONTENT, pack.stem, None)


def test_what_has_no_md5_in_a_sealed_pack_is_not_cleared_by_a_fault_of_another_object(tmp_path):
    plain = bodies(10)
    with Filler(tmp_path, SMALL_PACKS) as filler:
        filler.store(plain, md5=False)
        filler.store(bodies(10, start=100))
        filler.store(bodies(30, start=200))
    pack = min((tmp_path / "packs").glob("*.tar"))
    with tarfile.open(pack) as archive:
        members = archive.getmembers()
    with pack.open("r+b") as file:
        for number in (3, 15):
            file.seek(members[number].offset_data + 5)
            file.write(b"damaged")
    found = [each.stored for each in verify(tmp_path, hashed=True)[0]]
    assert {(each.directory, each.name) for each in found} == plain.keys() | {
        tuple(members[15].name.encode().split(b"/"))
    }
    assert len(found) == 11


def test_a_replaced_object_is_measured_by_its_last_record(tmp_path):
    fill(tmp_path, OBJECTS)
    fill(tmp_path, {(b"d0", b"0.jpg"): b"a longer body than before"}, work=2)
    found, verification = verify(tmp_path, hashed=True)
    assert (found, verification.objects) == ([], 30)


def test_objects_to_repair_are_parts_of_the_listing(tmp_path):
    fill(tmp_path, OBJECTS)
    for name in ("0", "3", "6"):
        (tmp_path / f"d0/{name}.jpg").unlink()
    found, _ = verify(tmp_path)
    assert list(repairs(found)) == [
        Part(b"d0", "cursor", [b"0.jpg", b"3.jpg", b"6.jpg"], [6, 6, 6], [5, 5, 5])
    ]


def test_a_damaged_ledger_is_a_finding_and_what_it_recorded_is_extra(tmp_path):
    fill(tmp_path, OBJECTS)
    fill(tmp_path, {(b"e", b"x"): b"x"}, work=2)
    with open(tmp_path / ".bucketpull/ledger", "r+b") as file:
        file.write(b"????")
    _, verification = verify(tmp_path)
    assert verification.faults == {Fault.LEDGER: 1, Fault.EXTRA: 30}
    assert verification.objects == 1
    assert verify(tmp_path, extra=False)[1].faults == {Fault.LEDGER: 1}


def test_verification_changes_nothing_and_needs_no_write_access(disks):
    disk = disks.ext4()
    fill(disk.path, OBJECTS)
    disk.unmount()
    disk.options = "loop,ro"
    disk.mount()
    assert verify(disk.path, hashed=True)[0] == []


def test_a_reader_sees_who_writes(tmp_path):
    fill(tmp_path, OBJECTS)
    reader = open_reader(str(tmp_path))
    assert reader.user() is None
    volume = open_volume(str(tmp_path))
    assert reader.user() == os.getpid()
    volume.close()
    reader.close()


def test_the_walk_gives_every_file_but_ours_and_follows_no_link(tmp_path):
    fill(tmp_path, OBJECTS)
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "d0/.bucketpull").mkdir()
    (tmp_path / "d0/.bucketpull/theirs").touch()
    root = os.open(tmp_path, os.O_RDONLY)
    expected = {b"d%d/%d.jpg" % (number % 3, number) for number in range(30)} | {
        b"loop",
        b"d0/.bucketpull/theirs",
    }
    assert set(walk(root, lambda path, error: pytest.fail(f"{path!r}: {error}"))) == expected
    os.close(root)


def test_a_directory_that_cannot_be_read_is_one_finding(disks):
    disk = disks.odd()
    fill(Path(disk.path), OBJECTS)
    Path(disk.path, "theirs").mkdir()
    disk.fail("readdir", errno.EACCES, "/theirs")
    reader = open_reader(disk.path)
    verification = Verification(reader)
    assert [(finding.fault, finding.path) for finding in verification.run()] == [(Fault.UNREADABLE, "theirs")]
    reader.close()


def test_memory_does_not_grow_with_the_number_of_objects(tmp_path):
    """300,000 objects as a table of keys would be some 60 MB more."""
    initialise(str(tmp_path))
    volume = open_volume(str(tmp_path), durable=False)
    for work in range(300):
        (tmp_path / f"d{work}").mkdir()
        names = [os.urandom(16).hex().encode() for _ in range(1000)]
        record = Record(b"d%d" % work, "", names, [1] * 1000, [1] * 1000)
        volume.settle([Block("0123456789ab", work, msgspec.msgpack.encode([record]))])
    volume.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reader = open_reader(str(tmp_path))
    verification = Verification(reader, folder=str(tmp_path))
    assert sum(1 for finding in verification.run() if finding.fault is Fault.MISSING) == 300_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000
    reader.close()
    assert not list(tmp_path.glob("bucketpull-*"))
