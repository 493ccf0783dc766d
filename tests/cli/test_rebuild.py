from contextlib import closing

import msgspec
import pytest

from bucketpull.domain.record import Block, Conclusion, Record
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.volume import open_volume

SYNC = ("sync", "upyun://photos", "disk1", "--quiet", "--state", "state")


@pytest.fixture
def bare(user, bucket):
    """Give the service of a pulled bucket whose journal is lost."""
    simulator = bucket("2023=flat:30,size=900;2024=flat:70,size=1100")
    user.knows(simulator).run(*SYNC)
    (user.folder / "state").rename(user.folder / "old")
    return simulator


def test_after_a_rebuild_only_what_is_new_or_changed_is_fetched(user, bare):
    bare.mutate(put={"2025/new.jpg": 400}, touch=["2024/img-05.jpg"])
    bare.reset_counters()

    assert "removed" not in user.says("rebuild", "upyun://photos", "disk1", "--state", "state")
    user.run(*SYNC)

    assert sum(bare.counters()["requests"]["cdn.get"].values()) == 2
    (shown,) = user.json("status", "--state", "state")
    assert (shown["counters"]["skipped"], shown["counters"]["stored"]) == (99, 2)
    assert shown["state"] == "complete"


def test_what_two_disks_of_a_rebuilt_job_both_have_is_on_one_of_them_after_the_next_sync(user, bare):
    user.run("sync", "upyun://photos", "disk2", "--quiet", "--state", "another")
    (user.folder / "another").rename(user.folder / "away")
    bare.mutate(touch=["2024/img-05.jpg"])
    said = user.says("rebuild", "upyun://photos", "disk1", "disk2", "--state", "state")
    assert (
        "of an object that several of these volumes have, `sync` keeps one copy and removes the others"
        in said
    )

    user.run(*SYNC, "disk2")

    kept = [
        path.relative_to(user.folder / disk) for disk in ("disk1", "disk2") for path in photos(user, disk)
    ]
    assert len(kept) == len(set(kept)) == 100
    assert user.says("verify", "disk1", "disk2", "--hash", "--json") == ""
    (shown,) = user.json("status", "--state", "state")
    assert (shown["state"], shown["counters"]["skipped"], shown["counters"]["stored"]) == ("complete", 99, 1)


def test_what_two_disks_both_have_goes_from_one_of_them_when_the_one_that_was_away_is_back(user, bare):
    user.run("sync", "upyun://photos", "disk2", "--quiet", "--state", "another")
    (user.folder / "another").rename(user.folder / "away")
    user.run("rebuild", "upyun://photos", "disk1", "disk2", "--state", "state")
    (user.folder / "disk2").rename(user.folder / "unplugged")
    user.run(*SYNC)
    (user.folder / "unplugged").rename(user.folder / "disk2")

    user.run(*SYNC, "disk2")

    kept = [
        path.relative_to(user.folder / disk) for disk in ("disk1", "disk2") for path in photos(user, disk)
    ]
    assert len(kept) == len(set(kept)) == 100
    assert user.says("verify", "disk1", "disk2", "--hash", "--json") == ""


def test_a_disk_that_is_given_up_before_the_first_run_after_a_rebuild_leaves_the_rest_to_that_run(user, bare):
    user.run("sync", "upyun://photos", "disk2", "--quiet", "--state", "another")
    user.run("rebuild", "upyun://photos", "disk1", "disk2", "--state", "state")

    first = user.json("volumes", "--state", "state")[0]
    user.run("volumes", "lost", first["id"], "--state", "state")

    (shown,) = user.json("status", "--state", "state")
    assert shown["outstanding"]["scans"] == 0
    user.run("sync", "upyun://photos", "disk2", "--quiet", "--state", "state")
    (shown,) = user.json("status", "--state", "state")
    assert (shown["state"], shown["counters"]["skipped"]) == ("complete", 100)


def test_what_a_killed_job_had_written_and_not_booked_is_known_after_a_rebuild(user, bucket):
    simulator = bucket("2023=flat:30,size=900;2024=flat:70,size=1100")
    user.knows(simulator).environment["BUCKETPULL_KILL_AT"] = "synced"
    user.run(*SYNC, "--include", "2023/", expect=-9)
    del user.environment["BUCKETPULL_KILL_AT"]
    assert len(photos(user, "disk1")) == 30
    (user.folder / "state").rename(user.folder / "old")
    (user.folder / "disk1/2023/mine.jpg").write_bytes(b"of the user")

    user.run("rebuild", "upyun://photos", "disk1", "--state", "state")

    faults = [fault["path"] for fault in user.json("verify", "disk1", "--hash", expect=3)]
    assert [path.rpartition("/")[2] for path in faults] == ["mine.jpg"]
    simulator.reset_counters()
    user.run(*SYNC)
    assert sum(simulator.counters()["requests"]["cdn.get"].values()) == 70
    assert list((user.folder / "disk1/.bucketpull/intents").iterdir()) == []


