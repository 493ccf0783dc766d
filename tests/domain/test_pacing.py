"""A limiter finds by itself what source and line bear. Time is a number: nothing here waits."""

import importlib.util
import math
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import Reason
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.user_limits import TokenBucket

_spec = importlib.util.spec_from_file_location(
    "pacing_world", pathlib.Path(__file__).with_name("pacing_world.py")
)
_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_world)
World, fetch, run = _world.World, _world.fetch, _world.run


def _refusing(reason, when):
    return lambda now, random: reason if when(now, random) else None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("capacity", [1000, 3000, math.inf])
def test_with_200_ms_and_no_limit_it_reaches_90_percent_of_the_best_fixed_level(capacity, seed):
    best = max(
        run([Limiter(fixed=level)], World(capacity=capacity, seed=seed), 20).rate(10)
        for level in (64, 256, 512, 1024)
    )

    found = run([Limiter()], World(capacity=capacity, seed=seed), 25).rate(15)

    assert found >= 0.9 * best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("latency", [0.005, 0.05, 0.2])
@pytest.mark.parametrize("window_seconds", [0.0, 1.0])
def test_under_a_limit_of_500_a_second_it_settles_within_10_percent_below_and_is_seldom_refused(
    latency, window_seconds, seed
):
    world = World(latency=latency, limit=lambda _now: 500, window_seconds=window_seconds, seed=seed)

    tally = run([Limiter()], world, 60)

    assert 450 <= tally.rate(20) <= 505
    assert tally.share(0 if not window_seconds else 10) < 0.02


class Places(World):
    """Takes so many connections, and refuses more within a millisecond."""

    places = 10

    def answer(self, now):
        self.ends = [end for end in getattr(self, "ends", []) if end > now]
        if len(self.ends) >= self.places:
            return now + 0.001, Reason.RESET
        self.ends.append(now + self.latency)
        return now + self.latency, None


@pytest.mark.parametrize("processes", [1, 2])
def test_places_that_a_server_does_not_have_are_not_tried_a_thousand_times_a_second(processes):
    tally = run([Limiter() for _ in range(processes)], Places(latency=0.01), 10)

    assert tally.rate(2) >= 600
    assert sum(tally.throttled[:2]) < 1500
    assert tally.share(2) < 0.1


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("places", [1, 2, 3])
def test_a_server_that_takes_few_connections_does_not_spend_the_tries_of_objects(places, processes):
    """One was refused sixteen times in a row, as often as it is asked for in all passes."""
    world, most = Places(latency=0.02), [0]
    world.places = places

    def note(_number, tries):
        most[0] = max(most[0], tries)

    fetch(_limiters(processes), world, 2000, note)

    assert most[0] <= 8


def test_however_many_are_refused_at_once_the_next_is_tried_within_the_time_of_an_answer():
    """A server that is restarted refuses all that is under way: each of 128 kept its place after the one before."""
    limiter = Limiter(first=128)
    for now, reason, seconds in ((0.0, None, 60.0), (60.0, Reason.CONNECT, 1.0)):
        for _ in range(128):
            limiter.started(now)
        for _ in range(128):
            limiter.finished(now + seconds, reason, seconds)

    assert 0.0 < limiter.delay(61.0) <= 60.0


def test_four_processes_share_a_limit_without_knowing_of_each_other():
    tally = run([Limiter() for _ in range(4)], World(limit=lambda _now: 500), 60)

    assert tally.rate(20) >= 450
    assert tally.share() < 0.02


@pytest.mark.parametrize("seed", range(3))
def test_processes_behind_a_full_line_do_not_outbid_each_other(seed):
    """What one of them gains by more transfers the others lose: six went up to 3,300 where 200 a second come."""
    limiters = [Limiter() for _ in range(6)]

    tally = run(limiters, World(latency=0.02, capacity=200, seed=seed), 60)

    assert tally.rate(20) >= 195
    assert sum(limiter.level for limiter in limiters) <= 1200


class LargerLater(World):
    """After 20 seconds each object takes 2, however many are asked for."""

    def answer(self, now):
        return super().answer(now) if now < 20 else (now + 2.0, None)


@pytest.mark.parametrize("seed", range(3))
def test_objects_that_become_larger_are_no_full_line_for_long(seed):
    limiter = Limiter()
    found = run([limiter], LargerLater(latency=0.05, capacity=400, seed=seed), 1200)

    assert limiter.level >= 4 * found.level[19]


