"""The table of what bounds each reason."""

import pytest

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.retry import PAGE_PASSES, PASSES, backoff_seconds
from bucketpull.domain.trouble import BOUNDS, Scope

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
