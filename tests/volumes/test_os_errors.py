"""Whose fault an error of the operating system is: the object's, the volume's, or this machine's. All error numbers there are."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.volumes.filling import Filler

from bucketpull.domain.errors import MachineShort, Reason, VolumeFull, VolumeSick
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Written
from bucketpull.volumes import beneath
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.os_errors import BLAMES, DATELESS, Culprit, volume_error
from bucketpull.volumes.packs.volume_packs import VolumePacks
from bucketpull.volumes.packs.writer import open_pack_writer
from bucketpull.volumes.volume import open_volume
from bucketpull.volumes.writer import open_writer

FILE = "/file"  # the writer's temporary file, which the trial of a suspected disk does not touch
ANSWERS = [number for number in BLAMES if number != errno.EINTR]  # which Python itself tries again for ever
OUR_FAULT = [number for number in ANSWERS if BLAMES[number] is Culprit.MACHINE]


def writer_on(path, durability="batch"):
    identity = initialise(str(path))
    open_volume(str(path)).close()
    return FileWriter.open(str(path), identity, durability == "file")


def leftovers(path):
    return [file for file in Path(path, HOME, "tmp").rglob("*") if file.is_file()]


def spared(number, reason):
    """Say whether an error with one object's file or path costs no more than that object."""
    return reason not in {Reason.VOLUME_SICK, Reason.VOLUME_FULL} or BLAMES[number] is Culprit.FULL


@pytest.fixture
def odd(disks):
    disk = disks.odd()
    files = writer_on(disk.path)
    yield disk, files
    files.close()


def test_every_error_number_of_the_system_has_a_blame():
    assert BLAMES.keys() == errno.errorcode.keys()
    assert {BLAMES[errno.ENOSPC], BLAMES[errno.EDQUOT]} == {Culprit.FULL}
    assert set(OUR_FAULT) >= {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
    assert {BLAMES[errno.EIO], BLAMES[errno.EROFS], BLAMES[errno.ESTALE]} == {Culprit.VOLUME}


@pytest.mark.parametrize("operation", ["write", "utimens"])
def test_whatever_one_file_meets_the_volume_stays_in_use(odd, operation):
    disk, files = odd
    found = {}
    for number in ANSWERS:
        disk.fail(operation, number, FILE)
        found[number] = files.store(b"d", b"bad", 1, [b"x"], 0).reason
        disk.fail()
        assert not leftovers(disk.path)
        assert files.store(b"d", b"good", 1, [b"x"], 1) == Written(1), errno.errorcode[number]
    assert [number for number, reason in found.items() if not spared(number, reason)] == []
    assert {found[number] for number in OUR_FAULT} == {Reason.MACHINE}
    if operation == "write":
        assert found[errno.EFBIG] is Reason.UNSTORABLE
        assert found[errno.ENOSPC] is found[errno.EDQUOT] is Reason.VOLUME_FULL
        assert found[errno.EIO] is found[errno.EPERM] is Reason.UNWRITTEN
    else:
        assert {found[number] for number in DATELESS} == {None}, "stored without its date"


def test_whatever_one_path_meets_the_volume_stays_in_use(odd):
    disk, files = odd
    found = {}
    for number in ANSWERS:
        disk.fail("rename", number, "/d/bad")
        found[number] = files.store(b"d", b"bad", 1, [b"x"], 0).reason
        disk.fail()
        assert not leftovers(disk.path)
        assert files.store(b"d", b"good", 1, [b"x"], 1) == Written(1), errno.errorcode[number]
    assert {Reason.VOLUME_SICK, Reason.VOLUME_FULL}.isdisjoint(found.values())
    assert {found[number] for number in (errno.EBUSY, errno.EPERM, errno.EACCES)} == {Reason.UNSTORABLE}
    assert found[errno.EIO] is found[errno.EROFS] is found[errno.EDQUOT] is Reason.UNWRITTEN
    assert found[errno.ENOSPC] is None, "an ext4 directory that is full is left for another"
    assert {found[number] for number in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)} == {None}, (
        "a name that is refused is left for another"
    )


