"""What cannot be had: refusals end a job at once, failures are kept and tried again, passing trouble mends itself."""

import json
import subprocess
import time
from collections import Counter

import pytest

from upyun_simulator import content

OBJECTS = 400
AT_ONCE_SECONDS = 15  # generous: the machine may be busy; a job alone takes about one


def failures_of(job) -> list[dict]:
    return [
        json.loads(line) for line in job.command("failures", "--json", "--state", str(job.state)).splitlines()
    ]


def refused(job, *options: str) -> str:
    """Run a sync that the source refuses; return its one message."""
    began = time.monotonic()
    process = job.start(*options)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert time.monotonic() - began < AT_ONCE_SECONDS
    (said,) = [line for line in errors.splitlines() if line.startswith("bucketpull:")]
    return said


@pytest.mark.parametrize("code", [40100003, 40100005, 40100006, 40100008, 40100012, 40100017])
def test_an_operator_who_is_refused_hears_it_at_once_and_nothing_is_written(make_job, code):
    job = make_job("flat:10,size=100", faults=[f"error:code={code},on=rest"])

    assert str(code) in refused(job)
    assert not job.volumes[0].exists()
    assert not (job.state / "journal.db").exists()


@pytest.mark.parametrize("cdn", [True, False])
def test_a_job_none_of_whose_many_objects_is_there_is_not_called_complete(make_job, cdn):
    job = make_job("flat:30,size=100", cdn=cdn, faults=["404:on=get"])
    process = job.start()
    _, said = process.communicate(timeout=60)

    assert process.returncode == 3, said
    assert "none of the objects that were listed is there" in said
    summary = job.summary()
    assert (summary["complete"], summary["listed"], summary["vanished"]) == (False, 30, 30)
    job.simulator.clear_faults()
    assert job.sync()["stored"] == 30


def test_a_listing_that_is_denied_ends_the_job_before_it_begins(make_job):
    job = make_job("flat:10,size=100", faults=["403:code=40300099,on=list"])

    assert "40300099" in refused(job)
    assert not job.volumes[0].exists()


def test_a_password_that_is_withdrawn_in_the_middle_ends_the_job_with_one_message_and_it_can_go_on(make_job):
    job = make_job("flat:4000,size=100", cdn=False, api_latency=0.01)
    process = job.start()
    while job.count() < 500:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)

    job.simulator.inject("error:code=40100009,on=rest")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 4, errors
    assert len([line for line in errors.splitlines() if "40100009" in line]) == 1, errors
    assert failures_of(job) == []
    job.simulator.clear_faults()
    assert job.sync()["complete"] is True
    job.check_every_byte()


@pytest.mark.parametrize(
    "rule", ["403:code=40310014", "403:code=40310013", "redirect", "html", "error:code=40510001"]
)
def test_a_domain_that_refuses_everything_is_told_once_and_rest_has_all(make_job, rule):
    joint = "," if ":" in rule else ":"
    job = make_job("flat:5000,size=100", faults=[f"{rule}{joint}on=cdn"])
    process = job.start("--json", "--rate", "1000")  # else all is had before the domain is judged
    output, errors = process.communicate(timeout=100)

    assert process.returncode == 0, errors
    notes = [line for line in output.splitlines() if line.startswith('{"event":"note"')]
    told = [line for line in notes if '"endpoint.refusing"' in line]
    assert len(told) == 1
    assert job.simulator.cdn_url.removeprefix("http://") in told[0]
    assert job.simulator.api_url.removeprefix("http://") in told[0]  # from where the objects come meanwhile
    assert job.summary()["stored"] == 5000
    assert sum(job.simulator.counters()["requests"]["cdn.get"].values()) < 500
    assert failures_of(job) == []
    job.check_every_byte()


@pytest.mark.parametrize("rule", ["403:code=40310014", "redirect", "html", "error:code=40510001", "404"])
def test_a_domain_without_an_origin_that_refuses_everything_ends_the_job_within_seconds(make_job, rule):
    joint = "," if ":" in rule else ":"
    job = make_job("flat:5000,size=100", faults=[f"{rule}{joint}on=cdn"])

    said = refused(job, "--style", "!s400")

    assert job.simulator.cdn_url.removeprefix("http://") in said
    assert "--cdn-url" in said
    assert sum(job.simulator.counters()["requests"]["cdn.get"].values()) < 500


def test_a_clock_that_is_an_hour_off_is_corrected_by_the_server_s_date(make_job):
    job = make_job(f"flat:{OBJECTS},size=100", cdn=False, clock_offset=3700)

    summary = job.sync()

    assert summary["complete"] is True
    assert set(summary["retries"]) <= {"clock"}
    requests = job.simulator.counters()["requests"]
    assert requests["rest.get"].get("401", 0) < OBJECTS // 4  # signed right from then on
    job.check_every_byte()


def test_objects_that_fail_for_an_hour_are_had_by_later_passes_of_the_same_run(make_job):
    job = make_job("flat:3000,size=100", faults=["503:p=0.05,sticky=1", "reset:p=0.01,sticky=1"])
    process = job.start()
    while sum(job.simulator.counters()["faults"].values()) < 900:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)

    job.simulator.clear_faults()
    _, errors = process.communicate(timeout=100)

    assert process.returncode == 0, errors
    summary = job.summary()
    assert (summary["failed"], summary["stored"]) == (0, 3000)
    assert summary["retries"]["server-error"] > 500
    assert "retries" in errors  # and the run says so
    assert failures_of(job) == []
    job.check_every_byte()