def test_it_follows_a_limit_down_at_once_and_up_again_later():
    tally = run([Limiter()], World(limit=lambda now: 500 if now < 30 else 100 if now < 60 else 500), 120)

    assert tally.rate(35, 60) == pytest.approx(100, rel=0.1)
    assert tally.share(35, 60) < 0.05
    assert tally.rate(105) > 350


def test_refusals_that_do_not_depend_on_the_pace_do_not_bring_it_to_a_halt():
    refuse = _refusing(Reason.THROTTLED, lambda _now, random: random.random() < 0.1)

    tally = run([Limiter()], World(capacity=2000, refuse=refuse), 60)

    assert tally.rate(40) > 1000


def test_it_rests_while_everything_is_refused_and_returns_within_seconds():
    refuse = _refusing(Reason.THROTTLED, lambda now, _random: 20 <= now < 40)

    tally = run([Limiter()], World(refuse=refuse), 60)

    assert sum(tally.throttled[22:40]) < 50
    assert tally.rate(50) > 500


@pytest.mark.parametrize("idle_seconds", [0.0, 9.0])
@pytest.mark.parametrize("seed", range(3))
def test_what_came_while_little_was_asked_for_is_not_taken_for_the_source_s_limit(idle_seconds, seed):
    """As where objects come by another endpoint at first, and then all by this one."""
    limiter, now = Limiter(), 1000.0
    for _ in range(20):
        limiter.started(now)
        now += 0.05
        limiter.finished(now, None, 0.05)

    tally = run([limiter], World(latency=0.05, limit=lambda _now: 300, seed=seed), 20, now + idle_seconds)

    assert tally.rate(3, 10) > 240


def test_a_refusal_while_little_was_asked_for_does_not_bring_it_to_a_crawl():
    limiter = Limiter()
    for now, reason in ((0.0, None), (0.3, Reason.THROTTLED)):
        limiter.started(now)
        limiter.finished(now + 0.02, reason, 0.02)

    assert limiter.ceiling == 100.0


def test_a_ban_stops_everything_for_a_minute():
    limiter = Limiter()
    limiter.started(1000.0)
    limiter.started(1000.0)

    limiter.finished(1000.1, Reason.BANNED, 0.1)
    limiter.finished(1000.2, Reason.BANNED, 0.1)

    assert not limiter.may_start(1059.0)
    assert limiter.delay(1001.0) == pytest.approx(59.1)
    assert limiter.may_start(1060.2)


def test_a_few_per_cent_of_passing_trouble_do_not_slow_it_down():
    refuse = _refusing(Reason.SERVER_ERROR, lambda _now, random: random.random() < 0.04)

    assert run([Limiter()], World(capacity=2000, refuse=refuse), 30).rate(15) > 1800


def test_an_outage_lowers_the_level_and_its_end_raises_it_again():
    refuse = _refusing(Reason.TIMEOUT, lambda now, _random: 10 <= now < 15)

    tally = run([Limiter()], World(capacity=2000, refuse=refuse), 60)

    assert min(level for level in tally.level[14:16] if level) < tally.level[9] / 4
    assert tally.rate(40) > 1800


@pytest.mark.parametrize(
    ("witness_seconds", "answered", "is_lowered"),
    [(None, False, True), (0.05, False, False), (2.0, False, True), (0.05, True, True)],
    ids=["no witness", "a quick witness", "a slow witness", "others answered meanwhile"],
)
def test_silence_lowers_the_level_unless_no_load_explains_it(witness_seconds, answered, is_lowered):
    """A server at which 32 wait for each other, and one alone takes 2 seconds, does not answer all within a minute."""
    limiter = Limiter(first=33)
    if witness_seconds is not None:
        limiter.note_witness(witness_seconds)
    for wave in range(10):
        now = 1000.0 + 60.0 * wave
        for _ in range(33):
            limiter.started(now)
        limiter.finished(now + 0.1, None if answered else Reason.TIMEOUT, 0.1 if answered else 60.0)
        for _ in range(32):
            limiter.finished(now + 60.0, Reason.TIMEOUT, 60.0)

    assert (limiter.level < 33) is is_lowered


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.SERVER_ERROR, Reason.CONNECT])
@pytest.mark.parametrize("latency", [0.02, 0.2])
def test_after_an_outage_the_level_is_soon_what_it_was(latency, reason):
    """Each cut took the level left by the one before for that of before the outage: 80 a second came for ever, of 2,000."""
    refuse = _refusing(reason, lambda now, _random: 10 <= now < 15)

    tally = run([Limiter()], World(latency=latency, capacity=2000, refuse=refuse), 35)

    assert tally.rate(25) > 1900


