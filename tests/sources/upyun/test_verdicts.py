"""Every row of the contract's table of errors (9.2): what it is called here, and what is done about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listing_world import answer, ask_for, judge_of, source

from bucketpull.domain.errors import AnswerError, Reason, Remedy
from bucketpull.domain.model import Position
from bucketpull.domain.retry import BOUNDS
from bucketpull.sources.upyun.verdicts import cdn_reason, complaint, rest_reason, retry_after

_OBJECT_FAILS = (40000000, 40000030, 40001000, 40001004, 40001006, 40001008, 40001021, 40011057, 40300001, 40300002, 40300003, 40300014, 40300031, 40300032, 40300033, 40300034)  # fmt: skip
_FATAL = (40100001, 40100003, 40100004, 40100005, 40100006, 40100007, 40100008, 40100009, 40100010, 40100011, 40100012, 40100013, 40100014, 40100015, 40100016, 40100017, 40100018, 40100019, 40100020, 40100021, 40100022, 40100023, 40100024, 40100025)  # fmt: skip
_SLOW = (40310003, 42900001, 42900002, 42900003, 42900004, 42900005, 42900006, 42900007)
_RETRY = (50300000, 50300006, 50300023, 50300026, 50300028, 50300030, 50300031, 50300032, 50300034, 50300035, 50300041, 50300044)  # fmt: skip
_ROWS = [
    *((code, Remedy.FAIL) for code in (*_OBJECT_FAILS, 40300015, 40600001, 40600002)),
    *((code, Remedy.STOP) for code in _FATAL),
    *((code, Remedy.SLOW) for code in _SLOW),
    *((code, Remedy.RETRY) for code in (*_RETRY, 40001005, 40800001, 49900000, 50000000, 50200000, 50400000)),
    *((code, Remedy.RESTART) for code in (40001161, 41200001)),
    *((code, Remedy.VANISH) for code in (40400001, 40401004, 40401005)),
    (40100002, Remedy.RESIGN),
]
_CDN_ROWS = [
    *(
        (code, Remedy.ORIGIN)
        for code in (
            40310001,
            40310002,
            40310011,
            40310012,
            40310013,
            40310014,
            40310015,
            40310020,
            40310021,
            40310022,
            40110910,
            40010040,
            40400001,
            40300015,
            30200000,
        )
    ),
    *((code, Remedy.STOP) for code in (40010041, 40510001, 40510004)),
    *((code, Remedy.SLOW) for code in (40310003, 42900001, 42900004)),
    *((code, Remedy.RESTART) for code in (41610001, 41610002, 41610003, 41210001)),
    *((code, Remedy.RETRY) for code in (50201001, 50202002, 50301001, 50303017, 50400001, 50404004)),
]


@pytest.mark.parametrize(("code", "remedy"), _ROWS)
def test_each_code_of_the_rest_api_has_its_remedy(code, remedy):
    assert BOUNDS[rest_reason(code // 100_000, code)].remedy is remedy


@pytest.mark.parametrize(("code", "remedy"), _CDN_ROWS)
def test_each_code_of_the_cdn_has_its_remedy(code, remedy):
    assert BOUNDS[cdn_reason(code // 100_000, code)].remedy is remedy


@pytest.mark.parametrize(("code", "remedy"), _ROWS)
@pytest.mark.parametrize("form", ["body", "header", "both"])
def test_an_object_refused_by_rest_is_judged_by_the_code_wherever_it_stands(code, remedy, form):
    body = b'{"msg":"words","code":%d,"id":"1"}' % code if form != "header" else b""
    headers = {"X-Error-Code": str(code)} if form != "body" else {}
    headers["Date"] = "Wed, 09 Nov 2016 14:26:58 GMT"

    verdict = judge_of(source(), b"a.jpg", 10, "rest", answer(code // 100_000, body, headers), 1e9)

    assert BOUNDS[verdict.reason].remedy is remedy
    assert str(code) in verdict.detail


@pytest.mark.parametrize(("code", "remedy"), _CDN_ROWS)
def test_an_object_refused_by_the_cdn_is_judged_by_the_code_that_is_a_text_there(code, remedy):
    body = b'{"code":"%d","msg":"words"}' % code

    verdict = judge_of(source(cdn_url="http://cdn"), b"a.jpg", 10, "cdn", answer(code // 100_000, body), 1e9)

    assert BOUNDS[verdict.reason].remedy is remedy


@pytest.mark.parametrize(("code", "remedy"), _ROWS)
def test_a_page_refused_is_classed_alike(code, remedy):
    body = b'{"msg":"words","code":%d,"id":"1"}' % code
    refused = answer(code // 100_000, body, {"Date": "Wed, 09 Nov 2016 14:26:58 GMT"})

    with pytest.raises(AnswerError) as caught:
        source().read_page(Position(b"photos"), refused, 1e9)

    assert BOUNDS[caught.value.reason].remedy is remedy
    assert "words" in caught.value.detail


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, Reason.CREDENTIALS), (403, Reason.FORBIDDEN), (404, Reason.GONE), (408, Reason.TIMEOUT), (429, Reason.THROTTLED),
        (499, Reason.SERVER_ERROR), (500, Reason.SERVER_ERROR), (502, Reason.SERVER_ERROR), (503, Reason.SERVER_ERROR),
        (504, Reason.SERVER_ERROR), (302, Reason.REDIRECTED), (416, Reason.RANGE), (412, Reason.RANGE), (405, Reason.REJECTED),
    ],
)  # fmt: skip
def test_a_status_without_a_code_is_classed_by_itself(status, reason):
    assert judge_of(source(), b"a.jpg", 10, "rest", answer(status, b""), 1e9).reason is reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (302, Reason.REDIRECTED), (400, Reason.FORBIDDEN), (401, Reason.FORBIDDEN), (403, Reason.FORBIDDEN), (404, Reason.MISSING),
        (405, Reason.FORBIDDEN), (408, Reason.TIMEOUT), (416, Reason.RANGE), (429, Reason.THROTTLED), (503, Reason.SERVER_ERROR),
    ],
)  # fmt: skip
def test_a_refusal_of_the_cdn_without_a_code_is_doubtful_or_passing(status, reason):
    assert (
        judge_of(source(cdn_url="http://c"), b"a.jpg", 10, "cdn", answer(status, b""), 1e9).reason is reason
    )


def test_a_proxy_s_404_page_makes_nothing_vanish():
    page = answer(404, b"<html>not here</html>", {"Content-Type": "text/html"})

    assert judge_of(source(), b"a.jpg", 10, "rest", page, 1e9).reason is Reason.GARBAGE
    with pytest.raises(AnswerError) as caught:
        source().read_page(Position(b"photos"), page, 1e9)
    assert caught.value.reason is Reason.GARBAGE


def test_what_is_refused_at_the_root_concerns_the_whole_job():
    missing = answer(404, b'{"msg":"file or directory not found","code":40400001,"id":"1"}')
    for position, reason in [
        (Position(b""), Reason.NO_BUCKET),
        (Position(b"", "later"), Reason.GONE),
        (Position(b"x"), Reason.GONE),
    ]:
        with pytest.raises(AnswerError) as caught:
            source().read_page(position, missing, 1e9)
        assert caught.value.reason is reason

    with pytest.raises(AnswerError) as caught:
        source().read_page(Position(b""), answer(403, b""), 1e9)
    assert caught.value.reason is Reason.PERMISSION


def test_a_signature_that_fails_only_for_an_odd_name_does_not_stop_the_job():
    refused = answer(401, b'{"msg":"signature error","code":40100005,"id":"1"}')

    assert judge_of(source(), b"plain.jpg", 1, "rest", refused, 1e9).reason is Reason.CREDENTIALS
    assert judge_of(source(), "中.jpg".encode(), 1, "rest", refused, 1e9).reason is Reason.FORBIDDEN


def misdated(at):
    """Return the refusal of a request's date, by a server with this time of the day."""
    refusal = b'{"msg":"date offset error","code":40100002,"id":"1"}'
    return answer(401, refusal, {"Date": f"Wed, 09 Nov 2016 {at} GMT"})


