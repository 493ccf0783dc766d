"""The short way of judging finds what the long way finds, whatever was judged before."""

from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.http_exchange import NUMBERS, Response, Wanted
from bucketpull.sources.upyun.source import FastPath
from bucketpull.sources.upyun.verdicts import quick

LINES = [
    'ETag: "{:032x}"',
    'ETag: "{:x}"',
    'ETag: "{:x}-{:x}"',
    'ETag: W/"{:032x}"',
    "etag: {:032x}",
    "Content-MD5: {:032x}",
    "content-md5: {:x}",
    "Content-Type: image/jpeg",
    "Content-Type: text/html",
    "Content-Encoding: identity",
    "X-Error-Code: {}",
    "Last-Modified: Sun, 13 Sep 2020 12:26:40 GMT",
    "x-upyun-list-iter: {:x}",
]
ANSWERS = st.builds(
    lambda lines, numbers, status, body, shaped: (lines, numbers, status, body, shaped),
    st.lists(st.sampled_from(LINES), max_size=5),
    st.lists(st.integers(0, 2**128 - 1), min_size=5, max_size=5),
    st.sampled_from([200, 200, 200, 206, 404]),
    st.sampled_from([b"", b"\xff\xd8", b"<html>", b"{}"]),
    st.booleans(),
)


def response(lines, numbers, status, body, shaped):
    written = [line.format(number, number) for line, number in zip(lines, numbers, strict=False)]
    head = "\r\n".join([f"HTTP/1.1 {status} OK", f"Content-Length: {len(body)}", *written, "", ""]).encode()
    shape = head.translate(None, NUMBERS) if shaped else b""
    # A large object's bytes have gone to the disk.
    chunks = [body] if body and not lines[4:] else []
    return Response(status, [head], chunks, len(body), 0.1, shape=shape)


@given(st.lists(ANSWERS, max_size=20), st.sampled_from(["cdn", "rest"]), st.sampled_from([b"a.jpg", b"a"]))
def test_an_answer_like_an_earlier_one_is_judged_as_if_it_were_the_first(answers, endpoint, name):
    usual, wanted = FastPath(endpoint, None), Wanted(b"", name, 2, -1, "", "")
    for each in answers + answers:
        came = response(*each)
        assert usual.judge(wanted, came) == quick(wanted, endpoint, came)