def test_a_few_objects_that_always_fail_slow_nobody_down_and_are_listed_with_their_reasons(make_job):
    job = make_job(f"flat:{OBJECTS},size=100", patient=True)
    bad = [item.key for item in job.simulator.contents.walk()][5:OBJECTS:80]
    job.simulator.inject(*[f"error:code=40000001,path={key}" for key in bad])

    summary = job.sync(expect=3)

    lines = failures_of(job)
    assert [line["key"] for line in lines] == bad
    assert {line["reason"] for line in lines} == {"rejected"}
    assert all(
        line["status"] == 400 and "40000001" in line["detail"] and line["attempts"] == 2 for line in lines
    )
    assert summary["failed"] == len(lines) == summary["failures"]["rejected"]
    assert summary["stored"] == job.count() == OBJECTS - len(bad)

    job.simulator.clear_faults()
    job.simulator.reset_counters()
    assert "5 failures" in job.command("retry", "--state", str(job.state))
    summary = job.sync()

    assert job.simulator.counters()["requests"]["cdn.get"] == {"200": len(bad)}
    assert (summary["listed"], summary["failed"]) == (OBJECTS, 0)
    assert summary["listed"] == summary["stored"] + summary["skipped"]
    job.check_every_byte()


def test_a_directory_that_could_not_be_listed_is_listed_by_retry(make_job):
    job = make_job(
        "good=flat:50,size=10;bad=flat:50,size=10",
        faults=["403:code=40300099,path=bad/,on=list"],
        patient=True,
    )
    job.sync(expect=3)
    assert [(line["key"], line["page"]) for line in failures_of(job)] == [("bad/", True)]

    job.simulator.clear_faults()
    job.simulator.reset_counters()
    job.command("retry", "--state", str(job.state))
    summary = job.sync()

    assert job.simulator.counters()["requests"]["cdn.get"] == {"200": 50}
    assert summary["listed"] == summary["stored"] + summary["skipped"] == 100
    job.check_every_byte()


def test_a_key_that_cannot_be_a_file_name_fails_nobody_else(make_job):
    job = make_job("odd")

    summary = job.sync()

    assert summary["complete"] is True
    assert summary["stored"] == sum(1 for _ in job.simulator.contents.walk())


def test_one_slow_object_holds_nobody_up(make_job):
    job = make_job("fast=flat:1000,size=3000;slow=flat:1,size=60000", faults=["drip:rate=600,path=slow/*"])
    process = job.start()

    began = time.monotonic()
    while job.count() < 1000:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() - began < 60
        time.sleep(0.02)
    assert not (job.volumes[0] / "slow/img-0.jpg").exists()

    process.kill()
    process.communicate(timeout=60)
    job.simulator.clear_faults()
    job.sync()
    job.check_every_byte()


def test_what_stalls_leaves_the_other_slots_at_work(make_job):
    """Of 20 slots, 10 wait for objects that never end; the others go on, with no barrier between batches."""
    job = make_job("fast=flat:4000,size=500;stuck=flat:10,size=500", faults=["stall:path=stuck/*,first=1"])
    job.options += ["--concurrency", "20"]

    summary = job.sync()

    assert summary["complete"] is True
    assert summary["retries"]["stalled"] >= 10
    job.check_every_byte()


def test_verify_finds_each_kind_of_damage_and_repair_fetches_exactly_that(make_job):
    job = make_job("tree:dirs=40,files=25,size=uniform:100:5KiB", volumes=2, patient=True)
    job.sync()
    files = sorted(path for volume in job.volumes for path in volume.rglob("*.jpg"))
    flipped, short, long, missing = files[7], files[100], files[500], files[-3]
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    short.write_bytes(short.read_bytes()[:-1])
    long.write_bytes(long.read_bytes() + b"\0")
    missing.unlink()
    (job.volumes[0] / "stranger").write_bytes(b"mine")
    job.simulator.reset_counters()
    volumes = [str(volume) for volume in job.volumes]

    def found() -> Counter:
        lines = subprocess.run(
            [*job.arguments()[:3], "verify", *volumes, "--hash", "--json"],
            env=job.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Counter(json.loads(line)["fault"] for line in lines.stdout.splitlines())

    assert found() == {"content": 1, "size": 2, "missing": 1, "extra": 1}
    job.command("verify", *volumes, "--hash", "--repair", "--state", str(job.state), expect=3)

    assert sum(job.simulator.counters()["requests"]["cdn.get"].values()) == 4
    assert found() == {"extra": 1}
    (job.volumes[0] / "stranger").unlink()
    job.check_every_byte()


def test_an_object_that_is_replaced_while_it_comes_is_one_version_from_end_to_end(make_job):
    job = make_job("flat:2,size=24MiB", connection_bandwidth=4 << 20)
    item = next(iter(job.simulator.contents.walk()))
    parts = job.volumes[0] / ".bucketpull" / "partial"
    process = job.start()
    while sum(each.stat().st_size > 2 << 20 for each in parts.glob("*")) < 2:
        assert process.poll() is None
        time.sleep(0.02)

    job.simulator.mutate(touch=[item.key])
    job.simulator.inject("reset-body:after=1000000,first=1,on=cdn")
    _, errors = process.communicate(timeout=100)

    assert process.returncode == 0, errors
    data = (job.volumes[0] / item.key).read_bytes()
    assert data in {content(item.key, item.size, version) for version in (0, 1)}
