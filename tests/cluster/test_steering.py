"""A job of several machines is looked at and steered from any machine, through the broker."""

import json
import subprocess

import pytest
from tests.cluster.conftest import COMMAND


@pytest.fixture
def cluster(make_cluster):
    """A job of one machine that runs slowly, and of which one object fails."""
    made = make_cluster("flat:20000,size=300")
    made.simulator.mutate(put={"bad.jpg": 500})
    made.simulator.inject("error:code=40000001,path=*bad*")
    made.work("m1")
    made.coordinate("--rate", "150")
    made.until(lambda: made.stored("m1") > 20)
    return made


def job(cluster) -> dict:
    return json.loads(cluster.command("status", "--broker", "--json"))


def refused(cluster, *arguments) -> str:
    """Return what a command that ends with 2 tells."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=cluster.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_it_is_paused_limited_and_resumed(cluster):
    assert "the job is paused" in cluster.command("pause", "--broker")
    cluster.until(lambda: job(cluster)["state"] == "paused")
    notes = {note["event"]: note["text"] for note in job(cluster)["notes"]}
    assert notes["job.paused"] == "paused by a command at the broker"

    cluster.kill("coordinator")
    cluster.coordinate("--rate", "150")
    cluster.until(lambda: "was paused before this start" in cluster.log("coordinator"))

    assert "rate 90/s" in cluster.command("limit", "--rate", "90", "--broker")
    assert "the job goes on" in cluster.command("resume", "--broker")
    before = cluster.stored("m1")
    cluster.until(lambda: cluster.stored("m1") > before + 50)

    assert job(cluster)["limits"]["requests_per_second"] == 90


def test_failures_are_listed_and_tried_again(cluster):
    cluster.until(lambda: job(cluster)["counters"]["failed"] == 1)

    (found,) = cluster.command("failures", "--broker", "--json").splitlines()
    assert json.loads(found)["key"] == "bad.jpg"
    cluster.simulator.clear_faults()
    assert "1 failure is work again" in cluster.command("retry", "--broker")
    cluster.until((cluster.volume("m1") / "bad.jpg").exists)


def test_volumes_are_shown_and_drained_and_none_can_be_forced_upon_a_machine(cluster):
    (volume,) = [json.loads(line) for line in cluster.command("volumes", "--broker", "--json").splitlines()]

    assert volume["machine"] == "m1"
    shown = f"m1:{volume['path']}"
    told = cluster.command("volumes", "drain", volume["id"], "--broker")
    assert f"volume {shown} ({volume['id']}) takes no new objects" in told
    assert "is in use" in cluster.command("volumes", "add", shown, "--broker")
    assert "takes no new objects" in cluster.command("volumes", "drain", shown, "--broker")
    told = refused(cluster, "volumes", "add", "/tmp", "--broker")
    assert "run `bucketpull work` with it on its machine" in told


def test_a_machines_own_key_is_good_for_looking_only(cluster):
    key = cluster.command("coordinate", f"upyun://{cluster.simulator.bucket}", "--worker-key", "m1").strip()
    cluster.key = key.splitlines()[-1].rpartition("=")[2]

    assert job(cluster)["job"] == cluster.name
    told = refused(cluster, "pause", "--broker")
    assert "a machine's key may not change the job" in told
