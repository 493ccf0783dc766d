"""Whatever a service answers, to a listing or to an object: it is understood, or it is that answer's trouble and nobody else's."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import AnswerError
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.sources.registry import settings_of

NOW = 1.7e9
CREDENTIALS = {"operator": "o", "password": "p", "access_key": "a", "secret_key": "s"}
SOURCES = {
    "upyun": settings_of("upyun://b", {"cdn_url": "https://img.example.com", **CREDENTIALS}).checked().open(),
    "s3": settings_of("s3://b", {"api_url": "https://s3.example.com", "region": "eu-west-1", **CREDENTIALS})
    .checked()
    .open(),
}
WANTED = Wanted(b"a", b"b.jpg", 1000, 1_600_000_000, "", "")


def answer(body: bytes, *lines: bytes, status: int = 200) -> Response:
    head = [b"HTTP/1.1 %d X\r\n" % status, *(line + b"\r\n" for line in lines)]
    return Response(status, head, [body] if body else [], len(body), 0.1)


def listed(source, response):
    with contextlib.suppress(AnswerError):
        SOURCES[source].read_page(SOURCES[source].root(), response, NOW)
    usage = SOURCES[source].usage_query("https://api.example.com", NOW)
    if usage is not None:
        with contextlib.suppress(AnswerError):
            usage.read(response)


def judged(source, response):
    for endpoint in SOURCES[source].routes(WANTED.directory, WANTED.name, WANTED.size):
        for start, version in ((0, ""), (500, '"v"')):
            SOURCES[source].judge(WANTED, endpoint, response, NOW, start, version)


NUMBERS = [b"9" * 5000, b"-1", b"1e999", b"0x10", b"18446744073709551615", b"NaN", b"\xd9\xa1", b"1_000"]
DEEP = 1_000_000
BOMBS = {
    "lists": b"[" * DEEP,
    "objects": b'{"a":' * DEEP,
    "lists in files": b'{"files":' + b"[" * DEEP,
    "lists that are stepped over": b'{"files": [], "other": ' + b"[" * DEEP + b"]" * DEEP + b', "iter": "x"}',
    "lists in an entry": b'{"files": [{"name": "a", "x": ' + b"[" * DEEP,
    "no UTF-8": b'{"files": [{"name": "\xff\xfe", "length": 1, "type": "x", "last_modified": 1}], "iter": "x"}',
    "half a surrogate": rb'{"files": [{"name": "\ud800", "length": 1, "type": "x", "last_modified": 1}], "iter": "x"}',
    "elements": b'<?xml version="1.0"?><ListBucketResult>' + b"<a>" * DEEP,
    "one long element": b"<" + b"a" * DEEP,
    "entities": b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><ListBucketResult>&b;</ListBucketResult>',
    "an encoding that is none": b'<?xml version="1.0" encoding="x-none"?><ListBucketResult/>',
    "NULs": b"\0" * DEEP,
    "lines": b"\n" * DEEP,
    "tabs": b"\t" * DEEP,
    "blanks in an entry": b"<ListBucketResult><Contents><Key>a</Key><LastModified>x</LastModified><ETag>x</ETag>"
    + b" " * DEEP
    + b"</ListBucketResult>",
    "entries without an end": b"<ListBucketResult>"
    + b"<Contents><Key>" * (DEEP // 15)
    + b"</ListBucketResult>",
    "elements without an end": b"<ListBucketResult><Contents><Key>a</Key><LastModified>x</LastModified><ETag>x</ETag>"
    + b"<A>b</A>" * (DEEP // 8)
    + b"</ListBucketResult>",
    "fields without an end": b"<Error>" + b"<Code>" * (DEEP // 6),
    "references": b"<ListBucketResult><Contents><Key>"
    + b"&amp;" * (DEEP // 5)
    + b"</Key></Contents></ListBucketResult>",
    **{
        f"number {number[:12]!r}": b'{"files": [{"name": "a", "type": "image/jpeg", "length": %b, "last_modified": %b}], "iter": "x"}'
        % (number, number)
        for number in NUMBERS
    },
    **{
        f"lines with {number[:12]!r}": b"a.jpg\tN\t%b\t%b\nb\tF\t%b\t%b" % ((number,) * 4)
        for number in NUMBERS
    },
    **{
        f"XML with {number[:12]!r}": b"<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated><Contents><Key>a&#%b;</Key>"
        b"<LastModified>%b</LastModified><ETag>x</ETag><Size>%b</Size></Contents></ListBucketResult>"
        % ((number,) * 3)
        for number in NUMBERS
    },
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("status", [200, 403, 503])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_page_that_is_a_bomb_is_garbage_like_any_page(source, status, bomb):
    for lines in ((), (b"x-upyun-list-iter: x",), (b"Content-Type: application/json",)):
        listed(source, answer(bomb, *lines, status=status))


HEADERS = [
    b"Retry-After", b"ETag", b"Content-MD5", b"Last-Modified", b"Content-Range", b"Content-Length", b"Content-Type",
    b"Content-Encoding", b"x-upyun-list-iter", b"X-Error-Code", b"x-amz-version-id", b"x-amz-checksum-crc32",
    b"x-amz-checksum-sha256", b"Date", b"Age", b"Location", b"x-amz-storage-class", b"x-amz-meta-x", b"X-Upyun-Content-Length",
]  # fmt: skip
ABSURD = st.sampled_from(
    [
        *NUMBERS,
        b"",
        b"Mon, 99 Foo 99999 99:99:99 GMT",
        b"Fri, 31 Dec 999999999999 23:59:59 GMT",
        b"bytes 0-18446744073709551615/0",
        b"bytes " + b"9" * 5000 + b"-1/*",
        b'"' + b"a" * 60_000 + b'"',
        b"=" * 100,
        b"\xff\xfe\x00",
    ]
) | st.binary(max_size=60).map(lambda text: text.replace(b"\r", b"").replace(b"\n", b""))


@given(
    st.sampled_from(list(SOURCES)),
    st.integers(0, 999),
    st.lists(st.tuples(st.sampled_from(HEADERS), ABSURD), max_size=8),
    st.binary(max_size=80) | st.sampled_from([bomb[:100_000] for bomb in BOMBS.values()]),
)
def test_headers_however_absurd_are_the_trouble_of_their_answer_alone(source, status, headers, body):
    lines = [name + b": " + value for name, value in headers]
    response = answer(body, *lines, status=status)
    listed(source, response)
    judged(source, response)


@given(st.sampled_from(list(SOURCES)), st.binary(max_size=200), st.binary(max_size=200))
def test_bytes_that_are_no_head_and_no_page_are_the_trouble_of_their_answer_alone(source, head, body):
    response = Response(200, [head], [body] if body else [], len(body), 0.1)
    listed(source, response)
    judged(source, response)
