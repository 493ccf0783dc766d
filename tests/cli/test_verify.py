import os
import signal
import subprocess
import tarfile

import pytest

import bucketpull
from upyun_simulator import content

SYNC = ("sync", "upyun://photos", "disk1", "--quiet")


@pytest.fixture
def pulled(user, bucket):
    """Give the service of a pulled bucket."""
    simulator = bucket("2023=flat:30,size=900;2024=flat:70,size=1100")
    user.knows(simulator).run(*SYNC)
    return simulator


def spoil(user) -> None:
    folder = user.folder / "disk1/2024"
    (folder / "img-01.jpg").unlink()
    with (folder / "img-02.jpg").open("ab") as file:
        file.write(b"more")
    data = bytearray((folder / "img-03.jpg").read_bytes())
    data[500] ^= 1
    (folder / "img-03.jpg").write_bytes(data)
    (user.folder / "disk1/stranger.txt").write_text("hello")


def test_a_whole_volume_is_clean_also_without_the_network_and_the_job(user, pulled):
    pulled.stop()
    (user.folder / "home").rename(user.folder / "gone")

    done = user.run("verify", "disk1", "--hash")

    assert done.stdout == ""
    assert "100 objects" in done.stderr
    assert "all as recorded" in done.stderr


def test_what_looks_at_volumes_takes_them_from_the_configuration(user, pulled):
    (user.folder / "job.toml").write_text('source = "upyun://photos"\nvolumes = ["disk1"]\n')

    for command, told in (("verify", "disk1"), ("compact", "disk1"), ("prune", "100 objects")):
        done = user.run(command, "--config", "job.toml")

        assert done.returncode == 0, done.stderr
        assert told in done.stderr


def test_a_volume_that_carries_its_job_along_is_clean(user, bucket):
    simulator = bucket("flat:50,size=900")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "--state", "disk1/photos-state", "--quiet")
    user.run("sync", "upyun://photos", "disk1", "--state", "disk1/photos-state", "--quiet")

    done = user.run("verify", "disk1", "--hash")

    assert "all as recorded" in done.stderr


def test_each_kind_of_damage_is_found_and_named(user, pulled):
    spoil(user)

    found = {line["path"]: line["fault"] for line in user.json("verify", "disk1", "--hash", expect=3)}

    assert found == {
        "disk1/2024/img-01.jpg": "missing",
        "disk1/2024/img-02.jpg": "size",
        "disk1/2024/img-03.jpg": "content",
        "disk1/stranger.txt": "extra",
    }
    assert "missing    disk1/2024/img-01.jpg" in user.says("verify", "disk1", expect=3)


def test_files_that_a_killed_job_leaves_are_said_to_be_taken_over_when_it_goes_on(user, bucket):
    user.knows(bucket("flat:30,size=900"))
    user.environment["BUCKETPULL_KILL_AT"] = "synced"
    user.run(*SYNC, expect=-signal.SIGKILL)
    del user.environment["BUCKETPULL_KILL_AT"]

    assert (
        "takes over those of the extra files that are whole" in user.run("verify", "disk1", expect=3).stderr
    )

    user.run(*SYNC)

    assert "all as recorded" in user.run("verify", "disk1").stderr


def test_repair_fetches_exactly_what_is_wrong_and_leaves_strangers(user, pulled):
    whole = {path: (user.folder / "disk1" / path).read_bytes() for path in user.files("disk1")}
    spoil(user)
    pulled.reset_counters()

    user.run("verify", "disk1", "--hash", "--repair", expect=3)

    assert sum(pulled.counters()["requests"]["cdn.get"].values()) == 3
    assert (user.folder / "disk1/stranger.txt").exists()
    (user.folder / "disk1/stranger.txt").unlink()
    assert {path: (user.folder / "disk1" / path).read_bytes() for path in user.files("disk1")} == whole
    user.run("verify", "disk1", "--hash")
    assert user.json("status")[0]["state"] == "complete"


def test_a_repair_with_nothing_left_ends_with_0(user, pulled):
    (user.folder / "disk1/2024/img-01.jpg").unlink()

    assert "1 of 1 object was fetched again" in user.run("verify", "disk1", "--repair").stderr
    user.run("verify", "disk1", "--repair")

    assert user.json("status")[0]["counters"]["stored"] == 100


def test_totals_of_a_folder_that_was_gone_in_between_are_right(user, pulled):
    keys = [item.key for item in pulled.contents.walk() if item.key.startswith("2023/")]
    pulled.mutate(delete=keys)
    user.run(*SYNC)
    pulled.mutate(put=dict.fromkeys(keys, 950))
    user.run(*SYNC)

    (volume,) = user.json("volumes")
    assert (volume["stored_objects"], volume["stored_bytes"]) == (100, 30 * 950 + 70 * 1100)