def test_the_level_stays_where_not_all_of_it_is_used():
    limiter = Limiter(first=32)
    now = 1000.0
    for _ in range(2000):
        limiter.started(now)
        now += 0.05
        limiter.finished(now, None, 0.05)

    assert limiter.level == 32


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_quarter_refused_whatever_the_pace_is_soon_no_reason_to_be_slow(seed):
    def refuse(now, random):
        return Reason.THROTTLED if random.random() < 0.25 else None

    tally = run([Limiter()], World(latency=0.02, capacity=400, seed=seed, refuse=refuse), 60)

    assert tally.rate(20) > 300


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_half_refused_whatever_the_pace_is_no_block_where_answers_take_long(seed):
    """A round of few answers was refused whole by chance, taken for a block, and what was learnt forgotten: for ever."""
    refuse = _refusing(Reason.THROTTLED, lambda _now, random: random.random() < 0.5)
    world = World(latency=0.2, capacity=1500, refuse=refuse, seed=seed)

    tally = run([Limiter(), Limiter()], world, 40, began=1000.0 + 0.7 * seed)

    assert tally.rate(20) > 700


def test_where_answers_take_long_refusals_at_random_do_not_end_the_doubling_of_the_level():
    refuse = _refusing(Reason.THROTTLED, lambda _now, random: random.random() < 0.25)

    tally = run([Limiter(), Limiter()], World(latency=0.2, capacity=2000, refuse=refuse), 25)

    assert tally.rate(15) > 1800


def test_a_pace_so_low_that_few_answers_come_rises_where_it_is_not_the_cause_of_the_refusals():
    """It stood at 3 a second for ever: of so few answers half were forgotten before they were enough to decide by."""
    refuse = _refusing(Reason.THROTTLED, lambda _now, random: random.random() < 0.4)

    tally = run(
        [Limiter()], World(latency=0.01, capacity=400, refuse=refuse, seed=7), 60, began=1000.0 + 7 * 0.37
    )

    assert tally.rate(40) > 300


@given(
    st.lists(st.tuples(st.floats(0, 5), st.sampled_from([None, *Reason]), st.floats(0, 60)), max_size=300),
    st.integers(1, 64),
)
def test_whatever_happens_the_level_stays_within_its_bounds_and_something_may_start_in_the_end(
    answers, first
):
    limiter, now = Limiter(first=first), 1000.0
    for wait, reason, seconds in answers:
        if limiter.may_start(now):
            limiter.started(now)
        now += wait
        if limiter.in_flight:
            limiter.finished(now, reason, seconds)
        assert 1.0 <= limiter.level <= 1024.0
        assert limiter.ceiling is None or limiter.ceiling >= 1.0
    while limiter.in_flight:
        limiter.finished(now, None, 0.1)

    delay = limiter.delay(now)
    assert delay <= 600.0
    assert limiter.may_start(now + delay + 0.001)


def test_a_rate_is_a_hard_cap_for_all_lanes_that_share_it():
    bucket = TokenBucket(200.0)
    endpoints = [Limiter(bucket=bucket), Limiter(bucket=bucket)]

    tally = run(endpoints, World(latency=0.01), 20)

    assert tally.rate(1) == pytest.approx(200, rel=0.02)
    assert max(tally.good[1:]) <= 206


def test_a_fixed_concurrency_is_kept_to():
    tally = run([Limiter(fixed=10)], World(latency=0.1, jitter=0.0), 10)

    assert tally.rate(2) == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("concurrency", [None, 4])
def test_what_the_user_allows_and_allows_no_more_leaves_the_most_as_it_was(concurrency):
    limiter = Limiter(first=16, highest=40)
    limiter.limit(concurrency)
    limiter.limit(None)

    assert max(run([limiter], World(), 10).level) == 40


def test_limits_can_be_changed_while_it_runs():
    limiter = Limiter()
    limiter.limit(5)
    assert limiter.level == 5
    limiter.limit(None)
    assert limiter.fixed is None


