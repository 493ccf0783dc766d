"""Large objects: resumed after a restart, never mixed, published only when whole."""

import errno
import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.record import PartVersion, Written
from bucketpull.volumes import syscalls
from bucketpull.volumes.files.file import FileWriter
from bucketpull.volumes.files.stream import StreamFile
from bucketpull.volumes.identity import HOME, initialise
from bucketpull.volumes.volume import open_volume

BODY = os.urandom(300_000)
MD5 = hashlib.md5(BODY).digest()


@pytest.fixture
def files(tmp_path):
    identity = initialise(str(tmp_path))
    open_volume(str(tmp_path)).close()
    opened = FileWriter.open(str(tmp_path), identity, sync=False)
    yield opened
    opened.close()


def stream(files, hashed=False, size=300_000, mtime=5):
    """Begin, or go on with, an object; a version is noted, as the first answer has it done."""
    begun = again(files, hashed, size, mtime)
    if not begun.offset:
        begun.note('"v1-3"', "")
    return begun


def again(files, hashed=False, size=300_000, mtime=5):
    return StreamFile(files, b"big", b"film", size, mtime, hashed)


def parts(files):
    return os.listdir(Path(files.path, HOME, "partial"))


@pytest.mark.parametrize("hashed", [False, True])
def test_pieces_become_the_object(files, hashed):
    begun = stream(files, hashed)
    for start in range(0, len(BODY), 70_000):
        begun.append([BODY[start : start + 70_000]])
    assert begun.publish(len(BODY), [MD5], "token") == Written("token", md5=MD5)
    stored = Path(files.path, "big/film")
    assert (stored.read_bytes(), stored.stat().st_mtime) == (BODY, 5)
    assert parts(files) == []


def test_a_date_that_only_the_answer_tells_is_taken(files):
    begun = stream(files, mtime=-1)
    begun.append([BODY])
    begun.publish(len(BODY), None, None, 1_478_701_618)
    assert Path(files.path, "big/film").stat().st_mtime == 1_478_701_618


@pytest.mark.parametrize("hashed", [False, True])
def test_an_interrupted_object_is_resumed_by_whoever_gets_it_next(files, hashed):
    begun = stream(files, hashed)
    begun.append([BODY[:100_000]])
    begun.close(keep=True)
    assert not Path(files.path, "big").exists()
    again = stream(files, hashed)
    assert again.offset == 100_000
    again.append([BODY[100_000:]])
    assert again.publish(len(BODY), [MD5], 1) == Written(1, md5=MD5)
    assert Path(files.path, "big/film").read_bytes() == BODY


def test_another_version_of_the_object_is_begun_afresh(files):
    begun = stream(files)
    begun.append([b"old"])
    begun.close(keep=True)
    assert stream(files, mtime=6).offset == stream(files, size=7).offset == 0
    assert stream(files).offset == 3


def test_two_transfers_of_one_object_do_not_mix(files):
    first, second = stream(files), stream(files)
    first.append([BODY[:9]])
    second.append([BODY])
    first.append([BODY[9:]])
    assert first.publish(len(BODY), [MD5], 1) == Written(1, md5=MD5)
    assert second.publish(len(BODY), [MD5], 2) == Written(2, md5=MD5)
    third = stream(files)
    assert third.offset == 0
    third.close(keep=False)
    assert Path(files.path, "big/film").read_bytes() == BODY
    assert parts(files) == []


def test_a_restart_begins_at_byte_0(files):
    begun = stream(files, hashed=True)
    begun.append([b"wrong"])
    begun.restart()
    begun.append([BODY])
    assert begun.publish(len(BODY), [MD5], 1) == Written(1, md5=MD5)


def left(files, content, note=('"v1-3"', "Mon")):
    """Leave a part, as a killed process does, and begin the object again."""
    begun = again(files)
    begun.note(*note)
    begun.append([content])
    begun.close(keep=True)
    return again(files)


def test_the_next_process_learns_of_which_version_a_part_is(files):
    begun = left(files, BODY[:9])
    assert (begun.offset, begun.left) == (9, PartVersion('"v1-3"', "Mon", is_sound=True))
    begun.close(keep=False)
    assert parts(files) == []


@pytest.mark.parametrize("note", [b"", b"\n", b'boot\n"v1', b"boot\n\n\n", b"\xff\n\n\n", None])
def test_a_part_with_a_torn_note_or_none_is_thrown_away(files, note):
    left(files, BODY[:9]).close(keep=True)
    [path] = Path(files.path, HOME, "partial").glob("*.version")
    path.unlink() if note is None else path.write_bytes(note)
    begun = again(files)
    assert (begun.offset, begun.left) == (0, None)
    assert left(files, BODY[:9], ("", "")).offset == 0


