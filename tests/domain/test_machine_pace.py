"""The processes of a machine find together how fast to ask a source that refuses more. Time is a number: nothing here waits."""

import importlib.util
import pathlib
from itertools import pairwise

import pytest

from bucketpull.domain.endpoints import Counted, Pace, Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.machine_pace import MachinePace
from bucketpull.domain.pacing import Limiter

_spec = importlib.util.spec_from_file_location(
    "pacing_world", pathlib.Path(__file__).with_name("pacing_world.py")
)
_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_world)
World, fetch, run = _world.World, _world.fetch, _world.run


def _limiters(processes):
    return [Limiter() for _ in range(processes)]


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("window_seconds", [0.0, 1.0])
@pytest.mark.parametrize("limit", [5, 10, 20, 100])
@pytest.mark.parametrize("processes", [2, 4, 8])
def test_processes_settle_close_below_a_limit_for_all_of_them(processes, limit, window_seconds, seed):
    """Each took the others' load for chance: of 5 to 20 requests a second four processes had 70 to 88 % refused, for ever."""
    world = World(latency=0.02, limit=lambda _now: limit, window_seconds=window_seconds, seed=seed)

    tally = run(_limiters(processes), world, 60, 1000.0 + 0.7 * seed, shared=True)

    print(f"seed {seed}: {tally.rate(20):.1f}/s with {tally.share(20):.1%} refused")
    assert tally.rate(20) >= 0.85 * limit
    assert tally.share(20) < 0.06


@pytest.mark.parametrize("limit", [lambda _now: 500.0, lambda now: 500.0 if now < 20 else 50.0])
def test_processes_follow_a_limit_that_falls_within_seconds(limit):
    tally = run(_limiters(4), World(limit=limit), 60, shared=True)

    assert tally.share(25) < 0.05
    assert tally.rate(25) > 0.85 * limit(60)


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("share", [0.05, 0.25, 0.4])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_find_out_together_that_refusals_come_at_random(processes, share, seed):
    def refuse(_now, random):
        return Reason.THROTTLED if random.random() < share else None

    world = World(latency=0.02, capacity=500, refuse=refuse, seed=seed)
    tally = run(_limiters(processes), world, 40, 1000.0 + 0.7 * seed, shared=True)

    print(f"seed {seed}: {tally.rate(20):.0f}/s of 500")
    assert tally.rate(20) > 250


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_what_each_sees_of_first_requests_that_fail_is_put_together(processes, every, seed):
    """Each needed 200 answers of its own, at its share of the pace: three times as long as without refusals."""

    def refuse(number, tries):
        return Reason.THROTTLED if tries == 1 and number % every == 0 else None

    def seconds(*refuse):
        world = World(latency=0.02, capacity=1300, seed=seed)
        return fetch(
            _limiters(processes), world, 4000, *refuse, began=1000.0 + 0.7 * seed, shared=True
        ).seconds

    assert seconds(refuse) <= 2 * seconds()


def test_everything_refused_is_probed_a_few_times_and_the_pace_returns_within_seconds():
    def refuse(now, _random):
        return Reason.THROTTLED if 20 <= now < 40 else None

    tally = run(_limiters(4), World(refuse=refuse), 65, shared=True)

    assert sum(tally.throttled[23:40]) < 60
    assert tally.rate(55) > 500


# --- what is told


class Machine:
    """Processes that report `answers` and `refused` more each time, by number."""

    def __init__(self, *processes):
        self.sharing = MachinePace(len(processes))
        self.counted = dict.fromkeys(processes, Counted())
        self.now = 1000.0
        self.paces = {}

    def report(self, process, answers=0, refused=0, ceiling=100.0, in_flight=1):
        before = self.counted[process]
        self.counted[process] = Counted(
            ceiling,
            in_flight,
            before.answers + answers,
            before.refused + refused,
            before.refused_retries + refused,
        )
        symptoms = {"rest": Symptoms(counted={"rest.example": self.counted[process]})}
        for each, told in self.sharing.look(process, symptoms, self.now):
            self.paces[each] = told.paces["rest"]["rest.example"]

    def run(self, seconds, **reports):
        """Have all processes report four times a second."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.25
            for process in self.counted:
                self.report(process, **reports)


def test_a_single_process_goes_by_what_it_counts_itself():
    machine = Machine(0, 1)
    machine.counted.pop(1)
    machine.run(10, answers=25, refused=5)

    assert machine.paces == {}


def test_where_nothing_is_refused_nothing_is_told():
    machine = Machine(0, 1)
    machine.run(10, answers=25, ceiling=0.0)

    assert machine.paces == {}


def test_all_get_the_same_share_also_one_that_was_never_refused():
    machine = Machine(0, 1)
    machine.report(1, answers=20, ceiling=0.0)
    machine.report(0, answers=25, refused=5, ceiling=60.0)

    assert {process: pace.per_second for process, pace in machine.paces.items()} == {0: 30.0, 1: 30.0}


@pytest.mark.parametrize("reports", [{"answers": 0, "in_flight": 0}, None], ids=["idle", "silent"])
def test_the_share_of_one_that_asks_no_more_goes_to_the_others(reports):
    machine = Machine(0, 1, 2)
    machine.run(2, answers=10)
    before = machine.paces[0].per_second
    for _ in range(40):
        machine.now += 0.25
        machine.report(0, answers=10)
        machine.report(1, answers=10)
        if reports:
            machine.report(2, **reports)

    assert machine.paces[0].per_second >= 1.45 * before


def test_a_process_that_begins_anew_counts_from_the_start():
    machine = Machine(0, 1)
    machine.run(5, answers=10)
    before = machine.paces[0].per_second
    machine.counted[1] = Counted()
    machine.run(2, answers=10)

    assert machine.paces[0].per_second >= before


@pytest.mark.parametrize("changes", [(), (0.3, 0.9, 1.7)])
def test_processes_ask_one_after_the_other_also_while_the_pace_changes(changes):
    paces = [Pace(1.25, 1000.0, number / 4) for number in range(4)]
    moments = []
    for begun in paces:
        pace = begun
        now, left = 1000.0, [1000.0 + change for change in changes]
        last = now
        while now < 1010.0:
            now = pace.next_turn(now, last)
            while left and left[0] < now:
                pace = pace.at(left[0], pace.per_second * 0.9)
                now = pace.next_turn(left.pop(0), last)
            moments.append(now)
            last = now

    moments.sort()
    assert min(after - before for before, after in pairwise(moments)) > 0.19


def test_who_asked_late_skips_no_turn_and_has_none_twice():
    pace = Pace(1.0, 1000.0)

    assert pace.next_turn(1003.2, 1003.2) == 1004.0
    assert pace.next_turn(1003.7, 1003.7) == 1005.0
    assert pace.next_turn(1003.9, 1003.2) == 1004.0


def test_a_limiter_that_hears_nothing_any_more_goes_by_what_it_counts_itself():
    limiter = Limiter()
    limiter.lead(1000.0, Pace(50.0, 1000.0, random_share=0.25))

    assert (limiter.ceiling, limiter.random_share) == (50.0, 0.25)
    assert run([limiter], World(limit=lambda _now: 20), 30, 1000.0).share(15) < 0.1
