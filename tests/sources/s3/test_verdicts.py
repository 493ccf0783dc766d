"""Whether an answer is the object: the service's word is final, a CDN's is doubted, and never are other bytes taken."""

import hashlib
import zlib
from base64 import b64encode

import pytest
from awscrt.checksums import crc32c, crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.domain.retry import BOUNDS
from bucketpull.sources.s3 import verdicts
from bucketpull.sources.s3.verdicts import CODES, complaint


def _error_answer(status: int, body: bytes, *headers: bytes) -> Response:
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
    said = _read(_error_answer(status, _error(code)))
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
    assert _read(_error_answer(status, body)).reason is reason


def test_the_region_of_a_bucket_is_told_by_header_or_by_body():
    by_header = _error_answer(301, b"", b"x-amz-bucket-region: eu-central-1")
    by_body = _error_answer(400, _error("AuthorizationHeaderMalformed", "<Region>cn-north-1</Region>"))
    assert (_read(by_header).reason, _read(by_header).region) == (Reason.REGION, "eu-central-1")
    assert (_read(by_body).reason, _read(by_body).region) == (Reason.REGION, "cn-north-1")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (_error("TemporaryRedirect", "<Endpoint>b.s3.example.com</Endpoint>"), b"X: y"),
        (b"", b"Location: b.s3.example.com"),
    ],
)
def test_where_a_redirect_leads_is_told(body, headers):
    assert _read(_error_answer(307, body, headers)).detail.endswith(" redirects to b.s3.example.com")


def test_a_malformed_key_is_no_wrong_region():
    assert _read(_error_answer(400, _error("AuthorizationHeaderMalformed"))).reason is Reason.CREDENTIALS


def test_an_expired_token_is_called_that_and_stops_the_job():
    said = _read(_error_answer(400, _error("ExpiredToken")))
    assert "the session token has expired" in said.detail
    assert BOUNDS[said.reason].remedy is Remedy.STOP


def test_every_code_has_a_reason_with_a_remedy():
    assert all(reason in BOUNDS for reason in CODES.values())


@given(status=st.integers(0, 999), body=st.binary(max_size=300))
def test_any_answer_is_read_without_an_exception_and_told_in_a_line(status, body):
    said = _read(_error_answer(status, body))
    assert said.reason in BOUNDS
    assert len(said.detail) <= 300
    assert "\n" not in said.detail


BODY = b"the object's bytes"
MD5 = hashlib.md5(BODY).hexdigest()
WANTED = Wanted(b"", b"a.jpg", len(BODY), 1_700_000_000, "", "")


def _answer(status: int = 200, body: bytes = BODY, **headers: str) -> Response:
    lines = [f"{name.replace('_', '-')}: {value}\r\n".encode() for name, value in headers.items()]
    return Response(
        status,
        [b"HTTP/1.1 %d X\r\n" % status, *lines, b"\r\n"],
        [body] if body else [],
        len(body),
        0.1,
    )


def _judge(response: Response, start: int = 0, version: str = "", wanted: Wanted = WANTED):
    verdict = verdicts.quick(wanted, response) if start == 0 else None
    return verdict or verdicts.of_origin(wanted, response, 0.0, start, version)


def test_a_whole_object_is_taken_with_its_md5():
    verdict = _judge(_answer(ETag=f'"{MD5}"'))
    assert (verdict.reason, verdict.size, verdict.md5) == (None, len(BODY), MD5)


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": f'"{MD5}-3"'},
        {"ETag": f'"{MD5}"', "x_amz_server_side_encryption": "aws:kms"},
        {"ETag": f'"{MD5}"', "x_amz_server_side_encryption": "aws:kms:dsse"},
        {"ETag": f'"{MD5}"', "x_amz_server_side_encryption_customer_algorithm": "AES256"},
        {"ETag": '"0xABC"'},
        {},
    ],
)
def test_an_etag_that_is_no_md5_is_not_compared(headers):
    verdict = _judge(_answer(**headers))
    assert (verdict.reason, verdict.md5) == (None, "")


def test_an_etag_is_an_md5_with_the_services_own_encryption():
    assert _judge(_answer(ETag=f'"{MD5}"', x_amz_server_side_encryption="AES256")).md5 == MD5


def test_stored_gzip_is_the_object_as_it_is():
    assert _judge(_answer(Content_Encoding="gzip", ETag=f'"{MD5}"')).reason is None


_CRC = b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
_SHA = b64encode(hashlib.sha256(BODY).digest()).decode()
_SHA1 = b64encode(hashlib.sha1(BODY).digest()).decode()
_CRC32C = b64encode(crc32c(BODY).to_bytes(4, "big")).decode()
_CRC64 = b64encode(crc64nvme(BODY).to_bytes(8, "big")).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [("crc32", _CRC), ("crc32c", _CRC32C), ("crc64nvme", _CRC64), ("sha256", _SHA), ("sha1", _SHA1)],
)
@pytest.mark.parametrize("etag", ['"0123-2"', f'"{MD5}"'], ids=["parts", "KMS"])
def test_a_stated_checksum_is_compared_where_the_etag_is_no_md5(name, value, etag):
    headers = {f"x_amz_checksum_{name}": value, "ETag": etag, "x_amz_server_side_encryption": "aws:kms"}
    assert _judge(_answer(**headers)).reason is None
    wrong = _judge(_answer(body=BODY[::-1], **headers))
    assert wrong.reason is Reason.CHECKSUM
    assert wrong.doubtful, "two answers alike may still settle it"


