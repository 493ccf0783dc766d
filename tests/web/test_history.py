import copy

from bucketpull.domain.progress import JobState
from bucketpull.web.history import COARSE_POINTS, FINE_POINTS, History


def test_latency_is_that_of_the_requests_since_the_last_point(serve):
    panel = serve().panel
    snapshot = copy.deepcopy(panel.snapshot())
    history = History()
    history.add(snapshot)
    later = copy.deepcopy(snapshot)
    for machine in later.machines:
        machine.endpoints["cdn"].requests += 100
        machine.endpoints["cdn"].seconds += 5.0
        machine.endpoints["list"].seconds += 900.0

    history.add(later)

    assert [round(point.latency, 3) if point.latency else None for point in history.fine] == [None, 50.0]


def test_latency_is_that_of_requests_that_ended_however_many_begin(serve):
    """Of a source that is silent, all that waited ends at once, after a minute, and little begins."""
    snapshot = copy.deepcopy(serve().panel.snapshot())
    history = History()
    history.add(snapshot)
    later = copy.deepcopy(snapshot)
    for machine in later.machines:
        machine.endpoints["cdn"].requests += 10
        machine.endpoints["cdn"].in_flight -= 90
        machine.endpoints["cdn"].seconds += 100 * 60.0

    history.add(later)

    assert round(history.fine[-1].latency) == 60_000


def test_a_worker_that_leaves_makes_no_negative_latency(serve):
    snapshot = copy.deepcopy(serve().panel.snapshot())
    history = History()
    history.add(snapshot)
    later = copy.deepcopy(snapshot)
    del later.machines[1]

    history.add(later)

    assert history.fine[-1].latency is None


def test_failures_and_retries_are_counted_from_point_to_point(serve):
    snapshot = copy.deepcopy(serve().panel.snapshot())
    history = History()
    history.add(snapshot)
    later = copy.deepcopy(snapshot)
    later.retries["throttled"] += 5
    later.failures["size"] = 2

    history.add(later)

    assert (history.fine[0].retries, history.fine[0].failures) == ({}, {})
    assert (history.fine[1].retries, history.fine[1].failures) == ({"throttled": 5}, {"size": 2})


def test_what_earlier_runs_counted_is_no_growth_when_the_job_starts_again(serve):
    snapshot = copy.deepcopy(serve().panel.snapshot())
    starting = copy.deepcopy(snapshot)
    starting.state, starting.retries, starting.failures = JobState.STARTING, {}, {}
    history = History()

    history.add(starting)
    history.add(snapshot)

    assert (history.fine[-1].retries, history.fine[-1].failures) == ({}, {})


def test_a_long_job_keeps_its_whole_course_in_bounded_memory(serve):
    snapshot = copy.deepcopy(serve().panel.snapshot())
    history = History()
    first = snapshot.at

    for number in range(10_000):
        snapshot = copy.copy(snapshot)
        snapshot.at = first + 2 * number
        snapshot.retries = {"throttled": 1806 + number}
        history.add(snapshot)

    assert len(history.fine) == FINE_POINTS
    assert COARSE_POINTS // 4 < len(history.coarse) < COARSE_POINTS
    assert history.coarse[0].at < first + 100
    assert snapshot.at - history.coarse[-1].at < 100
    assert sum(point.retries.get("throttled", 0) for point in history.coarse) > 9_900
    assert len(history.since(snapshot.at - 9)) == 5
