import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.http_exchange import NUMBERS
from bucketpull.fetch.connection import LONGEST, HeadReader, may_begin, read_head


def head(*lines, status="HTTP/1.1 200 OK"):
    return "\r\n".join((status, *lines, "", "")).encode("latin-1")


@pytest.mark.parametrize(
    ("data", "known"),
    [
        (head("Content-Length: 20480", "ETag: x"), (200, 20480, False)),
        (head("content-length:0"), (200, 0, False)),
        (head("Content-Length: \t7 ", status="HTTP/1.1 206 Partial Content"), (206, 7, False)),
        (head("CONTENT-LENGTH: 7", "CONNECTION: Close", status="HTTP/1.1 404 Not Found"), (404, 7, True)),
        (head("Content-Length: 7", status="HTTP/1.1 429"), (429, 7, False)),
        (head("Content-Length: 7", "X-Door: closed"), (200, 7, False)),
        (head("Content-Length: 7", "Connection: keep-alive, close"), (200, 7, True)),
    ],
)
def test_a_usual_head_tells_status_length_and_whether_the_connection_goes_on(data, known):
    assert read_head(data) == known


@pytest.mark.parametrize(
    "data",
    [
        head("ETag: x"),
        head("Content-Length: -1"),
        head("Content-Length: +7"),
        head("Content-Length: 7, 7"),
        head("Content-Length: 0x7"),
        head("Content-Length: ²"),
        head("Content-Length: 9999999999999999"),
        head("Content-Length:"),
        head("Content-Length: 7", "Content-Length: 7"),
        head("Content-Length: 7", "Transfer-Encoding: chunked"),
        head("Transfer-Encoding: chunked", "Content-Length: 7"),
        head("Content-Length: 7", " folded"),
        head("Content-Length: 7", "\tfolded"),
        head("Content-Length: 7", "X: a\nb"),
        head("Content-Length: 7", "X: a\rb"),
        head("Content-Length: 7", "X: a\0b"),
        head("Content-Length: 7", status="HTTP/1.0 200 OK"),
        head("Content-Length: 7", status="HTTP/1.1 20 OK"),
        head("Content-Length: 7", status="HTTP/1.1 2000"),
        head("Content-Length: 7", status="HTTP/1.1 abc"),
        head("Content-Length: 7", status="ICY 200 OK"),
        head("Content-Length: 0", status="HTTP/1.1 100 Continue"),
        head("Content-Length: 0", status="HTTP/1.1 204 No Content"),
        head("Transfer-Encoding: chunked", status="HTTP/1.1 304 Not Modified"),
        head("ETag: x", " folded", status="HTTP/1.1 304 Not Modified"),
        head(),
    ],
)
def test_whatever_else_there_is_in_a_head_is_unusual(data):
    assert read_head(data) is None


@pytest.mark.parametrize("lines", [(), ("Content-Length: 7",), ("ETag: x", "Content-Length: 0")])
def test_an_answer_that_nothing_has_changed_has_no_body_whatever_length_it_states(lines):
    assert read_head(head(*lines, status="HTTP/1.1 304 Not Modified")) == (304, 0, False)
    closing = head(*lines, "Connection: close", status="HTTP/1.1 304 Not Modified")
    assert read_head(closing) == (304, 0, True)


@given(
    st.binary(max_size=300), st.sampled_from([b"", head("Content-Length: 7")[:-2], b"HTTP/1.1 200 OK\r\n"])
)
def test_no_bytes_surprise_it(noise, start):
    known = read_head(start + noise + b"\r\n\r\n")
    assert known is None or (200 <= known[0] <= 999 and known[1] >= 0)


@given(st.integers(0, 60))
def test_every_beginning_of_a_usual_head_may_become_one(length):
    assert may_begin(head("Content-Length: 20480", "ETag: x")[:length])


@pytest.mark.parametrize(
    "data", [b"\n", b"ICY", b"HTTP/1.0 ", b"HTTP/1.1 200 OK\n\n", b"HTTP/1.1 " + b"x" * LONGEST]
)
def test_what_cannot_become_a_usual_head_is_known_early(data):
    assert not may_begin(data)


LINES = [
    "Content-Length: {}",
    "content-length:  {} ",
    "CONTENT-LENGTH: {}, {}",
    'ETag: "{:x}"',
    'ETag: W/"{:x}"',
    "Content-Type: image/jpeg",
    "Content-Encoding: gzip",
    "Transfer-Encoding: chunked",
    "Connection: close",
    "Connection: keep-alive",
    "Date: Sun, 13 Sep 2020 12:26:{} GMT",
    " folded {}",
]
HEADS = st.builds(
    lambda lines, numbers, status: head(
        *(line.format(number, number) for line, number in zip(lines, numbers, strict=False)), status=status
    ),
    st.lists(st.sampled_from(LINES), max_size=6),
    st.lists(st.integers(0, 10**17), min_size=6, max_size=6),
    st.sampled_from(
        ["HTTP/1.1 200 OK", "HTTP/1.1 206 Partial Content", "HTTP/1.0 200 OK", "HTTP/1.1 404 OK"]
    ),
)


@given(st.lists(HEADS, max_size=30))
def test_a_head_like_an_earlier_one_is_read_as_if_it_were_the_first(found):
    heads = HeadReader()
    for each in found + found:
        known = read_head(each)
        assert heads.read(each) == (None if known is None else (*known, each.translate(None, NUMBERS)))
