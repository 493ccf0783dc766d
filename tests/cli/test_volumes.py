import json
import os
import socket

import pytest
from tests.cli.conftest import until

SLOW = ("sync", "upyun://photos", "disk1", "disk2", "--quiet", "--rate", "60")


@pytest.fixture
def job(user, bucket):
    """Give a job that runs, slowly, on two volumes, until it has stored something."""
    user.knows(bucket("tree:dirs=40,files=100,size=300"))
    process = user.start(*SLOW)
    until(lambda: stored(user) > 0, "the first batch")
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_volumes_are_listed_with_what_they_hold(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "disk2", "--quiet")

    shown = user.json("volumes")

    assert [volume["path"] for volume in shown] == [str(user.folder / name) for name in ("disk1", "disk2")]
    assert sum(volume["stored_objects"] for volume in shown) == 100
    assert all(
        volume["state"] == "open" and volume["free_bytes"] and volume["free_inodes"] for volume in shown
    )
    assert user.volume_id("disk2") in user.says("volumes")


def test_a_volume_that_is_not_there_is_away(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--quiet")
    (user.folder / "disk1").rename(user.folder / "shelf")

    assert user.json("volumes")[0]["state"] == "away"


def held(volumes):
    """Return how each volume is, and what it holds, by its folder's name."""
    return {
        volume["path"].rpartition("/")[2]: (volume["state"], volume["stored_objects"]) for volume in volumes
    }


def test_the_summary_and_volumes_have_a_disk_that_was_not_there_with_what_it_held(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "disk2", "--quiet")
    before = held(user.json("volumes"))
    (user.folder / "disk2").rename(user.folder / "shelf")

    told = user.run("sync", "upyun://photos", "disk1", "--summary", "summary.json").stderr

    now = before | {"disk2": ("away", before["disk2"][1])}
    assert held(json.loads((user.folder / "summary.json").read_text())["volumes"]) == now
    assert held(user.json("volumes")) == now
    assert f"{user.folder / 'disk2'} away free" in " ".join(
        told.split()
    )  # on two lines where the path is long


def test_a_disk_that_a_running_job_does_not_use_is_away_though_it_is_mounted(user, bucket):
    user.knows(bucket("tree:dirs=40,files=100,size=300"))
    user.run(*SLOW[:5], "--limit", "1000", expect=6)
    (user.folder / "disk2").rename(user.folder / "shelf")
    process = user.start("sync", "upyun://photos", "disk1", *SLOW[4:])
    until(lambda: user.run("status", "--json", expect=None).stdout.count('"running":true'), "the job")
    (user.folder / "shelf").rename(user.folder / "disk2")

    shown = user.json("volumes")
    process.terminate()

    assert {volume["path"].rpartition("/")[2]: volume["state"] for volume in shown} == {
        "disk1": "open",
        "disk2": "away",
    }
    assert "no worker uses it" in shown[1]["detail"]
    process.wait()
    process.stdout.close()


def test_a_new_disk_for_a_job_whose_objects_lie_elsewhere_is_told_to_get_only_what_is_not_stored(
    user, service
):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--quiet")

    said = user.run("sync", "upyun://photos", "disk2").stderr

    assert "disk2 is new to this job: 100 objects are on" in said


def test_a_volume_added_at_rest_is_used_by_the_same_command(user, bucket):
    simulator = bucket("flat:50,size=300")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "--quiet")
    user.run("volumes", "add", "disk2")
    user.run("volumes", "drain", f"{socket.gethostname()}:{user.folder / 'disk1'}")
    simulator.mutate(put={f"new/{number}.jpg": 400 for number in range(30)})

    user.run("sync", "upyun://photos", "disk1", "--quiet")

    assert len(user.files("disk1")) == 50
    assert len(user.files("disk2")) == 30
    assert [volume["state"] for volume in user.json("volumes")] == ["draining", "open"]


def test_a_drained_volume_that_is_added_again_takes_objects(user, bucket):
    simulator = bucket("flat:50,size=300")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "--quiet")
    user.run("volumes", "drain", user.volume_id("disk1"))
    user.run("volumes", "add", "disk1")
    simulator.mutate(put={"new.jpg": 400})

    user.run("sync", "upyun://photos", "disk1", "--quiet", "--when-full", "exit")

    assert len(user.files("disk1")) == 51


