"""One table of back-off."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.retry import (
    BOUNDS,
    LAST_PASS,
    PAGE_PASSES,
    PASSES,
    Scope,
    backoff_seconds,
    next_page_try,
    next_try,
    tries_by_chance,
)


@given(st.sampled_from(list(Reason)), st.integers(1, 10_000), st.integers())
def test_back_off_is_bounded_and_jitter_takes_at_most_half_away(reason, attempt, seed):
    seconds = backoff_seconds(reason, attempt, random.Random(seed))
    longest = backoff_seconds(reason, attempt, _Always(1.0))

    assert longest / 2 <= seconds <= longest <= 300


class _Always:
    def __init__(self, value):
        self._value = value

    def random(self):
        return self._value


def test_back_off_doubles():
    waits = [backoff_seconds(Reason.THROTTLED, attempt, _Always(1.0)) for attempt in range(1, 9)]

    assert waits == [0.5, 1, 2, 4, 8, 8, 8, 8]


def test_a_first_failure_is_tried_again_nearly_at_once():
    waits = [backoff_seconds(Reason.RESET, attempt, _Always(1.0)) for attempt in range(1, 5)]

    assert waits == [0.05, 1, 2, 4]


def test_refusals_that_are_no_more_than_chance_make_no_wait_longer():
    waits = [backoff_seconds(Reason.THROTTLED, attempt, _Always(1.0), by_chance=4) for attempt in range(1, 9)]

    assert waits == [0.05, 0.05, 0.05, 0.05, 0.5, 1, 2, 4]


@pytest.mark.parametrize(
    ("share", "most"), [(0.0, 0), (0.0005, 0), (0.02, 1), (0.25, 4), (0.4, 7), (0.9, 8), (1.0, 8)]
)
def test_the_more_is_refused_at_random_the_more_refusals_in_a_row_are_chance_within_a_bound(share, most):
    assert tries_by_chance(Reason.THROTTLED, share) == most
    assert tries_by_chance(Reason.BANNED, share) == 0


def test_what_the_source_asks_for_is_waited():
    assert backoff_seconds(Reason.THROTTLED, 1, random.Random(1), 17.0) == 17.0
    assert backoff_seconds(Reason.THROTTLED, 1, random.Random(1), 17.0, by_chance=4) == 17.0


@pytest.mark.parametrize(
    "reason", [reason for reason in Reason if BOUNDS[reason].remedy in {Remedy.FAIL, Remedy.VANISH}]
)
def test_what_is_permanent_is_asked_for_once(reason):
    assert BOUNDS[reason].tries == 1
    assert next_page_try(reason, 0) is None


@pytest.mark.parametrize("reason", [reason for reason in Reason if BOUNDS[reason].remedy is Remedy.STOP])
def test_a_page_that_is_refused_for_good_is_asked_for_again_soon_and_at_the_end(reason):
    """It may be by chance; and where it ends the job, the page is work for the next run, not a failure."""
    assert BOUNDS[reason].tries == 1
    assert [next_page_try(reason, passes) for passes in range(3)] == [30.0, LAST_PASS, None]


def test_later_passes_are_due_after_half_a_minute_five_minutes_and_everything_else():
    assert [next_try(passes) for passes in range(4)] == [30.0, 300.0, LAST_PASS, None]
    assert math.isinf(LAST_PASS)


def test_all_passes_are_as_much_sooner_as_the_first():
    assert [next_try(passes, first_seconds=3.0) for passes in range(4)] == [3.0, 30.0, LAST_PASS, None]
    assert next_page_try(Reason.TIMEOUT, 2, first_seconds=0.3) == pytest.approx(1.2)


@pytest.mark.parametrize(
    "reason", [Reason.TIMEOUT, Reason.THROTTLED, Reason.BANNED, Reason.SERVER_ERROR, Reason.REDIRECTED]
)
def test_a_page_that_is_withheld_is_tried_for_a_quarter_of_an_hour_and_once_more_at_the_end(reason):
    waits = [next_page_try(reason, passes) for passes in range(8)]

    assert waits[-2:] == [LAST_PASS, None]
    assert sum(waits[:-2]) > 900


HOUR = 3600.0


class Longest:
    def random(self):
        return 1.0


def test_every_reason_has_a_row():
    assert list(BOUNDS) == sorted(Reason, key=list(BOUNDS).index)
    assert set(BOUNDS) == set(Reason)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_bound_in_tries_and_in_time(reason):
    bound = BOUNDS[reason]
    waits = sum(backoff_seconds(reason, attempt, Longest()) for attempt in range(1, bound.tries))

    assert 1 <= bound.tries <= 8
    assert bound.first_seconds <= bound.longest_seconds
    assert waits <= 300.0  # in one pass, at one endpoint
    assert sum(PASSES[:-1]) + sum(PAGE_PASSES[:-1]) < HOUR


@pytest.mark.parametrize("reason", [reason for reason in Reason if BOUNDS[reason].tries == 1])
def test_what_is_asked_for_once_waits_for_nothing(reason):
    assert backoff_seconds(reason, 1, Longest()) == 0.0


@pytest.mark.parametrize("reason", list(Reason))
def test_what_is_final_comes_in_no_later_pass_and_what_passes_does(reason):
    bound = BOUNDS[reason]

    if bound.remedy in {Remedy.FAIL, Remedy.VANISH, Remedy.HOLD}:
        assert (bound.passes, bound.tries) == (False, 1)
    if bound.remedy in {Remedy.SLOW, Remedy.RETRY, Remedy.RESTART, Remedy.STOP}:
        assert bound.passes


def test_only_what_refuses_everybody_concerns_the_whole_source():
    stops = {reason for reason in Reason if BOUNDS[reason].remedy is Remedy.STOP}

    assert {reason for reason in Reason if BOUNDS[reason].scope is Scope.SOURCE} == stops | {Reason.CLOCK}
