"""`cat`, `unpack`, `compact`: what was pulled is read back, from files and packs alike."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND
from tests.volumes.conftest import disks
from tests.volumes.filling import SMALL_PACKS, Filler, bodies

from bucketpull.domain.packing import Packing
from upyun_simulator import content

__all__ = ["disks"]

SYNC = ("sync", "upyun://photos", "disk1", "--quiet")
KEY = "2024/img-07.jpg"


@pytest.fixture(params=[(), ("--pack",)], ids=["files", "packs"])
def pulled(request, user, service):
    user.knows(service).run(*SYNC, *request.param)
    return user


def bytes_of(user, *arguments, expect=0):
    return outputs_of(user, *arguments, expect=expect)[0]


def outputs_of(user, *arguments, expect=0):
    """Return the bytes that a command writes, and what it says."""
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=user.folder,
        env=user.environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr.decode()


def test_cat_writes_the_bytes_of_an_object(pulled):
    expected = content(KEY, 1100, 0)
    assert bytes_of(pulled, "cat", KEY, "disk1") == expected
    assert bytes_of(pulled, "cat", KEY, "--job", "photos") == expected, "the job knows its volumes"
    assert bytes_of(pulled, "cat", f"/{KEY}", "disk1") == expected, "as a path, as `where` takes it"


def test_cat_of_what_is_not_there_writes_nothing_and_ends_with_3(pulled):
    assert bytes_of(pulled, "cat", "2024/img-99.jpg", "disk1", expect=3) == b""
    assert bytes_of(pulled, "cat", "../disk1/.bucketpull/ledger", "disk1", expect=3) == b""


def test_cat_of_what_a_pack_has_no_longer_to_its_end_ends_with_3(user, service):
    user.knows(service).run(*SYNC, "--pack", "--processes", "1")
    [pack] = (user.folder / "disk1/packs").glob("*.tar")
    with open(pack, "r+b") as file:
        file.truncate(1024)
    key = pack.read_bytes()[:100].rstrip(b"\0").decode()

    data, told = outputs_of(user, "cat", key, "disk1", expect=3)

    assert content(key, 1100, 0)[:512].startswith(data)
    assert "the file ends within the object" in told


def test_cat_of_an_object_that_two_disks_have_writes_the_newer_version_and_names_the_other(user, bucket):
    service = bucket("2024=flat:2,size=900")
    user.knows(service).run(*SYNC)
    service.mutate(touch=["2024/img-0.jpg"])
    user.run("sync", "upyun://photos", "disk2", "--quiet", "--state", "other")

    data, told = outputs_of(user, "cat", "2024/img-0.jpg", "disk1", "disk2")

    assert data == (user.folder / "disk2/2024/img-0.jpg").read_bytes()
    assert "disk1/2024/img-0.jpg has an older version of it than disk2/2024/img-0.jpg" in told
    assert outputs_of(user, "cat", "2024/img-1.jpg", "disk1", "disk2")[1] == ""


def test_cat_of_a_folder_that_is_no_volume_is_wrong_use(user):
    (user.folder / "empty").mkdir()
    assert "not found" in user.run("cat", "a", "empty", expect=2).stderr


def test_unpack_makes_a_volume_of_files_and_goes_on(pulled):
    pulled.run("unpack", "disk1", "files")
    assert (pulled.folder / "files" / KEY).read_bytes() == content(KEY, 1100, 0)
    count = len(list((pulled.folder / "files").glob("*/*.jpg")))
    (pulled.folder / "files" / KEY).unlink()
    told = pulled.run("unpack", "disk1", "files").stderr
    assert "1 object, " in told
    assert f"{count - 1} objects were there already" in told
    assert len(list((pulled.folder / "files").glob("*/*.jpg"))) == count
    pulled.run("verify", "files", "--hash")


def test_unpack_keeps_other_files_that_lie_where_objects_belong_and_says_so(pulled):
    theirs, again = pulled.folder / "files" / KEY, pulled.folder / "files/2024/img-08.jpg"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody else's")
    shutil.copy2(unpacked(pulled, "elsewhere") / "2024/img-08.jpg", again)

    told = pulled.run("unpack", "disk1", "files").stderr

    assert "had 1 file of others where objects belong: kept as NAME.kept" in told
    assert theirs.with_name(f"{theirs.name}.kept").read_bytes() == b"somebody else's"
    assert theirs.read_bytes() == content(KEY, 1100, 0)
    assert not again.with_name(f"{again.name}.kept").exists(), "as long and as old as the object"


def test_unpack_says_so_where_its_folder_cannot_be_made(pulled):
    told = pulled.run("unpack", "disk1", "/proc/files", expect=3).stderr
    assert "volume /proc/files: not made: No such file or directory" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("kill_at", ["renamed:30", "synced", "settled"])
@pytest.mark.parametrize("mtime", [-1, 1_600_000_000], ids=["no date", "dated"])
def test_unpack_takes_over_what_a_kill_left_of_its_own(user, kill_at, mtime):
    """It was put aside as files of others, where it has no date."""
    (user.folder / "packs").mkdir()
    with Filler(user.folder / "packs", Packing()) as filler:
        filler.store(bodies(50), mtime=mtime)
    user.environment["BUCKETPULL_KILL_AT"] = kill_at
    user.run("unpack", "packs", "files", expect=-9)
    del user.environment["BUCKETPULL_KILL_AT"]

    told = user.run("unpack", "packs", "files").stderr

    assert "files of others" not in told
    assert f"{30 if ':' in kill_at else 50} objects were there already" in told
    assert len(user.files("files")) == 50
    assert "50 objects" in user.run("verify", "files", "--hash").stderr


def test_unpack_takes_its_own_object_where_a_folder_belongs_for_no_file_of_others(user):
    (user.folder / "packs").mkdir()
    with Filler(user.folder / "packs", Packing()) as filler:
        filler.store({(b"", b"a"): b"an object", (b"a", b"b"): b"one in a folder of that name"})
    assert "of others" not in user.run("unpack", "packs", "files").stderr


def test_unpack_stores_nothing_that_is_damaged_and_says_so(user, service):
    user.knows(service).run(*SYNC, "--pack", "--verify", "md5", "--processes", "1")
    (pack,) = (user.folder / "disk1/packs").glob("*.tar")
    with tarfile.open(pack) as archive:
        members = archive.getmembers()
    data = bytearray(pack.read_bytes())
    data[members[7].offset_data + 5] ^= 1
    pack.write_bytes(data[: members[-1].offset_data + 100])

    told = user.run("unpack", "disk1", "files", expect=3).stderr

    for damaged in (members[7], members[-1]):
        assert f"{damaged.name} in pack {pack.stem} is damaged" in told
        assert not (user.folder / "files" / damaged.name).exists()
    assert f"{len(members) - 2} objects" in told
    user.run("verify", "files", "--hash")


def test_unpack_onto_a_disk_that_is_full_ends_at_the_first_large_object_without_room(user, disks):
    """It went on with all others, and said of each that it was not read."""
    (user.folder / "packs").mkdir()
    with Filler(user.folder / "packs", Packing(), durable=False) as filler:
        filler.store({(b"d", b"%d" % number): bytes(9 << 20) for number in range(3)})
    full = disks.tmpfs("12m").path

    told = user.run("unpack", "packs", f"{full}/files", expect=5).stderr

    assert "part not written: No space left on device" in told
    assert "not read" not in told
    assert list(Path(full, "files/.bucketpull/partial").iterdir()) == []


def unpacked(user, name):
    user.run("unpack", "disk1", name)
    return user.folder / name


def test_compact_frees_what_is_dead_and_every_object_stays(user, service):
    user.knows(service).run(*SYNC, "--pack", "64K")
    folder = user.folder / "disk1/packs"
    before = sum(path.stat().st_size for path in folder.glob("*.tar"))
    keys = [item.key for item in service.contents.walk()]
    service.mutate(touch=keys)
    user.run(*SYNC, "--pack", "64K")
    grown = sum(path.stat().st_size for path in folder.glob("*.tar"))
    assert grown > 1.8 * before

    assert "`bucketpull compact" in user.run("verify", "disk1").stderr
    assert "is dead" in user.says("compact", "disk1", "--dry-run")
    assert sum(path.stat().st_size for path in folder.glob("*.tar")) == grown
    user.run("compact", "disk1")

    assert sum(path.stat().st_size for path in folder.glob("*.tar")) < 0.75 * grown
    assert "compact" not in user.run("verify", "disk1", "--hash").stderr
    for key in keys[::10]:
        assert bytes_of(user, "cat", key, "disk1")
        (place,) = user.json("where", key)
        assert place["present"], "the journal knows the former place only"
        with open(place["path"], "rb") as file:
            file.seek(place["offset"])
            assert file.read(place["size"]) == content(key, place["size"], 1)
    if (folder / "SHA256SUMS").exists():
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True, timeout=60)
    assert user.run(*SYNC, "--pack", "64K").returncode == 0
    told = user.run("compact", "disk1").stderr
    assert "of none of its" in told or "has no finished packs" in told


def test_compact_says_where_there_are_no_finished_packs(user, bucket):
    user.knows(bucket("flat:3,size=300")).run(*SYNC, "--pack")

    assert "has no finished packs" in user.run("compact", "disk1").stderr


@pytest.fixture
def several_packs(user):
    (user.folder / "packs").mkdir()
    with Filler(user.folder / "packs", SMALL_PACKS) as filler:
        for start in range(0, 800, 40):
            filler.store(bodies(40, start=start))
    return sorted((user.folder / "packs/packs").glob("*.tar"))


@pytest.mark.parametrize("there", ["nothing", "a link", "a folder"])
def test_what_reads_packs_says_where_one_cannot_be_opened(user, several_packs, there):
    moved = several_packs[0].rename(user.folder / "moved.tar")
    if there == "a link":
        several_packs[0].symlink_to(moved)
    elif there == "a folder":
        several_packs[0].mkdir()

    told = user.run("compact", "packs", expect=3).stderr
    found = user.run("verify", "packs", "--hash", expect=3)

    volume = user.folder / "packs"
    assert told.startswith(f"bucketpull: volume {volume}: packs not looked at: ")
    assert f"`bucketpull verify {volume}` says what is damaged" in told
    assert ("missing 40" if there == "nothing" else "unreadable 41") in found.stderr
    assert f"{len(several_packs) * 40 - 40} compared with their MD5" in found.stderr


def test_few_open_files_are_enough_for_many_packs(user, several_packs):
    assert len(several_packs) == 20
    for command in ("verify packs --hash", "compact packs", "unpack packs files"):
        subprocess.run(
            ["sh", "-c", f"ulimit -n 32; exec {COMMAND} {command}"],
            cwd=user.folder,
            env=user.environment,
            check=True,
            timeout=60,
        )
