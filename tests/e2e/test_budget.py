"""A trial of a few objects, and budgets of bytes and requests: nothing is lost, and the job goes on where it stopped."""

import json
from collections.abc import Callable

import pytest
from tests.e2e.conftest import Job

SPEC = "a=flat:700,size=2KiB;b=flat:700,size=2KiB"
BUDGET_SPENT = 6


@pytest.mark.parametrize("objects", [1, 37, 1100])
def test_a_trial_fetches_exactly_so_many_objects_and_the_job_goes_on_without_it(
    make_job: Callable[..., Job], objects: int
):
    job = make_job(SPEC)

    summary = job.sync("--limit", str(objects), expect=BUDGET_SPENT)

    assert summary["stored"] == job.count() == objects
    assert summary["complete"] is False
    rest = job.sync()
    assert rest["complete"] is True
    assert rest["stored"] == 1400
    job.check_every_byte()


def test_a_trial_that_reaches_the_end_is_complete(make_job: Callable[..., Job]):
    job = make_job(SPEC)

    assert job.sync("--limit", "5000")["complete"] is True


def test_a_total_of_bytes_ends_the_job_and_more_of_it_goes_on(make_job: Callable[..., Job]):
    job = make_job("flat:3000,size=20KiB", bandwidth=6 << 20)

    spent = job.sync("--max-bytes", "10M", expect=BUDGET_SPENT)["spent"]

    assert job.count() < 3000
    assert 10 << 20 <= spent["bytes"] < 15 << 20
    sent = job.simulator.counters()["requests"]["cdn.get"]["200"]
    job.sync("--max-bytes", "10M", expect=BUDGET_SPENT)
    assert job.simulator.counters()["requests"]["cdn.get"]["200"] == sent  # it is of all runs together
    job.sync("--max-bytes", "1G")
    job.check_every_byte()


def test_a_total_of_requests_ends_the_job(make_job: Callable[..., Job]):
    job = make_job("flat:3000,size=20KiB", bandwidth=6 << 20)

    job.sync("--max-requests", "0.5K", expect=BUDGET_SPENT)

    assert 400 < sum(job.simulator.counters()["requests"]["cdn.get"].values()) < 1000


def test_what_was_received_for_nothing_is_counted_and_all_has_its_price(make_job: Callable[..., Job]):
    job = make_job("flat:300,size=20KiB", bandwidth=3 << 20)
    job.simulator.inject("truncate:p=0.2,on=cdn")

    first = job.sync("--price-per-gb", "1000", "--price-per-10k", "100")["spent"]

    assert 0 < first["wasted"]["truncated"] < first["bytes"]
    assert first["cost"] == pytest.approx(first["bytes"] / 1e6 + first["requests"] / 100, abs=1e-3)
    shown = json.loads(job.command("status", "--state", str(job.state), "--json"))
    assert shown["spent"] == first
    assert f"cost          {first['cost']:,.2f}" in job.command("status", "--state", str(job.state))
    other = job.command("status", "--state", str(job.state), "--price-per-gb", "0", "--json")
    assert json.loads(other)["spent"]["cost"] == 0
    second = job.sync()["spent"]  # of all runs together, and nobody said a price
    assert second["requests"] >= first["requests"]
    assert second["wasted"] == first["wasted"]
    assert "cost" not in second


def test_what_a_day_may_take_pauses_the_job(make_job: Callable[..., Job]):
    job = make_job("flat:3000,size=20KiB", bandwidth=6 << 20)
    process = job.start("--max-bytes", "5M/day", "--json")
    lines = []

    for line in process.stdout:
        lines.append(line)
        if '"state":"budget-spent"' in line:
            break
    process.terminate()
    process.communicate(timeout=60)

    assert '"state":"budget-spent"' in lines[-1]
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", "0"], "--limit 0: write a number of at least 1"),
        (["--max-bytes", "10M/week"], "write a number, or a number and '/day'"),
        (["--max-bytes", "0"], "would allow nothing"),
        (["--max-requests", "many"], "'many' is not a number"),
    ],
)
def test_what_is_no_budget_is_refused_before_anything_is_done(
    make_job: Callable[..., Job], options: list[str], said: str
):
    job = make_job("flat:10")

    process = job.start(*options)
    _, errors = process.communicate(timeout=60)

    assert (process.returncode, len(errors.splitlines())) == (2, 1)
    assert said in errors
    assert not job.state.exists()