@pytest.mark.parametrize("share", [0.05, 0.25, 0.4])
@pytest.mark.parametrize("began", [1000.9, 1001.8, 1002.7])
def test_processes_that_are_refused_at_random_find_out_together_that_it_is_not_their_pace(share, began):
    refuse = _refusing(Reason.THROTTLED, lambda _now, random: random.random() < share)

    tally = run([Limiter(), Limiter()], World(latency=0.02, capacity=500, refuse=refuse), 40, began)

    assert tally.rate(20) > 400


@pytest.mark.parametrize("limit", [lambda _now: 200.0, lambda now: 500.0 if now < 20 else 100.0])
def test_many_processes_under_a_limit_do_not_take_each_other_s_load_for_chance(limit):
    """What one leaves, the others take: a lower pace of one alone makes no refusal rarer."""
    tally = run([Limiter() for _ in range(8)], World(limit=limit), 60)

    assert tally.share(30) < 0.15
    assert tally.rate(30) > 0.8 * limit(60)


def _limiters(processes):
    return [Limiter() for _ in range(processes)]


def _source(seed=1, **limits):
    return World(latency=0.02, capacity=1300, seed=seed, **limits)


def _once(every, beginning=0):
    """Refuse the first request for each such object."""
    return lambda number, tries: (
        Reason.THROTTLED if tries == 1 and number % every == 0 and number >= beginning else None
    )


_MIX = (Reason.SERVER_ERROR, Reason.RESET, Reason.THROTTLED, Reason.GARBAGE)


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(
    ("refuse", "most"),
    [
        pytest.param(_once(1), 3, id="all"),
        pytest.param(_once(1, 10), 3, id="all-but-the-first-ten"),
        pytest.param(_once(1, 300), 3, id="all-but-some-hundreds"),
        pytest.param(_once(4), 2, id="a-quarter"),
        pytest.param(lambda number, tries: _MIX[number % 4] if tries == 1 else None, 3, id="a-mix"),
    ],
)
def test_where_first_requests_fail_and_their_retries_do_not_a_job_takes_little_longer(
    refuse, most, seed, processes
):
    """The pace was taken for the cause, because retries came at another one: eight times as long."""
    usual = fetch(_limiters(processes), _source(seed), 4000)

    failing = fetch(_limiters(processes), _source(seed), 4000, refuse, 1000.0 + 0.7 * seed)

    assert failing.seconds <= most * usual.seconds


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(("limit", "objects"), [(100, 4000), (1000, 20_000)])
def test_a_limit_is_kept_to_where_what_it_refuses_is_asked_for_again(limit, objects, processes):
    fetched = fetch(_limiters(processes), _source(limit=lambda _now: limit), objects)

    assert fetched.rate >= 0.85 * limit
    assert fetched.share < 0.08


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("limit", [100, 1000])
def test_a_limit_a_second_that_lets_retries_in_first_is_not_taken_for_refusals_of_first_requests(limit, seed):
    """Such as counts what came since the clock's last second: retries are first in line when the next one begins."""
    source = _source(seed, limit=lambda _now: limit, window_seconds=1.0)

    fetched = fetch(_limiters(1 if limit == 100 else 2), source, 40 * limit)

    assert fetched.rate >= 0.85 * limit
    assert fetched.share < 0.08


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_where_retries_are_refused_at_random_as_well_a_job_does_not_come_to_a_crawl(share, seed):
    """The share was known from few answers; more of the next ones, by chance, had the pace taken for the cause again."""
    refuse = _refusing(Reason.THROTTLED, lambda _now, random: random.random() < share)

    fetched = fetch(_limiters(2), _source(seed, refuse=refuse), 12_000, began=1000.0 + 0.7 * seed)

    assert fetched.rate > 500


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("every", [1, 4])
def test_a_limit_is_found_where_first_requests_are_refused_besides(every, processes):
    source = _source(limit=lambda _now: 300)
    fetched = fetch(_limiters(processes), source, 4000, _once(every), shared=processes > 1)

    assert fetched.seconds <= 1.5 * 4000 / 300


def test_three_processes_follow_a_limit_down_and_up_where_what_it_refuses_is_asked_for_again():
    fetched = fetch(_limiters(3), _source(limit=lambda now: 200 if 10 <= now < 20 else 600), 14_000)

    assert fetched.seconds <= 50  # 30 if each change were known at once
    assert fetched.share < 0.08
