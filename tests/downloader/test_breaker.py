"""Few equal refusals tell enough; one good answer closes the case."""

from bucketpull.domain.errors import Reason
from bucketpull.downloader.breaker import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker, Trip


def trips(breaker, reason, count):
    return [breaker.bad(reason) for _ in range(count)]


def test_equal_refusals_without_any_success_are_fatal():
    assert trips(Breaker(alike=5), Reason.FORBIDDEN, 5) == [Trip.NOTHING] * 4 + [Trip.FATAL]


def test_a_success_or_another_reason_begins_the_count_again():
    breaker = Breaker(alike=3)
    trips(breaker, Reason.FORBIDDEN, 2)
    assert breaker.bad(Reason.REDIRECTED) is Trip.NOTHING
    assert breaker.bad(Reason.FORBIDDEN) is Trip.NOTHING
    breaker.good()
    assert trips(breaker, Reason.FORBIDDEN, 2) == [Trip.NOTHING] * 2


def test_refused_credentials_need_only_a_few_even_after_successes():
    breaker = Breaker(alike=20, stops=3)
    breaker.good()
    assert trips(breaker, Reason.CREDENTIALS, 3) == [Trip.NOTHING] * 2 + [Trip.FATAL]


def test_a_lane_that_was_good_rests_twice_as_long_each_time_and_is_forgiven():
    breaker = Breaker(alike=3)
    breaker.good()
    pauses = []
    for _ in range(8):
        while breaker.bad(Reason.FORBIDDEN) is not Trip.PAUSE:
            pass
        pauses.append(breaker.pause_seconds)
        breaker.rested()

    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    breaker.good()
    assert breaker.pause_seconds == FIRST_PAUSE_SECONDS


def test_after_a_rest_one_refusal_is_enough():
    breaker = Breaker(alike=20)
    breaker.good()
    trips(breaker, Reason.FORBIDDEN, 20)
    breaker.rested()
    assert breaker.bad(Reason.FORBIDDEN) is Trip.PAUSE
