"""Two endpoints that may lie, and a model that knows the truth: nothing false counts as proven, nothing true is refused."""

from contextlib import closing
from hashlib import md5

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.downloader.rig import Rig, records_of

from bucketpull.domain.errors import Reason
from bucketpull.downloader.parameters import Bounds
from bucketpull.sources.upyun.config import UpyunConfig
from bucketpull.sources.upyun.source import UpyunSource
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

LISTED = 1_600_000_000
DATE = ("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT")
OLDER = ("Last-Modified", "Sun, 13 Sep 2020 11:26:40 GMT")
JPEG = ("Content-Type", "image/jpeg")
HTML = ("Content-Type", "text/html")
OPAQUE = ("ETag", '"v-1"')
WRONG = ("ETag", f'"{"0" * 32}"')
KEY = b"d/a.jpg"


def etag(body, weak=""):
    return ("ETag", f'{weak}"{md5(body).hexdigest()}"')


# The object itself, however odd it may look.
TRUE = {
    "plain": lambda body: Answer(body=body, headers=(JPEG, etag(body), DATE)),
    "no md5": lambda body: Answer(body=body, headers=(JPEG, DATE)),
    "multipart": lambda body: Answer(body=body, headers=(JPEG, WRONG, DATE)),
    "html": lambda body: Answer(body=body, headers=(HTML, OPAQUE, DATE)),
    "html with md5": lambda body: Answer(body=body, headers=(HTML, etag(body), DATE)),
    "encoded": lambda body: Answer(body=body, headers=(JPEG, ("Content-Encoding", "gzip"), OPAQUE)),
    "encoded with md5": lambda body: Answer(body=body, headers=(JPEG, ("Content-Encoding", "utf-8"), etag(body))),
    "weak": lambda body: Answer(body=body, headers=(JPEG, etag(body, "W/"), DATE)),
    "absurd": lambda body: Answer(body=body, headers=(JPEG, ("Last-Modified", "9" * 400), ("Age", "-1"))),
}  # fmt: skip


def flipped(body, place):
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


# Something else. What a lie states of itself is the truth's: a lie that is consistent cannot be found out by anybody.
FALSE = {
    "flipped": lambda body, turn: Answer(body=flipped(body, turn % len(body)), headers=(JPEG, etag(body), DATE)),
    "flipped alike": lambda body, turn: Answer(body=flipped(body, 3), headers=(JPEG, etag(body), DATE)),
    "short": lambda body, turn: Answer(body=body[:-1], headers=(JPEG, etag(body), DATE)),
    "page": lambda body, turn: Answer(body=b"<html>busy</html>".ljust(300), headers=(HTML,)),
    "slow down": lambda body, turn: Answer(body=b'{"code":42900001,"msg":"too many requests"}'.ljust(300), headers=(HTML,)),
    "hidden": lambda body, turn: Answer(body=body[:4], headers=(("x-error-code", "50300006"),)),
    "listing": lambda body, turn: Answer(body=body, headers=(("x-upyun-list-iter", "abc"),)),
    "forbidden": lambda body, turn: Answer(403, body),
    "throttled": lambda body, turn: Answer(429, body),
    "broken": lambda body, turn: Answer(503, body),
    "moved": lambda body, turn: Answer(302, body, (("Location", "https://elsewhere.example/a.jpg"),)),
    "cut": lambda body, turn: Answer(body=body[:5], failure=Reason.RESET),
}  # fmt: skip
OF_THE_CDN = {
    "old": lambda body, turn: Answer(body=body[::-1], headers=(JPEG, etag(body[::-1]), OLDER)),
    "missing": lambda body, turn: Answer(404, body),
}


def answer_of(kind, body, turn):
    if kind in TRUE:
        return TRUE[kind](body)
    return (FALSE | OF_THE_CDN)[kind](body, turn)


def pull(truth, listed, cdn, rest, verify, streamed):
    """Pull one object in as many passes as it gets; each endpoint's answers come in turn. Return the end, and the bytes.

    Another object is always given, and kept in memory: that the service is well is beyond doubt.
    """
    turns = {"cdn": 0, "rest": 0}
    kinds = {"cdn": cdn, "rest": rest}

    def answer(request):
        if "/w.jpg" in request.url:
            return answer_of("plain", b"well", 0)
        endpoint = "cdn" if "cdn.example" in request.url else "rest"
        turn = turns[endpoint]
        turns[endpoint] += 1
        return answer_of(kinds[endpoint][turn % len(kinds[endpoint])], truth, turn)

    config = UpyunConfig(bucket="b", operator="o", password="p", cdn_url="https://cdn.example")
    with closing(Rig(answer, source=UpyunSource(config), bounds=Bounds(streamed=streamed))) as rig:
        writer = rig.mount(verify=verify)
        rig.assign([part_of(b"d", {b"w.jpg": 4}, mtime=LISTED)], id=99)
        rig.settle(1)
        for passes in range(9):
            rig.assign([part_of(b"d", {b"a.jpg": listed}, mtime=LISTED)], id=passes, passes=passes)
            outcome = rig.settle(passes + 2)[passes + 1]
            if not outcome.deferred:
                break
        assert rig.transfers.memory.held == 0
    assert sum(turns.values()) < 100
    return outcome, writer.files.get(KEY)