def test_what_a_lost_volume_held_is_fetched_again_and_nothing_else(user, bucket):
    simulator = bucket("tree:dirs=40,files=100,size=300")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "disk2", "--quiet")
    held = user.files("disk2")
    kept = user.files("disk1")
    assert held
    lost = user.volume_id("disk2")
    (user.folder / "disk2").rename(user.folder / "broken")
    simulator.reset_counters()

    user.run("volumes", "lost", lost)
    user.run("sync", "upyun://photos", "disk1", "disk3", "--quiet")

    assert sum(simulator.counters()["requests"]["cdn.get"].values()) == len(held)
    assert sorted(user.files("disk1") + user.files("disk3")) == sorted(held + kept)


def test_a_lost_volume_that_comes_back_is_refused(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "disk2", "--quiet")
    user.run("volumes", "lost", user.volume_id("disk1"))

    told = user.run("sync", "upyun://photos", "disk1", "disk2", "--quiet", expect=2).stderr

    assert "lost" in told
    user.run("volumes", "add", "disk1", expect=2)


def test_wrong_names_are_answered_with_the_right_ones(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--quiet")

    for arguments in (("drain", "disk9"), ("lost", "0123456789ab"), ("lost", str(user.folder / "disk1"))):
        assert user.volume_id("disk1") in user.run("volumes", *arguments, expect=2).stderr


def test_options_may_stand_before_or_behind_the_word(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--quiet", "--state", "state")

    user.run("volumes", "--state", "state", "drain", "disk1")
    user.run("volumes", "add", "disk1", "--state", "state")


def test_a_running_job_takes_up_drains_and_gives_up_volumes_at_once(user, job):
    user.run("volumes", "add", "disk3")
    user.run("volumes", "drain", "disk2")
    lost = user.volume_id("disk1")
    user.run("volumes", "lost", lost)

    states = {volume["path"].rpartition("/")[2]: volume["state"] for volume in user.json("volumes")}
    assert states == {"disk1": "lost", "disk2": "draining", "disk3": "open"}
    user.run("volumes", "add", "disk1", expect=2)
    user.run("volumes", "add", "no/such/disk4", expect=2)
    user.run("limit", "--rate", "off")
    assert job.wait(100) == 0
    whole = user.files("disk2") + user.files("disk3")
    assert len(whole) == len(set(whole)) == 4000


def test_what_was_asked_of_a_running_job_counts_for_the_next_too(user, job):
    user.run("volumes", "add", "disk3")
    user.run("volumes", "drain", "disk1")
    job.kill()
    job.wait()
    before = settled(user, "disk1")

    user.run(*SLOW[:-2])

    states = {volume["path"].rpartition("/")[2]: volume["state"] for volume in user.json("volumes")}
    assert states == {"disk1": "draining", "disk2": "open", "disk3": "open"}
    assert user.files("disk3")
    assert before <= set(user.files("disk1"))


def settled(user, folder):
    """Return the files of which a volume's ledger says that they are stored; those of a batch in hand may go elsewhere."""
    rows = map(json.loads, user.says("export", "--format", "jsonl").splitlines())
    return {row["path"] for row in rows if row["volume"] == user.volume_id(folder)}


def stored(user) -> int:
    done = user.run("status", "--json", expect=None)
    return int(done.stdout.partition('"stored":')[2].partition(",")[0] or 0)


def test_a_job_that_finds_no_room_says_on_which_volume_and_what_to_do(user, service):
    sync = ("sync", "upyun://photos", "disk1", "--reserve", "100%", "--when-full", "exit")
    told = user.knows(service).run(*sync, expect=5).stderr

    assert f"volume {user.folder}/disk1 is full: no bytes left above the reserve; free some space" in told


def test_the_room_of_a_job_at_rest_is_that_above_its_own_reserve(user, service):
    """With the usual reserve a disk on which the job has room was said to have none."""
    user.knows(service).run(
        "sync", "upyun://photos", "disk1", "--reserve", "100%", "--when-full", "exit", expect=5
    )
    assert json.loads(user.says("volumes", "--json"))["free_bytes"] == 0

    user.run("sync", "upyun://photos", "disk1", "--reserve", "0")

    free = os.statvfs(user.folder / "disk1")
    assert json.loads(user.says("volumes", "--json"))["free_bytes"] == pytest.approx(
        free.f_bavail * free.f_frsize, rel=0.1
    )