def test_a_body_of_several_chunks_has_one_checksum():
    answer = _answer(x_amz_checksum_crc64nvme=_CRC64)
    answer.chunks[:] = [BODY[:5], BODY[5:]]
    assert _judge(answer).reason is None


def test_where_the_etag_is_an_md5_no_other_checksum_is_computed():
    answer = _answer(ETag=f'"{MD5}"', x_amz_checksum_crc32="AAAAAA==", x_amz_server_side_encryption="AES256")
    assert verdicts.quick(WANTED, answer) is not None
    assert (_judge(answer).reason, _judge(answer).md5) == (None, MD5)


def test_without_amazons_library_its_new_checksums_are_not_compared(monkeypatch):
    monkeypatch.setattr(verdicts, "_amazons", lambda: None)
    assert _judge(_answer(x_amz_checksum_crc64nvme="AAAAAAAAAAA=")).reason is None
    both = _answer(x_amz_checksum_crc64nvme="AAAAAAAAAAA=", x_amz_checksum_sha1="AAAA")
    assert _judge(both).reason is Reason.CHECKSUM


@pytest.mark.parametrize(
    "headers",
    [
        {"x_amz_checksum_crc32": "AAAAAA==-2"},
        {"x_amz_checksum_crc32": "AAAAAA==", "x_amz_checksum_type": "COMPOSITE"},
        {"x_amz_checksum_crc65": "AAAAAAAAAAA="},
        {"x_amz_checksum_crc32": "!"},
    ],
)
def test_a_checksum_of_parts_or_of_an_unknown_kind_says_nothing(headers):
    assert _judge(_answer(**headers)).reason is None


def test_a_part_of_the_version_is_taken():
    answer = _answer(206, b"bytes", ETag='"v1"', Content_Range="bytes 13-17/18")
    verdict = _judge(answer, 13, '"v1"')
    assert (verdict.reason, verdict.start, verdict.size) == (None, 13, 18)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_answer(206, b"bytes", ETag='"v2"', Content_Range="bytes 13-17/18"), Reason.RANGE),
        (_answer(206, b"bytes", ETag='"v1"', Content_Range="bytes 12-16/18"), Reason.RANGE),
        (_answer(206, b"bytes", ETag='"v1"', Content_Range="bytes 13-17/99"), Reason.TRUNCATED),
        (_answer(206, b"bytes", ETag='"v1"'), Reason.RANGE),
        (_answer(200, BODY, ETag='"v1"'), Reason.RANGE),
        (_answer(412, b""), Reason.RANGE),
        (_answer(416, b""), Reason.RANGE),
    ],
    ids=["other version", "other place", "cut", "no place", "the whole", "412", "416"],
)
def test_what_does_not_fit_the_beginning_is_refused(answer, reason):
    """A server that ignores If-Match answers with the other version: its ETag is compared all the same."""
    assert _judge(answer, 13, '"v1"').reason is reason


def test_a_part_that_comes_with_status_200_is_taken_for_what_it_says():
    part = _answer(200, b"bytes", ETag='"v1"', Content_Range="bytes 13-17/18")
    assert (_judge(part, 13, '"v1"').reason, _judge(part, 13, '"v1"').start) == (None, 13)
    assert _judge(part, wanted=Wanted(b"", b"a", 5, 0, "", "")).reason is Reason.RANGE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_answer(404, b"<Error><Code>NoSuchKey</Code></Error>"), Reason.GONE),
        (_answer(404, b""), Reason.GONE),
        (_answer(404, b"<html>", Content_Type="text/html"), Reason.GARBAGE),
        (_answer(403, b"<Error><Code>AccessDenied</Code></Error>"), Reason.FORBIDDEN),
        (_answer(403, b"<Error><Code>InvalidObjectState</Code></Error>"), Reason.ARCHIVED),
        (_answer(503, b"<Error><Code>SlowDown</Code></Error>", Retry_After="7"), Reason.THROTTLED),
    ],
)
def test_a_refusal_has_its_reason(answer, reason):
    verdict = _judge(answer)
    assert verdict.reason is reason
    assert verdict.retry_after_seconds == (7.0 if reason is Reason.THROTTLED else None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_answer(ETag=f'"{MD5}"'), None),
        (_answer(Content_Encoding="gzip"), Reason.TRANSFORMED),
        (_answer(ETag=f'W/"{MD5}"'), Reason.TRANSFORMED),
        (_answer(body=BODY[:-1]), Reason.SIZE),
        (_answer(ETag='"' + "0" * 32 + '"'), Reason.STALE),
        (_answer(404), Reason.MISSING),
        (_answer(403), Reason.FORBIDDEN),
        (_answer(302, b"", Location="http://other/"), Reason.REDIRECTED),
        (_answer(429), Reason.THROTTLED),
        (_answer(502), Reason.SERVER_ERROR),
    ],
)
def test_a_copy_is_taken_only_if_it_is_the_listed_object(answer, reason):
    wanted = Wanted(b"", b"a.jpg", len(BODY), 0, MD5, "")
    assert verdicts.of_copy(wanted, answer, 0.0, 0, "").reason is reason


def test_a_transfer_that_broke_off_names_its_version():
    answer = _answer(206, b"by", ETag='"v1"', Content_Range="bytes 13-17/18")
    answer.failure = Reason.RESET
    verdict = _judge(answer, 13, '"v1"')
    assert (verdict.reason, verdict.version, verdict.start) == (Reason.RESET, '"v1"', 13)
