"""Slow and refused objects cost themselves: what is fetched is booked within seconds, whatever becomes of the rest of its batch."""

import json
import signal
import time

import pytest

OBJECTS = 3000
FOLDERS = f"tree:dirs=3,files={OBJECTS // 3},size=5000"
BOOKED_SECONDS = 30.0


def booked(job):
    """Return how many objects the journal counts as stored."""
    if not (job.state / "journal.sqlite").exists():
        return 0
    return json.loads(job.command("status", "--state", str(job.state), "--json"))["counters"]["stored"]


def wait_until_booked(job, process, objects):
    deadline = time.monotonic() + BOOKED_SECONDS
    while (found := booked(job)) < objects:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, f"{found} objects are booked, not {objects}"


def fetched(job, status="200"):
    return job.simulator.counters()["requests"]["cdn.get"].get(status, 0)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("503:p=0.01,sticky=1,on=cdn.get+rest.get", id="refused"),
        pytest.param("drip:p=0.005,sticky=1,rate=50,on=cdn.get+rest.get", id="slow"),
    ],
)
def test_stragglers_of_every_batch_keep_nothing_else_from_the_books(make_job, fault):
    job = make_job(FOLDERS, faults=[fault])
    process = job.start()
    wait_until_booked(job, process, 0.97 * OBJECTS)
    process.kill()
    process.communicate()
    before = fetched(job)
    job.simulator.clear_faults()

    summary = job.sync()

    assert summary["listed"] == summary["stored"] == OBJECTS
    assert fetched(job) - before <= 0.03 * OBJECTS
    job.check_every_byte()


def test_what_is_fetched_is_kept_when_the_job_is_interrupted_among_stragglers(make_job):
    job = make_job(FOLDERS, faults=["drip:p=0.005,sticky=1,rate=50,on=cdn.get+rest.get"])
    job.stop_when(job.start(), signal.SIGINT, lambda: job.count() > OBJECTS // 2)
    stored = job.count()
    assert booked(job) == stored
    job.simulator.clear_faults()

    job.sync()

    job.check_every_byte()


def test_a_cap_on_bandwidth_is_named_and_shares_few_connections(make_job):
    job = make_job("flat:2000,size=20KiB")
    process = job.start("--bandwidth", "500K")
    wait_until_booked(job, process, 100)
    shown = json.loads(job.command("status", "--state", str(job.state), "--json"))
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate()
    written = job.count()

    assert shown["limited_by"] == "bandwidth"
    assert shown["estimate"]["seconds"] is not None
    # Fifty make two seconds of the cap; both processes may have as many while a share moves from one to the other.
    assert job.simulator.counters()["peak_connections"] <= 150
    job.sync()
    assert fetched(job) <= 2000 + 150
    assert written > 100
    job.check_every_byte()
