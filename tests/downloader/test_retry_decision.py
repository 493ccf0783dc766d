"""Each reason leads on by one way, and every way ends."""

import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Lane
from bucketpull.downloader.retry_decision import Course, course

CDN_FIRST = {"lane": Lane.CDN, "more_lanes": True}
ORIGIN = {"lane": Lane.REST, "more_lanes": False}


def way(reason, tries=1, mismatched=False, passes=0, **where):
    return course(reason, tries=tries, mismatched=mismatched, passes=passes, **where)


@pytest.mark.parametrize(
    ("reason", "at_the_edge", "at_the_origin"),
    [
        (Reason.GONE, Course.GONE, Course.GONE),
        (Reason.MISSING, Course.NEXT_LANE, Course.GONE),
        (Reason.SIZE, Course.NEXT_LANE, Course.FAIL),
        (Reason.CHECKSUM, Course.NEXT_LANE, Course.AT_ONCE),
        (Reason.TRANSFORMED, Course.NEXT_LANE, Course.FAIL),
        (Reason.WRONG_CONTENT, Course.NEXT_LANE, Course.FAIL),
        (Reason.REDIRECTED, Course.NEXT_LANE, Course.FAIL),
        (Reason.FORBIDDEN, Course.NEXT_LANE, Course.FAIL),
        (Reason.CLOCK, Course.AT_ONCE, Course.AT_ONCE),
        (Reason.RANGE, Course.AGAIN, Course.AGAIN),
        (Reason.THROTTLED, Course.AGAIN, Course.AGAIN),
        (Reason.BANNED, Course.AGAIN, Course.AGAIN),
        (Reason.SERVER_ERROR, Course.AGAIN, Course.AGAIN),
        (Reason.TIMEOUT, Course.AGAIN, Course.AGAIN),
        (Reason.REJECTED, Course.FAIL, Course.FAIL),
        (Reason.NOT_A_FILE, Course.FAIL, Course.FAIL),
        (Reason.CREDENTIALS, Course.DEFER, Course.DEFER),
        (Reason.NO_BUCKET, Course.DEFER, Course.DEFER),
    ],
)
def test_the_first_answer_of_each_kind(reason, at_the_edge, at_the_origin):
    assert way(reason, **CDN_FIRST) is at_the_edge
    assert way(reason, **ORIGIN) is at_the_origin


def test_an_edge_alone_cannot_say_that_an_object_is_gone():
    assert way(Reason.MISSING, lane=Lane.CDN, more_lanes=False) is Course.FAIL


def test_a_second_wrong_checksum_is_kept():
    assert way(Reason.CHECKSUM, mismatched=True, **ORIGIN) is Course.KEEP
    assert way(Reason.CHECKSUM, tries=2, **ORIGIN) is Course.KEEP


def test_patience_ends_in_a_later_pass_and_the_last_pass_in_a_failure():
    assert way(Reason.CONNECT, tries=99, **CDN_FIRST) is Course.DEFER
    assert way(Reason.CONNECT, tries=99, passes=99, **CDN_FIRST) is Course.FAIL


def test_an_edge_that_always_fails_on_an_object_is_passed_over():
    assert way(Reason.TRUNCATED, tries=99, **CDN_FIRST) is Course.NEXT_LANE
    assert way(Reason.TRUNCATED, tries=99, **ORIGIN) is Course.DEFER


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_comes_to_an_end(reason):
    for where in (CDN_FIRST, ORIGIN):
        assert way(reason, tries=99, passes=99, **where) not in {Course.AGAIN, Course.AT_ONCE, Course.DEFER}