@contextmanager
def limited(name: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(name)
    resource.setrlimit(name, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(name, before)


def test_a_machine_out_of_descriptors_is_no_sick_disk_and_goes_on(tmp_path):
    files = writer_on(tmp_path)
    used = max(map(int, os.listdir("/proc/self/fd")))
    with limited(resource.RLIMIT_NOFILE, used + 1):
        spare = [os.dup(0) for _ in range(used + 1 - len(os.listdir("/proc/self/fd")) + 1)]
        refused = files.store(b"d", b"x", 1, [b"x"], 0)
        for fd in spare:
            os.close(fd)
    assert refused.reason is Reason.MACHINE
    assert "Too many open files" in refused.detail
    assert files.store(b"d", b"x", 1, [b"x"], 1) == Written(1)
    files.close()


def test_a_machine_out_of_descriptors_makes_no_volume_of_packs_sick(tmp_path, monkeypatch):
    """Nothing was asked of the disk, so nothing is lost."""

    def none_left(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a"): b"body"})
        with monkeypatch.context() as patch:
            patch.setattr(beneath, "scanned", none_left)
            filler.volume._packs._used_at = -1e9
            with pytest.raises(MachineShort):
                filler.volume.status()
        with monkeypatch.context() as patch:
            patch.setattr(VolumePacks, "open", none_left)
            with pytest.raises(MachineShort):
                filler.store({(b"", b"b"): b"body"})
        filler.store({(b"", b"b"): b"body"})
        assert filler.volume.status().stored_objects == 2


def test_a_disk_that_takes_no_file_is_not_asked_to_take_a_pack(tmp_path):
    writer = open_pack_writer(str(tmp_path), initialise(str(tmp_path)), "batch", Packing())
    writer.files.sick = "file not written: Input/output error"
    writer.put(b"", b"a", 1, [b"body"], 0)
    writer.close()
    assert writer.done.popleft() == Written(0, Reason.VOLUME_SICK, writer.files.sick)
    assert not list(tmp_path.glob("packs/*"))


def test_a_file_larger_than_the_limit_fails_alone_small_or_streamed(tmp_path):
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    writer = open_writer(str(tmp_path), identity, "batch")
    with limited(resource.RLIMIT_FSIZE, 100_000):
        large = writer.put(b"", b"large", 1, [bytes(100_001)], 0)
        stream = writer.stream(b"", b"film", 1 << 20, 1)
        for _ in range(8):
            stream.append(bytes(1 << 17))
        stream.publish(1 << 20, b"", 1)
        writer.close()
        film = writer.outcomes()[-1]
    assert (large.reason, film.reason) == (Reason.UNSTORABLE, Reason.UNSTORABLE)
    assert "File too large" in large.detail
    assert "File too large" in film.detail


def test_what_lies_in_an_objects_place_for_good_fails_that_object_alone(tmp_path):
    """A file that is mounted there, and one that is immutable."""
    files = writer_on(tmp_path)
    outside = tmp_path / "outside"
    outside.write_bytes(b"mounted")
    for name in ("mounted", "fixed"):
        (tmp_path / name).write_bytes(b"old")
    subprocess.run(["mount", "--bind", outside, tmp_path / "mounted"], check=True)
    subprocess.run(["chattr", "+i", tmp_path / "fixed"], check=True)
    try:
        mounted, fixed = (files.store(b"", name, 1, [b"new"], 0) for name in (b"mounted", b"fixed"))
        other = files.store(b"", b"other", 1, [b"new"], 0)
    finally:
        subprocess.run(["umount", tmp_path / "mounted"], check=True)
        subprocess.run(["chattr", "-i", tmp_path / "fixed"], check=True)
    assert (mounted.reason, mounted.detail) == (Reason.UNSTORABLE, "mounted: Device or resource busy")
    assert (fixed.reason, fixed.detail) == (
        Reason.UNSTORABLE,
        "fixed: Operation not permitted; give this user the right to write there (chown, chmod, chattr -i)",
    )
    assert other == Written(0)
    files.close()


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.EACCES, VolumeSick, "chown"),
        (errno.ENOENT, VolumeSick, "mount the disk"),
        (errno.EROFS, VolumeSick, "read-write"),
        (errno.EIO, VolumeSick, "dmesg"),
        (errno.ENOSPC, VolumeFull, "free some space"),
        (errno.EMFILE, MachineShort, "ulimit -n"),
        (errno.ENOMEM, MachineShort, "memory"),
    ],
)
def test_what_to_do_fits_the_error(number, kind, advice):
    error = volume_error("/mnt/disk1", "not opened", OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert str(error).startswith(f"volume /mnt/disk1: not opened: {os.strerror(number)}; ")
    assert advice in error.detail
