"""User limits that change while a job runs: what a new rate is counted from, and what a coordinator that starts again takes over."""

import pytest

from bucketpull.domain.user_limits import Limits, Steering, TokenBucket

_CHANGED = Steering({"rate": "200.0"}, Limits(7, 50.0, 3e6, paused=True), "00:00,3M 12:00,off")


def test_with_the_same_options_everything_stays_as_it_was_changed():
    assert _CHANGED.under({"rate": "200.0"}, Limits(None, 200.0)) is _CHANGED


@pytest.mark.parametrize("options", [{}, {"rate": "90.0"}, {"rate": "200.0", "bandwidth": "5M"}])
def test_other_options_hold_and_a_pause_stays(options):
    asked = Limits(None, 90.0, 5e6)
    found = _CHANGED.under(options, asked)
    assert found == Steering(options, Limits(None, 90.0, 5e6, paused=True), options.get("bandwidth"))


@pytest.mark.parametrize("slow", [0.01, 0.0])
def test_a_higher_rate_ends_the_wait_of_a_lower_one(slow):
    bucket = TokenBucket(slow)
    bucket.take(10.0)
    assert bucket.delay(11.0) > 50.0

    bucket.set_rate(100.0)

    assert bucket.delay(11.0) == 0.0


def test_a_lower_rate_counts_from_the_last_request():
    bucket = TokenBucket(100.0)
    bucket.take(10.0)

    bucket.set_rate(0.1)

    assert bucket.delay(11.0) == pytest.approx(9.0, abs=0.1)
