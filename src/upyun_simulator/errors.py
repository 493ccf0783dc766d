"""The service's error codes (docs/reference/upyun.md) and the answers that carry them.

The HTTP status is the first three digits of a code.
"""

from typing import Final

import msgspec

from upyun_simulator.message import Reply

MESSAGES: Final = {
    40000000: "storage bad request",
    40000030: "path encoding should be utf8",
    40001000: "wrong uri",
    40001004: "folder args invalid",
    40001005: "iter args invalid",
    40001021: "invalid utf8 key",
    40001161: "wrong range",
    40010040: "bad request",
    40010041: "bucket not found",
    40100001: "need date header",
    40100002: "date offset error",
    40100003: "unknown realm",
    40100004: "need authorization header",
    40100005: "signature error",
    40100006: "user not exists",
    40100007: "user blocked",
    40100008: "user blocked in this bucket",
    40100009: "user password error",
    40100010: "account not exist",
    40100011: "account blocked",
    40100012: "bucket not exist",
    40100013: "bucket blocked",
    40100014: "bucket removed",
    40100015: "bucket read only",
    40100016: "invalid date value in header",
    40100017: "user need permission",
    40100018: "account inactivate",
    40100019: "account forbidden",
    40100020: "account reject",
    40100021: "account overdue",
    40100022: "uri prefix error",
    40100023: "uri postfix error",
    40100024: "expire error",
    40100025: "auth error",
    40110910: "origin authentication failed",
    40300001: "file name contains invalid chars (\\r\\n\\t)",
    40300002: "file path too long",
    40300003: "file name too long",
    40300014: "order must be asc or desc",
    40300015: "path is not a file, maybe a directory",
    40310001: "url is forbidden",
    40310002: "region is forbidden",
    40310003: "too many requests",
    40310011: "user agent is forbidden",
    40310012: "ip is forbidden",
    40310013: "invalid user token",
    40310014: "referer is forbidden",
    40310015: "referer is required",
    40310020: "origin authentication refused",
    40400001: "file or directory not found",
    40401004: "file is marked as deleted",
    40401005: "block deleted",
    40400010: "image version not found",
    40500001: "method not allowed",
    40500002: "not an image",
    40510001: "invisible bucket",
    40510004: "invisible domain",
    40800001: "read client request timeout",
    41200001: "precondition failed",
    41210001: "malformed conditional header",
    41610001: "multiple Range header",
    41610002: "multiple sections in Range header",
    41610003: "illegal range portion",
    42900001: "too many requests",
    42900002: "too many requests of the same uri",
    42900003: "too many requests of the same bucket",
    42900004: "request banned",
    42900005: "bandwidth limit",
    42900006: "too many auth check",
    42900007: "concurrent put or delete",
    49900001: "client closed request",
    50000001: "internal error",
    50200001: "bad gateway",
    50300000: "service unavailable",
    50300006: "get hub error",
    50300023: "connect to db error",
    50300026: "get data error",
    50300028: "get file from fs error",
    50300030: "upstream closed connection",
    50300031: "read upstream timeout",
    50300032: "wrong data",
    50300041: "connect to db error",
    50300044: "avalon list dir error",
    50400001: "gateway timeout",
}


def status_of(code: int) -> int:
    """Return the HTTP status of an 8-digit code."""
    return code // 100_000


def rest_error(code: int, request_id: str = "") -> Reply:
    """Return the REST form: JSON with an integer code and an id; no body matters for HEAD."""
    body = msgspec.json.encode({"msg": MESSAGES.get(code, "error"), "code": code, "id": request_id})
    return _error(code, body)


def cdn_error(code: int) -> Reply:
    """Return the CDN form: the code is a string, there is no id."""
    return _error(code, msgspec.json.encode({"code": str(code), "msg": MESSAGES.get(code, "error")}))


def _error(code: int, body: bytes) -> Reply:
    return Reply(status_of(code), [("Content-Type", "application/json"), ("X-Error-Code", str(code))], body)


class Refusal(Exception):
    """A request that is answered by an error code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
