"""Limits are those of the whole fleet, whoever comes and goes."""

import time

import pytest

pytestmark = pytest.mark.soak  # measures speeds: not beside other tests


def speed(cluster, measure, seconds=6.0):
    """Return how much of something there is a second."""
    before, at = measure(cluster.simulator.counters()), time.monotonic()
    time.sleep(seconds)
    return (measure(cluster.simulator.counters()) - before) / (time.monotonic() - at)


def unhindered(cluster, measure, least):
    """Return the speed of the first six seconds in which it reaches the least: other work on this machine only slows it down."""
    for _ in range(5):
        found = speed(cluster, measure)
        if found >= least:
            break
    return found


def requests(counters):
    return sum(
        sum(counters["requests"].get(kind, {}).values()) for kind in ("cdn.get", "rest.get", "rest.list")
    )


@pytest.mark.parametrize("option", ["rate", pytest.param("bandwidth", marks=pytest.mark.soak)])
def test_a_limit_is_kept_within_five_percent_by_one_two_and_three_machines(make_cluster, option):
    size = 2048 if option == "rate" else 20_000
    cluster = make_cluster(f"flat:60000,size={size}")
    limit = 300.0 if option == "rate" else 4e6
    unit = 1 if option == "rate" else size
    cluster.work("m1")
    cluster.coordinate(f"--{option}", str(int(limit)))
    for machines in (1, 3):
        for number in range(2, machines + 1):
            cluster.work(f"m{number}")
        cluster.until(
            lambda machines=machines: all(cluster.stored(f"m{n}") > 20 for n in range(1, machines + 1))
        )
        time.sleep(1.5)  # until the shares of before are used up
        found = unhindered(cluster, requests, 0.95 * limit / unit)
        assert found * unit == pytest.approx(limit, rel=0.05)


def test_four_machines_with_a_link_each_are_at_least_three_point_six_times_as_fast_as_one(make_cluster):
    """Each has 16 connections of 100,000 bytes a second: 80 objects a second. They join while the job runs."""
    cluster = make_cluster("flat:60000,size=20000", connection_bandwidth=100_000)
    cluster.work("m1")
    cluster.coordinate("--concurrency", "16")
    cluster.until(lambda: cluster.stored("m1") > 200)
    alone = speed(cluster, requests, 10.0)
    others = ("m2", "m3", "m4")
    for machine in others:
        cluster.work(machine)
    cluster.until(lambda: all(cluster.stored(machine) > 200 for machine in others))
    together = speed(cluster, requests, 10.0)
    print(f"{alone:.1f} objects a second alone, {together:.1f} together: {together / alone:.2f} times")
    assert together >= 3.6 * alone


def test_machines_that_a_source_throttles_come_to_share_what_it_takes(make_cluster):
    """The source answers 300 requests a second of all machines together, and refuses the others."""
    cluster = make_cluster("flat:60000,size=2KiB", cdn_rate=300)
    machines = ("m1", "m2", "m3")
    for machine in machines:
        cluster.work(machine)
    cluster.coordinate()
    cluster.until(lambda: all(cluster.stored(machine) > 200 for machine in machines))
    time.sleep(10.0)  # until the common level is found
    before = cluster.simulator.counters()["requests"]["cdn.get"]
    time.sleep(20.0)
    after = cluster.simulator.counters()["requests"]["cdn.get"]
    answers = {code: (count - before.get(code, 0)) / 20 for code, count in after.items()}
    print(f"answers a second: {answers}")
    taken = answers["200"]
    assert taken > 0.7 * 300
    assert sum(answers.values()) - taken < 0.1 * taken
