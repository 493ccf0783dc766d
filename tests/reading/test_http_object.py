"""Ranges and conditions as RFC 9110 has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import ConfigError
from bucketpull.reading import http_object

NOON = "Sun, 06 Nov 1994 08:49:37 GMT"
NOON_SECONDS = 784111777


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-4", [(0, 5)]),
        ("bytes=5-", [(5, 10)]),
        ("bytes=-3", [(7, 10)]),
        ("bytes=-30", [(0, 10)]),
        ("bytes=0-400", [(0, 10)]),
        ("Bytes = 0-0 , 9-9", [(0, 1), (9, 10)]),
        ("bytes=10-", []),
        ("bytes=-0", []),
        ("bytes=20-30", []),
        (f"bytes={10**26}-", []),
        (f"bytes=0-{10**26}", [(0, 10)]),
        (f"bytes=-{10**26}", [(0, 10)]),
        (f"bytes={'9' * 5000}-", None),
        ("bytes=0-1,50-60", [(0, 2)]),
        ("bytes=4-2", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("bytes=", None),
        ("items=0-1", None),
        ("0-1", None),
        ("bytes=0-9,0-9", None),
        ("bytes=" + ",".join(["0-0"] * 17), None),
    ],
)
def test_ranges(text, found):
    assert http_object.parse_ranges(text, 10) == found


@given(st.text(max_size=60), st.integers(0, 10**12))
def test_any_range_lies_in_the_object(text, size):
    for start, end in http_object.parse_ranges("bytes=" + text, size) or []:
        assert 0 <= start < end <= size


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, False),
        ({"If-None-Match": '"a", "tag"'}, True),
        ({"If-None-Match": 'W/"tag"'}, True),
        ({"If-None-Match": "*"}, True),
        ({"If-None-Match": '"other"', "If-Modified-Since": NOON}, False),
        ({"If-Modified-Since": NOON}, True),
        ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, False),
        ({"If-Modified-Since": "yesterday"}, False),
    ],
)
def test_not_modified(headers, expected):
    assert http_object.is_not_modified(headers, '"tag"', NOON_SECONDS) is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"If-Match": '"tag"'}, True),
        ({"If-Match": "*"}, True),
        ({"If-Match": 'W/"tag"'}, False),
        ({"If-Match": '"other"'}, False),
        ({"If-Unmodified-Since": NOON}, True),
        ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:36 GMT"}, False),
    ],
)
def test_preconditions(headers, expected):
    assert http_object.is_precondition_met(headers, '"tag"', NOON_SECONDS) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [(None, True), ('"tag"', True), ('W/"tag"', False), ('"other"', False), (NOON, True), ("x", False)],
)
def test_a_range_only_of_the_version_that_is_meant(condition, expected):
    headers = {} if condition is None else {"If-Range": condition}
    assert http_object.is_range_allowed(headers, '"tag"', NOON_SECONDS) is expected


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"a/b.JPG", "image/jpeg"),
        (b"b.webp", "image/webp"),
        (b"b.avif", "image/avif"),
        (b"style.css", "text/css"),
        (b"archive.tar.gz", "application/octet-stream"),
        (b"nosuffix", "application/octet-stream"),
        (b"\xff.png", "image/png"),
        (b"x.raw", "image/x-own"),
        (b"", "application/octet-stream"),
    ],
)
def test_kinds_of_content(key, kind):
    assert http_object.Types({"raw": "image/x-own"}).of(key) == kind


def test_a_file_of_types_is_read_and_its_mistakes_are_named():
    assert http_object.parse_types("# own\nimage/x-own  raw .RW2;\n\n", "f") == {
        "raw": "image/x-own",
        "rw2": "image/x-own",
    }
    with pytest.raises(ConfigError, match="--types f: line 2"):
        http_object.parse_types("image/png png\nnonsense\n", "f")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8378", "127.9.9.9", "[::1]:8378", "localhost:8378", "LOCALHOST", "objects", "10.0.0.7", "photos.example.com", "Photos.Example.com:80"],
)  # fmt: skip
def test_a_host_that_is_an_address_has_no_dot_or_was_named_is_answered(host):
    assert http_object.is_known_host(host, ["photos.example.com"])


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example:8378", "localhost.", "evil.", "photos.example.com.evil.example", "", "[::1", "a@127.0.0.1", "127.0.0.1:x", "a b", "\udcff"],
)  # fmt: skip
def test_any_other_host_may_be_a_foreign_name_that_was_made_to_point_here(host):
    assert not http_object.is_known_host(host, ["photos.example.com"])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text/html", True),
        ("image/svg+xml", True),
        ("application/xhtml+xml", True),
        ("text/xml", True),
        ("Text/HTML; charset=utf-8", True),
        ("application/x-made-up", True),
        ("image/jpeg", False),
        ("video/mp4", False),
        ("application/pdf", False),
    ],
)
def test_what_may_hold_a_script_is_shown_in_a_sandbox(kind, expected):
    """A browser's viewer of PDF does not start in one."""
    assert http_object.may_run_scripts(kind) == expected
