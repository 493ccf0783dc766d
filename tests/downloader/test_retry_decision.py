"""Each reason leads on by one way, and every way ends."""

import pytest

from bucketpull.domain.errors import Reason
from bucketpull.downloader.retry_decision import Course, course

CDN_FIRST = {"is_origin": False, "more_routes": True}
ORIGIN = {"is_origin": True, "more_routes": False}


def way(reason, tries=1, passes=0, **where):
    return course(reason, tries=tries, passes=passes, **where)


@pytest.mark.parametrize(
    ("reason", "at_the_edge", "at_the_origin"),
    [
        (Reason.GONE, Course.GONE, Course.GONE),
        (Reason.MISSING, Course.NEXT_ROUTE, Course.GONE),
        (Reason.SIZE, Course.NEXT_ROUTE, Course.AT_ONCE),
        (Reason.CHECKSUM, Course.NEXT_ROUTE, Course.AT_ONCE),
        (Reason.TRANSFORMED, Course.NEXT_ROUTE, Course.FAIL),
        (Reason.WRONG_CONTENT, Course.NEXT_ROUTE, Course.FAIL),
        (Reason.REDIRECTED, Course.NEXT_ROUTE, Course.FAIL),
        (Reason.FORBIDDEN, Course.NEXT_ROUTE, Course.FAIL),
        (Reason.CLOCK, Course.AT_ONCE, Course.AT_ONCE),
        (Reason.RANGE, Course.AGAIN, Course.AGAIN),
        (Reason.THROTTLED, Course.AGAIN, Course.AGAIN),
        (Reason.BANNED, Course.AGAIN, Course.AGAIN),
        (Reason.SERVER_ERROR, Course.AGAIN, Course.AGAIN),
        (Reason.TIMEOUT, Course.AGAIN, Course.AGAIN),
        (Reason.REJECTED, Course.NEXT_ROUTE, Course.FAIL),
        (Reason.NOT_A_FILE, Course.NEXT_ROUTE, Course.FAIL),
        (Reason.CREDENTIALS, Course.DEFER, Course.DEFER),
        (Reason.NO_BUCKET, Course.DEFER, Course.DEFER),
    ],
)
def test_the_first_answer_of_each_kind(reason, at_the_edge, at_the_origin):
    assert way(reason, **CDN_FIRST) is at_the_edge
    assert way(reason, **ORIGIN) is at_the_origin


def test_an_edge_alone_cannot_say_that_an_object_is_gone():
    assert way(Reason.MISSING, is_origin=False, more_routes=False) is Course.FAIL


@pytest.mark.parametrize("reason", [Reason.CHECKSUM, Reason.SIZE])
def test_a_doubt_that_a_second_answer_of_the_origin_does_not_resolve_is_a_failure(reason):
    assert way(reason, tries=2, **ORIGIN) is Course.FAIL


def test_patience_ends_in_a_later_pass_and_the_last_pass_in_a_failure():
    assert way(Reason.CONNECT, tries=99, **ORIGIN) is Course.DEFER
    assert way(Reason.CONNECT, tries=99, passes=99, **ORIGIN) is Course.FAIL


@pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.THROTTLED, Reason.STALLED, Reason.CONNECT])
def test_an_edge_that_always_fails_on_an_object_is_passed_over(reason):
    assert way(reason, tries=99, **CDN_FIRST) is Course.NEXT_ROUTE
    assert way(reason, tries=99, **ORIGIN) is Course.DEFER


def test_an_edge_that_throttles_one_object_again_and_again_is_passed_over_soon():
    assert way(Reason.THROTTLED, tries=2, **CDN_FIRST) is Course.AGAIN
    assert way(Reason.THROTTLED, tries=3, **CDN_FIRST) is Course.NEXT_ROUTE
    assert way(Reason.THROTTLED, tries=3, **ORIGIN) is Course.AGAIN


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_to_an_end(reason):
    for where in (CDN_FIRST, ORIGIN):
        assert way(reason, tries=99, passes=99, **where) not in {Course.AGAIN, Course.AT_ONCE, Course.DEFER}
