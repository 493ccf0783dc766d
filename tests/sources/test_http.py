"""What headers say of versions and parts."""

import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.sources.http import (
    CDN_STATUS,
    STATUS,
    misplaced,
    range_headers,
    reason_of,
    start_of,
    version_of,
)

_DATE = "Wed, 09 Nov 2016 14:26:58 GMT"


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"etag": '"abc"', "last-modified": _DATE}, '"abc"'),
        ({"etag": "abc", "last-modified": _DATE}, "abc"),
        ({"etag": 'W/"abc"', "last-modified": _DATE}, f"date:{_DATE}"),
        ({"etag": 'w/"abc"'}, ""),
        ({"last-modified": _DATE}, f"date:{_DATE}"),
        ({}, ""),
    ],
)
def test_a_version_is_the_strong_etag_as_it_came_else_the_date(headers, version):
    assert version_of(headers) == version


def test_the_rest_is_asked_for_on_the_condition_that_it_is_of_that_version():
    assert range_headers(5, '"abc"') == ("Range: bytes=5-", 'If-Match: "abc"')
    assert range_headers(5, "abc") == ("Range: bytes=5-", "If-Match: abc")
    assert range_headers(5, f"date:{_DATE}") == ("Range: bytes=5-", f"If-Unmodified-Since: {_DATE}")
    assert range_headers(5, "") == ("Range: bytes=5-",)


def _found(start, status=206, content_range="", received=60, version="v", size=100):
    headers = {"content-range": content_range} if content_range else {}
    response = Response(status, [], [b"x" * received], received, 0.1)
    verdict = misplaced(response, headers, version, start, Wanted(b"", b"a", size, -1, "", ""), "v")
    return verdict and verdict.reason


def test_a_part_is_taken_for_what_its_header_says_whatever_the_status():
    assert _found(40, content_range="bytes 40-99/100") is None
    assert _found(40, status=200, content_range="bytes 40-99/100") is None
    assert _found(40, content_range="bytes 41-99/100") is Reason.RANGE
    assert _found(40, content_range="bytes 40-99/*", version="w") is Reason.RANGE
    assert _found(40, content_range="bytes 40-99/200") is Reason.TRUNCATED
    assert _found(40) is Reason.RANGE
    assert _found(40, status=200) is Reason.RANGE
    assert _found(0, status=200) is None


@pytest.mark.parametrize(
    ("status", "content_range", "start"),
    [
        (200, "", 0),
        (206, "bytes 40-99/100", 40),
        (200, "bytes 40-99/100", 40),
        (206, "", -1),
        (206, "bytes x", -1),
    ],
)
def test_where_a_body_begins_is_what_its_header_says_and_not_what_was_asked_for(status, content_range, start):
    headers = {"content-range": content_range} if content_range else {}
    assert start_of(Response(status, [], [], 0, 0.1, Reason.RESET), headers) == start


@pytest.mark.parametrize(("size", "reason"), [(100, None), (101, Reason.RANGE), (-1, Reason.RANGE)])
def test_a_part_that_does_not_tell_of_how_many_bytes_ends_the_object_only_where_it_is_as_long_as_listed(
    size, reason
):
    """A server may send less than was asked for."""
    assert _found(40, content_range="bytes 40-99/*", size=size) is reason
    assert _found(40, content_range="bytes 40-99/100", size=size) is None


@pytest.mark.parametrize("table", [STATUS, CDN_STATUS])
def test_what_nobody_asked_for_is_no_redirect(table):
    assert reason_of(304, table) is Reason.GARBAGE
    assert reason_of(308, table) is Reason.REDIRECTED


def test_503_is_a_refusal_above_a_limit_as_429_is():
    assert reason_of(503) is reason_of(429) is Reason.THROTTLED