TRUTHS = st.builds(
    bytes.__add__,
    st.sampled_from([b"\xff\xd8\xff\xe0", b"<svg", b"{", b"", b"  <"]),
    st.binary(min_size=8, max_size=40),
)


@settings(max_examples=400)
@given(
    truth=TRUTHS,
    off_by=st.sampled_from([0, 0, 0, 3, None]),
    cdn=st.lists(st.sampled_from([*TRUE, *FALSE, *OF_THE_CDN]), min_size=1, max_size=4),
    rest=st.lists(st.sampled_from([*TRUE, *FALSE]), min_size=1, max_size=4),
    verify=st.sampled_from(["size", "md5"]),
    streamed=st.sampled_from([5, 1 << 20]),
)
@example(
    b"\xff\xd8\xff\xe0" + bytes(27), 0, ["forbidden", "cut", "broken", "multipart"], ["hidden"], "size", 5
)
@example(b"{" + bytes(8), 3, ["plain"], ["html", "multipart", "throttled"], "size", 5)
@example(b"\xff\xd8\xff\xe0" + bytes(9), 3, ["throttled", "plain"], ["html with md5"], "size", 5)
def test_nothing_false_is_ever_stored_as_proven(truth, off_by, cdn, rest, verify, streamed):
    listed = -1 if off_by is None else len(truth) + off_by

    outcome, stored = pull(truth, listed, cdn, rest, verify, streamed)

    if outcome.stored and not outcome.doubts:
        assert stored == truth
    if outcome.stored:
        (record,) = records_of(outcome)
        assert bool(record.doubts) == bool(outcome.doubts)
        assert record.md5s in ([], [b""], [md5(stored).digest()])
    else:
        assert stored is None


@settings(max_examples=400)
@given(
    truth=TRUTHS,
    is_listed=st.booleans(),
    cdn=st.lists(st.sampled_from([*TRUE, *FALSE, *OF_THE_CDN]), min_size=1, max_size=4),
    rest=st.lists(st.sampled_from(list(TRUE)), min_size=1, max_size=4),
    verify=st.sampled_from(["size", "md5", "none"]),
    streamed=st.sampled_from([5, 1 << 20]),
)
@example(b"<svg" + bytes(20), True, ["html"], ["html"], "size", 1 << 20)
@example(b"\xff\xd8\xff\xe0" + bytes(7) + b"{", True, ["old"], ["plain"], "size", 1 << 20)
@example(bytes(20), True, ["multipart"], ["multipart"], "size", 5)
@example(bytes(20), True, ["encoded"], ["encoded"], "none", 1 << 20)
def test_nothing_true_is_refused_by_an_origin_that_gives_it(truth, is_listed, cdn, rest, verify, streamed):
    outcome, stored = pull(truth, len(truth) if is_listed else -1, cdn, rest, verify, streamed)

    if is_listed and verify != "none":
        assert (outcome.stored, stored) == (1, truth)
    assert outcome.stored == 1


@pytest.mark.parametrize("kind", list(TRUE))
def test_what_both_endpoints_give_alike_is_the_object_within_two_requests(kind):
    truth = b"{" + bytes(range(20))

    outcome, stored = pull(truth, len(truth), [kind], [kind], "size", 1 << 20)

    assert (outcome.stored, stored) == (1, truth)
    assert sum(outcome.retries.values()) <= 1


@pytest.mark.parametrize("streamed", [5, 1 << 20])
@pytest.mark.parametrize(
    "trouble", [["broken"], ["cut"], ["throttled", "throttled"], ["broken", "cut", "broken"]]
)
def test_failures_that_pass_do_not_cost_an_object_in_doubt_its_second_answer(trouble, streamed):
    truth = b"\xff\xd8\xff\xe0" + bytes(27)

    outcome, stored = pull(
        truth, len(truth), ["forbidden"], [*trouble, "multipart", "multipart"], "size", streamed
    )

    assert stored == truth
    assert outcome.doubts == {"checksum": 1}