@pytest.mark.parametrize("damage", ["a body", "a header", "the end", "nothing that is an object's"])
def test_a_repaired_pack_is_right_in_every_respect(user, bucket, damage):
    user.knows(bucket("flat:200,size=9000")).run(
        *SYNC, "--pack", "512K", "--verify", "md5", "--processes", "1"
    )
    user.run(*SYNC, "--pack", "512K")  # what was finished is sealed
    packs = sorted((user.folder / "disk1/packs").glob("*.tar"))
    data = bytearray(packs[0].read_bytes())
    header = data.index(b"img-", 5000)
    where = {"a body": header + 3000, "a header": header, "the end": len(data) - 1030}
    if damage == "the end":
        del data[where[damage] :]
    else:
        data[where.get(damage, len(data) - 3)] ^= 1
    packs[0].write_bytes(data)

    user.run("verify", "disk1", "--hash", expect=3)
    user.run("verify", "disk1", "--hash", "--repair")

    assert "all as recorded" in user.run("verify", "disk1", "--hash").stderr
    for pack in sorted((user.folder / "disk1/packs").glob("*.tar")):
        with tarfile.open(pack) as archive:
            assert archive.getmembers()
    sums = user.folder / "disk1/packs/SHA256SUMS"
    subprocess.run(["sha256sum", "--check", "--quiet", sums.name], cwd=sums.parent, check=True, timeout=60)


@pytest.mark.parametrize("names", ["key", "wds"])
@pytest.mark.parametrize("damage", [bytes(512), b"\xff" * 512], ids=["zeros", "no header"])
@pytest.mark.parametrize("place", ["middle", "last"])
def test_a_damaged_header_in_a_pack_that_is_not_full_is_found_and_its_object_comes_again_once(
    user, bucket, names, damage, place
):
    service = bucket("flat:100,size=9000")
    options = ("--pack", "64M", "--pack-names", names, "--processes", "1")
    user.knows(service).run(*SYNC, *options)
    (pack,) = (user.folder / "disk1/packs").glob("*.tar")
    data = bytearray(pack.read_bytes())
    with tarfile.open(pack) as archive:
        members = [each for each in archive.getmembers() if not each.name.endswith(".json")]
    at = members[50 if place == "middle" else -1].offset
    data[at : at + 512] = damage
    pack.write_bytes(data)

    found = user.run("verify", "disk1", "--hash", expect=3)
    assert "its header is damaged" in found.stdout
    service.reset_counters()
    user.run("verify", "disk1", "--hash", "--repair")

    assert service.counters()["requests"]["cdn.get"] == {"200": 1}
    assert "all as recorded" in user.run("verify", "disk1", "--hash").stderr
    listed = []
    for pack in (user.folder / "disk1/packs").glob("*.tar"):
        listed += subprocess.run(
            ["tar", "tf", pack], capture_output=True, check=True, text=True
        ).stdout.split()
    packed = {line for line in listed if not line.endswith(".json")}
    assert len(packed) == 99
    assert len(set(user.files("disk1")) - packed) == 2  # the pack, and what came again as a file
    with bucketpull.open(user.folder / "disk1") as opened:
        for item in service.contents.walk():
            assert opened.read(item.key) == content(item.key, item.size, item.version)
    user.run(*SYNC, *options)
    assert service.counters()["requests"]["cdn.get"] == {"200": 1}


@pytest.mark.parametrize("damage", [bytes(512), b"\xff" * 512], ids=["zeros", "no header"])
def test_a_damaged_header_of_what_was_replaced_is_told_and_its_pack_written_anew(user, bucket, damage):
    """Nothing of it is an object, but tar reads no further."""
    service = bucket("flat:100,size=900")
    options = ("--pack", "64M", "--processes", "1")
    user.knows(service).run(*SYNC, *options)
    service.mutate(touch=[item.key for item in service.contents.walk()][:3])
    user.run(*SYNC, *options)
    (pack,) = (user.folder / "disk1/packs").glob("*.tar")
    data = bytearray(pack.read_bytes())
    with tarfile.open(pack) as archive:
        at = archive.getmembers()[1].offset
    data[at : at + 512] = damage
    pack.write_bytes(data)

    found = user.run("verify", "disk1", "--hash", expect=3)
    assert f"the header at byte {at}, of what was replaced or removed, is damaged" in found.stdout
    service.reset_counters()
    user.run("verify", "disk1", "--hash", "--repair")

    assert "cdn.get" not in service.counters()["requests"]
    assert "all as recorded" in user.run("verify", "disk1", "--hash").stderr
    (pack,) = (user.folder / "disk1/packs").glob("*.tar")
    listed = subprocess.run(["tar", "tf", pack], capture_output=True, check=True, text=True).stdout
    assert len(listed.split()) == 100


@pytest.mark.parametrize("text", [b'"key"', b"img-", b'"size":'], ids=["JSON", "key", "size"])
def test_a_damaged_description_of_a_sample_is_found_and_the_sample_comes_again(user, bucket, text):
    user.knows(bucket("flat:100,size=900")).run(
        *SYNC, "--pack", "64M", "--pack-names", "wds", "--processes", "1"
    )
    (pack,) = (user.folder / "disk1/packs").glob("*.tar")
    data = bytearray(pack.read_bytes())
    with tarfile.open(pack) as archive:
        member = [each for each in archive.getmembers() if each.name.endswith(".json")][50]
    data[data.index(text, member.offset_data) + len(text)] ^= 1
    pack.write_bytes(data)

    found = user.run("verify", "disk1", "--hash", expect=3)
    user.run("verify", "disk1", "--hash", "--repair")

    assert "the description beside it is damaged" in found.stdout
    assert "all as recorded" in user.run("verify", "disk1", "--hash").stderr