def test_the_clock_is_corrected_once_and_then_it_is_not_the_clock():
    bucket = source()
    late = misdated("14:26:58")

    assert judge_of(bucket, b"a.jpg", 1, "rest", late, 1478701618.0 + 3600).reason is Reason.CLOCK
    request = ask_for(bucket, b"", b"a.jpg", 1, "rest", 1478701618.0 + 3601)
    assert "Date: Wed, 09 Nov 2016 14:26:59 GMT" in request.headers
    later = misdated("14:36:58")
    assert judge_of(bucket, b"a.jpg", 1, "rest", later, 1478701618.0 + 4200).reason is Reason.SKEW


def test_requests_that_were_on_their_way_when_the_clock_was_corrected_are_sent_again_too():
    """Two folders are listed at once with a wrong clock: the second one must not be refused for good."""
    bucket = source()
    late = misdated("14:26:58")
    reasons = []
    for folder in (b"a", b"b"):
        with pytest.raises(AnswerError) as caught:
            bucket.read_page(Position(folder), late, 1478701618.0 + 3600)
        reasons.append(caught.value.reason)
    assert reasons == [Reason.CLOCK, Reason.CLOCK]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("99999", 3600.0),
        ("Wed, 09 Nov 2016 14:27:00 GMT", 2.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("1.5", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after(value, 1478701618.0) == seconds


def test_throttling_says_how_long_to_wait():
    wait = {"msg": "x", "code": 0}
    for code, header, seconds in [
        (42900002, "", 2.0),
        (42900001, "", None),
        (42900001, "9", 9.0),
        (42900004, "", 120.0),
    ]:
        wait["code"] = code
        refused = answer(429, str(wait).replace("'", '"').encode(), {"Retry-After": header} if header else {})
        assert judge_of(source(), b"a", 1, "rest", refused, 1e9).retry_after_seconds == seconds


@given(st.integers(100, 599), st.binary(max_size=300), st.text(max_size=20))
def test_no_answer_is_too_odd_to_be_classed(status, body, code):
    response = answer(status, body)
    said = complaint(response, {"x-error-code": code})

    assert isinstance(rest_reason(said.status, said.code), Reason)
    assert isinstance(cdn_reason(said.status, said.code), Reason)
    assert len(said.detail) <= 300
