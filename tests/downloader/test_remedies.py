"""Each reason leads to one decision, and every object ends."""

import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.retry import tries_by_chance
from bucketpull.downloader.remedies import Decision, decide

CDN_FIRST = {"is_origin": False, "more_routes": True}
ORIGIN = {"is_origin": True, "more_routes": False}


def target(reason, tries=1, passes=0, **where):
    return decide(reason, tries=tries, passes=passes, **where)


@pytest.mark.parametrize(
    ("reason", "at_the_edge", "at_the_origin"),
    [
        (Reason.GONE, Decision.GONE, Decision.GONE),
        (Reason.MISSING, Decision.NEXT_ROUTE, Decision.GONE),
        (Reason.SIZE, Decision.NEXT_ROUTE, Decision.AT_ONCE),
        (Reason.CHECKSUM, Decision.NEXT_ROUTE, Decision.AT_ONCE),
        (Reason.TRANSFORMED, Decision.NEXT_ROUTE, Decision.FAIL),
        (Reason.WRONG_CONTENT, Decision.NEXT_ROUTE, Decision.FAIL),
        (Reason.REDIRECTED, Decision.NEXT_ROUTE, Decision.FAIL),
        (Reason.FORBIDDEN, Decision.NEXT_ROUTE, Decision.FAIL),
        (Reason.CLOCK, Decision.AT_ONCE, Decision.AT_ONCE),
        (Reason.RANGE, Decision.AGAIN, Decision.AGAIN),
        (Reason.THROTTLED, Decision.AGAIN, Decision.AGAIN),
        (Reason.BANNED, Decision.AGAIN, Decision.AGAIN),
        (Reason.SERVER_ERROR, Decision.AGAIN, Decision.AGAIN),
        (Reason.TIMEOUT, Decision.AGAIN, Decision.AGAIN),
        (Reason.REJECTED, Decision.NEXT_ROUTE, Decision.FAIL),
        (Reason.NOT_A_FILE, Decision.NEXT_ROUTE, Decision.FAIL),
        (Reason.CREDENTIALS, Decision.DEFER, Decision.DEFER),
        (Reason.NO_BUCKET, Decision.DEFER, Decision.DEFER),
    ],
)
def test_the_first_answer_of_each_kind(reason, at_the_edge, at_the_origin):
    assert target(reason, **CDN_FIRST) is at_the_edge
    assert target(reason, **ORIGIN) is at_the_origin


def test_an_edge_alone_cannot_say_that_an_object_is_gone():
    assert target(Reason.MISSING, is_origin=False, more_routes=False) is Decision.FAIL


@pytest.mark.parametrize(("share", "tries"), [(0.0, 3), (0.02, 3), (0.25, 5), (0.9, 8)])
def test_an_object_is_singled_out_when_it_is_refused_more_often_than_chance_does_it(share, tries):
    found = [
        target(Reason.THROTTLED, tries=n, by_chance=tries_by_chance(Reason.THROTTLED, share), **CDN_FIRST)
        for n in range(1, 9)
    ]
    assert found.index(Decision.NEXT_ROUTE) + 1 == tries


@pytest.mark.parametrize(("share", "tries"), [(0.0, 8), (0.25, 12), (0.9, 16)])
def test_what_is_refused_by_chance_takes_no_tries_away_where_there_is_no_other_endpoint(share, tries):
    found = [
        target(Reason.THROTTLED, tries=n, by_chance=tries_by_chance(Reason.THROTTLED, share), **ORIGIN)
        for n in range(1, 18)
    ]
    assert found.index(Decision.DEFER) + 1 == tries


@pytest.mark.parametrize("reason", [Reason.CHECKSUM, Reason.SIZE])
def test_a_doubt_that_a_second_answer_of_the_origin_does_not_resolve_is_a_failure(reason):
    assert target(reason, tries=2, **ORIGIN) is Decision.FAIL


def test_patience_ends_in_a_later_pass_and_the_last_pass_in_a_failure():
    assert target(Reason.CONNECT, tries=99, **ORIGIN) is Decision.DEFER
    assert target(Reason.CONNECT, tries=99, passes=99, **ORIGIN) is Decision.FAIL


@pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.THROTTLED, Reason.STALLED, Reason.CONNECT])
def test_an_edge_that_always_fails_on_an_object_is_passed_over(reason):
    assert target(reason, tries=99, **CDN_FIRST) is Decision.NEXT_ROUTE
    assert target(reason, tries=99, **ORIGIN) is Decision.DEFER


def test_an_edge_that_throttles_one_object_again_and_again_is_passed_over_soon():
    assert target(Reason.THROTTLED, tries=2, **CDN_FIRST) is Decision.AGAIN
    assert target(Reason.THROTTLED, tries=3, **CDN_FIRST) is Decision.NEXT_ROUTE
    assert target(Reason.THROTTLED, tries=3, **ORIGIN) is Decision.AGAIN


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_to_an_end(reason):
    for where in (CDN_FIRST, ORIGIN):
        assert target(reason, tries=99, passes=99, **where) not in {
            Decision.AGAIN,
            Decision.AT_ONCE,
            Decision.DEFER,
        }