def test_each_volume_is_repaired_where_it_lies(user, bucket):
    user.knows(bucket("tree:dirs=40,files=100,size=300")).run(
        "sync", "upyun://photos", "disk1", "disk2", "--quiet"
    )
    before = user.files("disk1"), user.files("disk2")
    for number, files in enumerate(before, 1):
        (user.folder / f"disk{number}" / files[0]).unlink()

    user.run("verify", "disk1", "disk2", "--repair")

    assert (user.files("disk1"), user.files("disk2")) == before


def test_a_drained_volume_is_not_repaired_but_told(user, pulled):
    (user.folder / "disk1/2024/img-01.jpg").unlink()
    user.run("volumes", "drain", "disk1")

    assert "volumes add" in user.run("verify", "disk1", "--repair", expect=2).stderr

    user.run("volumes", "add", "disk1")
    user.run("verify", "disk1", "--repair")


def test_what_has_vanished_at_the_source_stays_missing_and_is_told(user, pulled):
    pulled.mutate(delete=["2024/img-01.jpg"])
    (user.folder / "disk1/2024/img-01.jpg").unlink()

    assert "not at the source" in user.run("verify", "disk1", "--repair", expect=3).stderr
    assert user.json("volumes")[0]["stored_objects"] == 100  # the ledger still names it

    user.run("prune", "disk1", "--delete")

    assert user.json("volumes")[0]["stored_objects"] == 99


def test_repair_behind_a_link_of_another_user_is_refused_before_any_work_is_made(user, pulled):
    spoil(user)
    link = user.folder / "link"
    link.symlink_to("disk1")
    os.lchown(link, 65534, 65534)

    assert "is a link of user 65534" in user.run("verify", "link", "--repair", expect=2).stderr
    user.run("verify", "disk1", "--repair", expect=3)  # else it would say that work is outstanding


def test_repair_without_credentials_changes_nothing(user, pulled):
    (user.folder / "disk1/2024/img-01.jpg").unlink()
    del user.environment["UPYUN_PASSWORD"]

    assert "UPYUN_PASSWORD" in user.run("verify", "disk1", "--repair", expect=2).stderr
    assert user.json("status")[0]["state"] == "complete"


def damage_first_block(user, disk="disk1"):
    """Flip a bit of the entry with which a ledger begins."""
    with (user.folder / disk / ".bucketpull/ledger").open("r+b") as file:
        file.seek(60)
        (byte,) = file.read(1)
        file.seek(60)
        file.write(bytes([byte ^ 1]))


def test_what_the_torn_end_of_a_ledger_recorded_is_found_again_though_something_else_is_repaired(
    user, pulled
):
    pulled.mutate(put={"2025/new.jpg": 500})
    user.run(*SYNC)
    ledger = user.folder / "disk1/.bucketpull/ledger"
    ledger.write_bytes(ledger.read_bytes()[:-3])
    (user.folder / "disk1/2024/img-01.jpg").unlink()
    pulled.reset_counters()

    user.run("verify", "disk1", "--repair")

    assert pulled.counters()["requests"]["cdn.get"]["200"] == 1
    assert "101 objects" in user.run("verify", "disk1", "--hash").stderr
    assert len(user.says("export", "--format", "jsonl").splitlines()) == 101
    assert "put back from an older copy" not in user.run(*SYNC[:-1]).stderr


@pytest.mark.parametrize("packed", [[], ["--pack", "512K"]], ids=["files", "packs"])
def test_what_a_damaged_entry_of_a_ledger_recorded_is_found_again(user, pulled, packed):
    if packed:
        subprocess.run(["rm", "-r", user.folder / "disk1", user.folder / "home"], check=True, timeout=60)
        user.run(*SYNC, *packed)
    pulled.mutate(put={"2025/new.jpg": 500})
    user.run(*SYNC, *packed)  # so that the entry stands before others
    damage_first_block(user)
    assert "has a ledger that is damaged from byte 0 to " in user.run(*SYNC[:-1], *packed).stderr
    assert "disk1 --repair` heals" in user.run("export", "--format", "jsonl", expect=3).stderr
    pulled.reset_counters()

    user.run("verify", "disk1", "--repair")

    assert "101 objects" in user.run("verify", "disk1", "--hash").stderr
    assert len(user.says("export", "--format", "jsonl").splitlines()) == 101
    (status,) = user.json("status")
    books = status["counters"]
    assert books["listed"] == books["stored"] + books["skipped"] == 101
    assert status["volumes"][0]["stored_objects"] == 101
    if not packed:
        assert "200" not in pulled.counters()["requests"]["cdn.get"]  # what lies there whole is taken over
