"""The service's errors, classed once: code or status -> `Reason` (contract 9.2); the remedy follows from the reason.

REST says `{"msg", "code": 8 digits, "id"}`, the CDN `{"code": "8 digits", "msg"}`, both may say only `X-Error-Code`, and
proxies on the way say HTML or nothing. The first three digits of a code are the HTTP status.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.exchange import Response
from bucketpull.sources.headers import retry_after

REST_CODES: dict[int, Reason] = {
    40000000: Reason.REJECTED,
    40000030: Reason.REJECTED,
    40001000: Reason.REJECTED,
    40001004: Reason.REJECTED,
    40001005: Reason.CURSOR,
    40001006: Reason.REJECTED,
    40001008: Reason.REJECTED,
    40001021: Reason.REJECTED,
    40001161: Reason.RANGE,
    40011057: Reason.REJECTED,
    40100001: Reason.CREDENTIALS,
    40100002: Reason.CLOCK,
    40100003: Reason.CREDENTIALS,
    40100004: Reason.CREDENTIALS,
    40100005: Reason.CREDENTIALS,
    40100006: Reason.CREDENTIALS,
    40100007: Reason.CREDENTIALS,
    40100008: Reason.PERMISSION,
    40100009: Reason.CREDENTIALS,
    40100010: Reason.CREDENTIALS,
    40100011: Reason.CREDENTIALS,
    40100012: Reason.NO_BUCKET,
    40100013: Reason.NO_BUCKET,
    40100014: Reason.NO_BUCKET,
    40100015: Reason.PERMISSION,
    40100016: Reason.CREDENTIALS,
    40100017: Reason.PERMISSION,
    40100018: Reason.PERMISSION,
    40100019: Reason.PERMISSION,
    40100020: Reason.PERMISSION,
    40100021: Reason.PERMISSION,
    40100022: Reason.CREDENTIALS,
    40100023: Reason.CREDENTIALS,
    40100024: Reason.CREDENTIALS,
    40100025: Reason.CREDENTIALS,
    40300001: Reason.REJECTED,
    40300002: Reason.REJECTED,
    40300003: Reason.REJECTED,
    40300014: Reason.REJECTED,
    40300015: Reason.NOT_A_FILE,
    40300031: Reason.REJECTED,
    40300032: Reason.REJECTED,
    40300033: Reason.REJECTED,
    40300034: Reason.REJECTED,
    40400001: Reason.GONE,
    40401004: Reason.GONE,
    40401005: Reason.GONE,
    40600001: Reason.NOT_A_FILE,
    40600002: Reason.NOT_A_FILE,
    40800001: Reason.TIMEOUT,
    41200001: Reason.RANGE,
    42900004: Reason.BANNED,
}
REST_STATUS: dict[int, Reason] = {
    401: Reason.CREDENTIALS,
    403: Reason.FORBIDDEN,
    404: Reason.GONE,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    412: Reason.RANGE,
    416: Reason.RANGE,
    429: Reason.THROTTLED,
    499: Reason.SERVER_ERROR,
}
CDN_CODES: dict[int, Reason] = {
    40010041: Reason.NO_BUCKET,
    40310003: Reason.THROTTLED,
    40510001: Reason.NO_BUCKET,
    40510004: Reason.NO_BUCKET,
    42900004: Reason.BANNED,
}
# Every other refusal of the CDN is doubtful (separator, stale rule, image profile): the origin knows better.
CDN_STATUS: dict[int, Reason] = {
    404: Reason.MISSING,
    408: Reason.TIMEOUT,
    410: Reason.MISSING,
    412: Reason.RANGE,
    416: Reason.RANGE,
    429: Reason.THROTTLED,
    499: Reason.SERVER_ERROR,
}
# Seconds to wait where the contract knows more than the usual back-off: same URI, banned, concurrent use of one key,
# the CDN's window of 60 s.
WAITS: dict[int, float] = {42900002: 2.0, 42900004: 120.0, 42900007: 4.0, 40310003: 5.0}

_MESSAGE_BYTES = 8192
_DETAIL = 300


class Complaint(NamedTuple):
    """What an answer says is wrong: HTTP status, the service's code (0: none stated), its words."""

    status: int
    code: int
    message: str

    @property
    def detail(self) -> str:
        """The complaint in one line of at most 300 characters."""
        code = f" {self.code}" if self.code else ""
        return f"HTTP {self.status}{code}: {self.message}"[:_DETAIL]


def complaint(response: Response, headers: Mapping[str, str]) -> Complaint:
    """Read what an answer complains of; never fails, whatever the body holds."""
    body = response.body[:_MESSAGE_BYTES]
    said = _json_object(body)
    code = _code(said.get("code")) or _code(headers.get("x-error-code"))
    words = said.get("msg") or said.get("message")
    message = words if isinstance(words, str) else body.decode("utf-8", "replace")
    if 300 <= response.status < 400 and headers.get("location"):
        message = f"redirects to {headers['location']}"
    return Complaint(response.status, code, " ".join(message.split()) or "(no text)")


def rest_reason(status: int, code: int) -> Reason:
    """Class an answer of the REST API that is not the wanted one."""
    known = REST_CODES.get(code)
    return (
        known
        if known is not None
        else _by_status(code // 100_000 if code else status, REST_STATUS, Reason.REJECTED)
    )


def cdn_reason(status: int, code: int) -> Reason:
    """Class an answer of the CDN that is not the wanted one."""
    known = CDN_CODES.get(code)
    return (
        known
        if known is not None
        else _by_status(code // 100_000 if code else status, CDN_STATUS, Reason.FORBIDDEN)
    )


def _by_status(status: int, table: Mapping[int, Reason], refused: Reason) -> Reason:
    known = table.get(status)
    if known is not None:
        return known
    if 300 <= status < 400:
        return Reason.REDIRECTED
    if 400 <= status < 500:
        return refused
    return Reason.SERVER_ERROR if status >= 500 else Reason.GARBAGE


def wait_seconds(headers: Mapping[str, str], code: int, now: float) -> float | None:
    """Return for how long the service asks to be left alone, or None."""
    stated = retry_after(headers.get("retry-after", ""), now)
    return stated if stated is not None else WAITS.get(code)


def refusal(reason: Reason, said: Complaint, headers: Mapping[str, str], now: float) -> AnswerError:
    """Make the error of a page that was refused."""
    return AnswerError(reason, said.detail, wait_seconds(headers, said.code, now))


def _json_object(body: bytes) -> dict[str, object]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _code(value: object) -> int:
    """Read a code that may be a number, a text, or nonsense (then 0)."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[1-5][0-9]{7}", text.strip()) else 0
