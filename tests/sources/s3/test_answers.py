"""Error answers become reasons: by code, by status where there is no code, and never an exception."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.exchange import Response
from bucketpull.domain.retry import REMEDIES
from bucketpull.sources.s3.answers import CODES, complaint


def _answer(status: int, body: bytes, *headers: bytes) -> Response:
    lines = [b"HTTP/1.1 %d X\r\n" % status, *(line + b"\r\n" for line in headers), b"\r\n"]
    return Response(status, lines, [body] if body else [], len(body), 0.1)


def _read(response: Response):
    return complaint(response, response.headers())


def _error(code: str, extra: str = "") -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message></Message>{extra}</Error>'.encode()


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (503, "SlowDown", Reason.THROTTLED),
        (503, "ServiceUnavailable", Reason.THROTTLED),
        (403, "RequestTimeTooSkewed", Reason.CLOCK),
        (403, "InvalidAccessKeyId", Reason.CREDENTIALS),
        (403, "SignatureDoesNotMatch", Reason.CREDENTIALS),
        (400, "ExpiredToken", Reason.CREDENTIALS),
        (403, "AccessDenied", Reason.PERMISSION),
        (404, "NoSuchBucket", Reason.NO_BUCKET),
        (404, "NoSuchKey", Reason.GONE),
        (301, "PermanentRedirect", Reason.REGION),
        (403, "InvalidObjectState", Reason.ARCHIVED),
        (412, "PreconditionFailed", Reason.RANGE),
        (416, "InvalidRange", Reason.RANGE),
        (500, "InternalError", Reason.SERVER_ERROR),
        (501, "NotImplemented", Reason.REJECTED),
        (400, "InvalidArgument", Reason.REJECTED),
    ],
)
def test_a_code_decides_and_the_detail_names_it(status, code, reason):
    said = _read(_answer(status, _error(code)))
    assert said.reason is reason
    assert code in said.detail


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (503, b"", Reason.THROTTLED),
        (429, b"slow", Reason.THROTTLED),
        (403, b"<html>no</html>", Reason.PERMISSION),
        (404, b"", Reason.GONE),
        (502, b"<html>", Reason.SERVER_ERROR),
        (302, b"", Reason.REDIRECTED),
        (400, b"Bad Request", Reason.REJECTED),
    ],
)
def test_without_a_code_the_status_decides(status, body, reason):
    assert _read(_answer(status, body)).reason is reason


def test_the_region_of_a_bucket_is_told_by_header_or_by_body():
    by_header = _answer(301, b"", b"x-amz-bucket-region: eu-central-1")
    by_body = _answer(400, _error("AuthorizationHeaderMalformed", "<Region>cn-north-1</Region>"))
    assert (_read(by_header).reason, _read(by_header).region) == (Reason.REGION, "eu-central-1")
    assert (_read(by_body).reason, _read(by_body).region) == (Reason.REGION, "cn-north-1")


def test_a_malformed_key_is_no_wrong_region():
    assert _read(_answer(400, _error("AuthorizationHeaderMalformed"))).reason is Reason.CREDENTIALS


def test_an_expired_token_is_called_that_and_stops_the_job():
    said = _read(_answer(400, _error("ExpiredToken")))
    assert "the session token has expired" in said.detail
    assert REMEDIES[said.reason] is Remedy.STOP


def test_every_code_has_a_reason_with_a_remedy():
    assert all(reason in REMEDIES for reason in CODES.values())


@given(status=st.integers(0, 999), body=st.binary(max_size=300))
def test_any_answer_is_read_without_an_exception_and_told_in_a_line(status, body):
    said = _read(_answer(status, body))
    assert said.reason in REMEDIES
    assert len(said.detail) <= 300
    assert "\n" not in said.detail