def test_what_counts_of_a_batch_is_known_after_a_rebuild_though_another_block_of_it_went(user, bare):
    (user.folder / "disk1/lost.jpg").write_bytes(b"0123456789")
    disk = str(user.folder / "disk1")
    with closing(open_volume(disk)) as volume, closing(open_reader(disk)) as reader:
        batch = next(reader.ledger.salvage())
        lost = Record(b"", "", [b"lost.jpg"], [10], [1_600_000_000])
        [extent] = volume.settle([Block(batch.journal, batch.work, msgspec.msgpack.encode([lost]))])
        volume.conclude(batch.journal, [Conclusion(batch.work, [extent.offset])])

    user.run("rebuild", "upyun://photos", "disk1", "--state", "state")
    user.run(*SYNC)

    (shown,) = user.json("status", "--state", "state")
    assert (shown["counters"]["skipped"], shown["counters"]["stored"]) == (100, 0)
    assert not (user.folder / "disk1/lost.jpg").exists()


def test_a_job_of_some_keys_goes_on_after_a_rebuild_that_is_told_of_them(user, bucket):
    user.knows(bucket("2024=flat:70,size=1100"))
    (user.folder / "keys").write_text("2024/img-01.jpg\n2024/img-05.jpg\n")
    user.run(*SYNC, "--keys", "keys")
    (user.folder / "state").rename(user.folder / "old")

    user.run("rebuild", "upyun://photos", "disk1", "--keys", "keys", "--state", "state")
    user.run(*SYNC, "--keys", "keys")

    (shown,) = user.json("status", "--state", "state")
    assert (shown["counters"]["skipped"], shown["counters"]["stored"]) == (2, 0)


def photos(user, disk):
    return list((user.folder / disk).glob("20*/*.jpg"))


def test_where_and_volumes_are_answered_at_once(user, bare):
    user.run("rebuild", "disk1", "--state", "state")

    assert "img-05.jpg" in user.says("where", "2024/img-05.jpg", "--state", "state")
    assert user.json("volumes", "--state", "state")[0]["stored_objects"] == 100


def test_an_existing_journal_is_never_replaced(user, bare):
    before = (user.folder / "old/journal.sqlite").read_bytes()

    assert "move the folder away" in user.run("rebuild", "disk1", "--state", "old", expect=2).stderr

    assert (user.folder / "old/journal.sqlite").read_bytes() == before


def test_a_damaged_journal_is_not_replaced_either(user, bare):
    (user.folder / "old/journal.sqlite").write_bytes(b"nothing")

    user.run("rebuild", "disk1", "--state", "old", expect=2)


def test_of_a_damaged_journal_it_is_said_that_it_is_damaged_and_not_that_its_volumes_are_another_job_s(
    user, bare
):
    (user.folder / "old/journal.sqlite").write_bytes(b"nothing")

    done = user.run("sync", "upyun://photos", "disk1", "--quiet", "--state", "old", expect=3)

    assert "it does not begin like an SQLite file" in done.stderr
    assert "rebuild" in done.stderr


def test_another_source_is_refused_afterwards(user, bare):
    user.run("rebuild", "upyun://photos", "disk1", "--state", "state")

    done = user.run("sync", "upyun://photos/2024", "disk1", "--quiet", "--state", "state", expect=2)

    assert "another job" in done.stderr


def damage_ledger(user):
    ledger = user.folder / "disk1/.bucketpull/ledger"
    data = bytearray(ledger.read_bytes())
    data[200] ^= 0xFF
    ledger.write_bytes(data)


def test_a_damaged_stretch_of_a_ledger_is_told_and_the_rest_is_known(user, bucket):
    simulator = bucket("tree:dirs=40,files=100,size=300")
    user.knows(simulator).run(*SYNC)
    (user.folder / "state").rename(user.folder / "old")
    damage_ledger(user)

    done = user.run("rebuild", "disk1", "--state", "state", expect=3)

    assert "damaged" in done.stderr
    user.run(*SYNC)
    (shown,) = user.json("status", "--state", "state")
    assert shown["state"] == "complete"
    assert shown["counters"]["skipped"] > 0


def test_what_follows_damage_in_a_ledger_is_known_though_a_batch_was_begun_before_it(user, bare):
    (user.folder / "disk1/.bucketpull/intents/0123456789ab.1.0").touch()
    damage_ledger(user)

    done = user.run("rebuild", "disk1", "--state", "state", expect=3)

    assert "its ledger is damaged from byte 0 to" in done.stderr
    user.run(*SYNC)
    (shown,) = user.json("status", "--state", "state")
    counters = shown["counters"]
    assert (shown["state"], counters["stored"] + counters["skipped"]) == ("complete", 100)
    assert counters["skipped"] > 0
