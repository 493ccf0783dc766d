"""Whatever dies, at whatever step: after a restart the bucket is there, each object once, and the books agree."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import COORDINATOR_STEPS

WRITER_STEPS = ("opened", "written", "closed", "renamed")
OBJECTS = 3000


@pytest.fixture
def job(make_job):
    """A job of two volumes, small enough to be done many times."""
    return make_job(f"tree:dirs=30,files={OBJECTS // 30}", volumes=2)


def run(job, kill_at, *options):
    environment = {**job.environment, "BUCKETPULL_KILL_AT": kill_at}
    return subprocess.run(
        job.arguments("--processes", "2", *options),
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("step", COORDINATOR_STEPS)
def test_a_kill_of_the_coordinator_at_any_step_loses_nothing(job, step, number):
    died = run(job, f"{step}:{number}")
    assert died.returncode == -signal.SIGKILL

    summary = job.sync()

    assert summary["listed"] == summary["stored"] == OBJECTS
    job.check_every_byte()


@pytest.mark.parametrize("step", ["synced", "appended", "settled"])
def test_the_former_file_beside_its_path_goes_though_a_kill_came_before_it_was_removed(make_job, step):
    job = make_job("b=flat:3,size=100")
    job.simulator.mutate(put={"a": 100, "a/x": 100})
    job.sync()
    odd = "%~a%~d/x"
    assert odd in job.files()
    job.simulator.mutate(delete=["a"], touch=["a/x"])
    places = [*map(str, job.volumes), "--api-url", job.simulator.api_url, "--state", str(job.state)]
    job.command("prune", *places, "--delete", "--max-delete", "1")

    assert run(job, step).returncode == -signal.SIGKILL
    assert {odd, "a/x"} <= job.files().keys()
    job.sync()

    assert odd not in job.files()
    assert job.command("verify", str(job.volumes[0]), "--json") == ""


@pytest.mark.parametrize("step", WRITER_STEPS)
def test_worker_processes_that_die_at_any_step_are_replaced(job, step):
    done = run(job, f"{step}:400")

    assert done.returncode == 0, done.stderr
    job.check_every_byte()


@pytest.mark.parametrize("options", [(), ("--verify", "md5")])
def test_what_a_dead_worker_process_left_whole_is_not_fetched_again(make_job, options):
    job = make_job("flat:1000,size=2KiB", patient=True)

    done = run(job, "renamed:300", "--processes", "1", "--concurrency", "8", *options)

    assert done.returncode == 0, done.stderr
    summary = job.summary()
    assert summary["listed"] == summary["stored"] == 1000
    # It and two of its successors die, each with some in transfer.
    assert job.simulator.counters()["requests"]["cdn.get"]["200"] <= 1000 + 3 * 8
    job.check_every_byte()
    job.command("verify", str(job.volumes[0]), "--hash")


def test_where_no_process_can_be_made_any_more_a_line_says_so_and_the_next_start_goes_on(make_job):
    job = make_job("flat:3000,size=2KiB", volumes=2)
    process = subprocess.Popen(
        job.arguments("--rate", "500"), env=job.environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not job.count():
        assert process.poll() is None
        assert time.monotonic() < deadline
    (maker,) = children(process.pid)
    first, *_ = children(maker)
    os.kill(maker, signal.SIGKILL)
    os.kill(first, signal.SIGKILL)

    _, said = process.communicate(timeout=60)

    assert process.returncode == 3
    assert "cannot start a worker process" in said
    assert "Traceback" not in said
    assert job.sync()["complete"] is True
    job.check_every_byte()


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_at_random(job, times, seed):
    """Kill the whole process group at random instants, so many times."""
    generator = random.Random(seed)
    print(f"seed {seed}")
    for _ in range(times):
        process = subprocess.Popen(
            job.arguments(), env=job.environment, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(generator.uniform(0.2, 1.2))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_kills_at_random_instants_lose_nothing(make_job):
    job = make_job("flat:10000,size=2KiB", volumes=2)

    kill_at_random(job, 8, int(time.time()))
    summary = job.sync()

    assert summary["complete"] is True
    job.check_every_byte()


def test_after_a_kill_what_lies_whole_on_disk_is_not_fetched_again(make_job):
    job = make_job("flat:4000,size=2KiB", volumes=2, patient=True)
    job.kill_when(lambda: job.count() > 1500)
    deadline = time.monotonic() + 30
    while job.simulator.counters()["connections"]:  # its processes notice a little later that it is gone
        assert time.monotonic() < deadline
    written = job.count()
    job.simulator.reset_counters()

    summary = job.sync()

    assert job.simulator.counters()["requests"]["cdn.get"] == {"200": 4000 - written}
    assert summary["listed"] == summary["stored"] == 4000
    job.check_every_byte()


def test_what_a_kill_left_of_a_changed_folder_on_a_disk_that_is_away_next_goes_when_it_is_back(make_job):
    job = make_job("flat:200,size=2000", volumes=2)
    first, second = job.volumes
    job.volumes = [first]
    job.sync()
    new = [f"new-{number}" for number in range(50)]
    changed = [f"img-{number:03}.jpg" for number in range(50)]
    job.simulator.mutate(put=dict.fromkeys(new, 2000), touch=changed)
    died = run(job, "synced")
    assert died.returncode == -signal.SIGKILL
    assert job.count() == 250  # before anything is in the ledger

    job.volumes = [second]
    first.rename(first.with_name("drawer"))
    job.sync()
    first.with_name("drawer").rename(first)
    job.volumes = [first, second]
    job.sync()

    job.command("verify", str(first), str(second), "--hash")
    assert len(job.files()) == 250


@pytest.mark.soak
def test_hundreds_of_kills_lose_nothing(make_job):
    job = make_job("flat:200000,size=2KiB", volumes=3)

    kill_at_random(job, 300, int(time.time()))
    summary = job.sync()

    assert summary["complete"] is True
    job.check_every_byte()