def test_a_part_of_before_a_restart_of_the_machine_is_not_sound(files, monkeypatch):
    left(files, BODY[:9]).close(keep=True)
    monkeypatch.setattr(syscalls, "attachment", lambda _fd: "another boot")
    begun = again(files)
    assert (begun.offset, begun.left.is_sound) == (9, False)
    begun.close(keep=True)
    monkeypatch.setattr(syscalls, "attachment", lambda _fd: "")
    assert not left(files, BODY[:9]).left.is_sound


def test_of_a_part_that_may_be_whole_the_last_byte_is_asked_for_again(files):
    begun = left(files, BODY)
    assert begun.offset == len(BODY) - 1
    begun.append([BODY[-1:]])
    assert begun.publish(len(BODY), None, 1) == Written(1)
    assert Path(files.path, "big/film").read_bytes() == BODY


def test_what_is_longer_than_the_object_can_be_is_no_part_of_it(files):
    begun = stream(files, size=5)
    begun.append([b"123456789"])
    begun.close(keep=True)
    assert stream(files, size=5).offset == 0


def test_a_short_object_is_kept_for_resuming_and_a_wrong_one_is_thrown_away(files):
    begun = stream(files)
    begun.append([BODY[:10]])
    short = begun.publish(len(BODY), None, 1)
    assert (short.reason, short.detail) == (Reason.TRUNCATED, f"10 of {len(BODY)} bytes")
    again = stream(files, hashed=True)
    assert again.offset == 10
    again.append([bytes(len(BODY) - 10)])
    wrong = again.publish(len(BODY), [MD5], 2)
    assert wrong.reason is Reason.CHECKSUM
    assert MD5.hex() in wrong.detail
    last = stream(files)
    assert last.offset == 0
    last.append([BODY, b"more"])
    assert last.publish(len(BODY), None, 3).reason is Reason.SIZE
    assert parts(files) == []
    assert not Path(files.path, "big").exists()


def test_a_full_disk_keeps_the_part(disks):
    disk = disks.tmpfs("4m")
    identity = initialise(disk.path)
    open_volume(disk.path).close()
    files = FileWriter.open(disk.path, identity, sync=False)
    begun = StreamFile(files, b"", b"x", 9 << 20, 1)
    begun.note('"v"', "")
    with pytest.raises(OSError, match="No space"):
        begun.append([bytes(1 << 20)] * 9)
    assert 0 < begun.offset < 4 << 20
    begun.close(keep=True)
    assert StreamFile(files, b"", b"x", 9 << 20, 1).offset == begun.offset
    files.close()


def failing(monkeypatch, name, stream):
    """Let a call of the system on the file of a stream do its work, and then say, once, that the disk failed."""
    done, file = getattr(os, name), [os.fstat(stream._fd)]

    def fail(fd, *arguments):
        is_it = bool(file) and os.path.samestat(os.fstat(fd), file[0])
        result = done(fd, *arguments)
        if is_it:
            file.clear()
            raise OSError(errno.EIO, "Input/output error")
        return result

    monkeypatch.setattr(os, name, fail)


@pytest.mark.parametrize(("call", "accepts"), [("pread", [MD5]), ("close", [MD5]), ("close", None)])
def test_an_object_that_the_disk_does_not_give_back_or_did_not_take_is_not_stored(
    files, monkeypatch, call, accepts
):
    """NFS and FUSE write out when a file is closed, and say then what failed."""
    begun = left(files, BODY[:9])
    begun.append([BODY[9:]])
    failing(monkeypatch, call, begun)

    written = begun.publish(len(BODY), accepts, "token")

    assert (written.token, written.reason) == ("token", Reason.UNWRITTEN)
    assert "Input/output error" in written.detail
    assert not Path(files.path, "big/film").exists()
    assert parts(files) == []


def test_a_part_that_the_disk_did_not_take_is_not_resumed(files, monkeypatch):
    begun = stream(files)
    begun.append([BODY[:9]])
    failing(monkeypatch, "close", begun)

    begun.close(keep=True)

    assert parts(files) == []


def test_a_stream_that_cannot_be_published_holds_no_descriptor(files, monkeypatch):
    begun = stream(files)
    open_files = len(os.listdir("/proc/self/fd"))
    begun.append([BODY])
    failing(monkeypatch, "utime", begun)

    assert begun.publish(len(BODY), None, "token").reason is Reason.UNWRITTEN
    assert len(os.listdir("/proc/self/fd")) == open_files - 1


@pytest.mark.parametrize("etag", ['"v"', ""])
@pytest.mark.parametrize(("module", "call"), [(os, "ftruncate"), (fcntl, "flock")])
def test_a_stream_that_cannot_be_begun_holds_no_descriptor(files, monkeypatch, module, call, etag):
    """What is there is shortened where it may be whole, and thrown away where no note says of which version it is."""
    begun = again(files, size=9)
    begun.note(etag, "")
    begun.append([BODY[:9]])
    begun.close(keep=True)
    open_files = os.listdir("/proc/self/fd")

    def refuse(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module, call, refuse)

    with pytest.raises(OSError, match="Input/output error"):
        again(files, size=9)
    assert os.listdir("/proc/self/fd") == open_files
