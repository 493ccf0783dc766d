"""A running job is paused, resumed, limited and has failures tried again by commands; a job at rest says that it does not run."""

import json
from contextlib import contextmanager

import pytest
from tests.cli.conftest import until

SYNC = ("sync", "upyun://photos", "disk1")


@contextmanager
def running(user, *options):
    """A sync that runs; it is ended at the end, if it has not ended itself."""
    process = user.start(*SYNC, *options)
    try:
        until(lambda: job(user).get("running") or process.poll() is not None, "the job to run")
        yield process
    finally:
        process.terminate()
        process.communicate()


def job(user) -> dict:
    done = user.run("status", "--json", expect=None)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def fetched(simulator) -> int:
    return sum(simulator.counters()["requests"].get("cdn.get", {}).values())


def test_a_paused_job_starts_nothing_until_it_is_resumed(user, bucket):
    simulator = bucket("flat:20000,size=300")
    user.knows(simulator)
    with running(user, "--rate", "200"):
        assert "the job is paused" in user.says("pause")
        until(lambda: job(user)["state"] == "paused", "the pause")
        until(lambda: stands_still(user, simulator), "the last transfers to end")
        assert job(user)["limits"]["paused"]

        assert "the job goes on" in user.says("resume")
        before = fetched(simulator)
        until(lambda: fetched(simulator) > before + 50, "objects to come again")


def stands_still(user, simulator) -> bool:
    before = fetched(simulator)
    job(user), job(user)
    return fetched(simulator) == before


def test_limits_change_one_by_one_and_hold_at_once(user, bucket):
    simulator = bucket("flat:3000,size=300")
    simulator.mutate(put={"held/a.jpg": 700})
    simulator.inject("503:on=list,path=held/")
    user.knows(simulator)
    # The job goes on for two minutes where a folder is not listed.
    user.environment["BUCKETPULL_RETRY_SECONDS"] = "3"
    with running(user, "--rate", "100"):
        told = user.says("limit", "--bandwidth", "5M")
        assert (
            "the limits of the whole job are now: rate 100/s, bandwidth 5.24 MB/s, concurrency auto" in told
        )
        user.run("limit", "--concurrency", "7")
        user.run("limit", "--rate", "off")

        limits = job(user)["limits"]

    assert limits == {
        "concurrency": 7,
        "requests_per_second": None,
        "bytes_per_second": 5 << 20,
        "paused": False,
    }


def test_a_limit_by_time_of_day_holds_too(user, bucket):
    user.knows(bucket("flat:20000,size=300"))
    with running(user, "--rate", "100"):
        user.run("limit", "--bandwidth", "00:00,3M 12:00,3M")

        assert job(user)["limits"]["bytes_per_second"] == 3 << 20


def test_changed_limits_outlive_a_kill_and_a_pause_does_not(user, bucket):
    user.knows(bucket("flat:20000,size=300"))
    with running(user, "--rate", "100") as process:
        user.run("limit", "--rate", "50", "--bandwidth", "00:00,3M 12:00,3M")
        user.run("pause")
        process.kill()
        process.wait()
    with running(user, "--rate", "100"):
        shown = job(user)
    assert shown["limits"] == {
        "concurrency": None,
        "requests_per_second": 50,
        "bytes_per_second": 3 << 20,
        "paused": False,
    }
    notes = {note["event"] for note in shown["notes"]}
    assert "limits.kept" in notes
    assert "job.paused" not in notes


def test_what_failed_is_tried_again_while_the_job_runs(user, bucket):
    simulator = bucket("flat:20,size=300")
    simulator.mutate(put={"bad-1.jpg": 500, "bad-2.jpg": 600, "held/a.jpg": 700})
    simulator.inject("error:code=40000001,path=*bad*", "503:on=list,path=held/")
    user.knows(simulator)
    user.environment["BUCKETPULL_RETRY_SECONDS"] = (
        "3"  # the job goes on for two minutes where a folder is not listed
    )
    with running(user) as process:
        until(lambda: job(user)["counters"]["failed"] == 2, "two to fail")
        simulator.clear_faults("error")

        assert "1 failure is work again\n" in user.says("retry", "--match", "*1.jpg")
        assert "1 failure is work again\n" in user.says("retry")
        simulator.clear_faults()
        process.wait(60)

    assert process.returncode == 0
    assert {"bad-1.jpg", "bad-2.jpg", "held/a.jpg"} <= set(user.files("disk1"))


def test_what_was_changed_and_by_whom_is_told_in_the_job(user, bucket):
    user.knows(bucket("flat:20000,size=300"))
    with running(user, "--rate", "100"):
        user.run("pause")
        user.run("resume")
        user.run("limit", "--rate", "50")

        notes = {note["event"]: note["text"] for note in job(user)["notes"]}

    assert notes["job.paused"].startswith("paused by user ")
    assert notes["job.resumed"].startswith("resumed by user ")
    assert "rate 50/s" in notes["limits.changed"]


@pytest.mark.parametrize("command", ["pause", "resume", "limit --rate 5"])
def test_a_job_that_does_not_run_is_named(user, service, command):
    user.knows(service).run(*SYNC)

    told = user.run(*command.split(), expect=2).stderr

    assert "its job does not run; start it" in told


def test_what_was_done_is_json_where_that_is_asked_for(user, bucket):
    user.knows(bucket("flat:20000,size=300"))
    disk = user.folder / "disk1"
    with running(user, "--rate", "200"):
        assert user.json("pause") == [{"text": "the job is paused; `bucketpull resume` lets it go on"}]
        assert user.json("resume") == [{"text": "the job goes on"}]
        assert "`bucketpull resume upyun://photos` lets it go on" in user.says("pause", "upyun://photos")
        assert "`bucketpull resume --job photos` lets it go on" in user.says("pause", "--job", "photos")
        (limited,) = user.json("limit", "--rate", "300")
        assert "rate 300/s" in limited["text"]
        (drained,) = user.json("volumes", "drain", "disk1")
        assert str(disk) in drained["text"]

    (added,) = user.json("volumes", "add", "disk1")
    assert str(disk) in added["text"]
