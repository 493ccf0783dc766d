"""What an answer means: whether it is the object, or why not, by the service's codes (docs/reference/upyun.md).

Nothing is stored that was altered, cut, stale or about something else.

The usual answer, a 200 of the listed length, is judged by a few substring tests on the joined raw headers, because a
dictionary of headers would cost more than the rest of the object's bookkeeping.

Errors are classed once: code or status -> `Reason`. REST says `{"msg", "code": 8 digits, "id"}`, the CDN
`{"code": "8 digits", "msg"}`, both may say only `X-Error-Code`, and proxies on the way say HTML or nothing. The first three digits
of a code are the HTTP status.
"""

import re
from collections.abc import Mapping

import msgspec

from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import Response, Verdict, Wanted
from bucketpull.sources import http
from bucketpull.sources.http import UNALTERED, misplaced, retry_after, seconds_of, version_of
from bucketpull.sources.upyun.config import CDN, REST

# Codes that say something else than their first three digits, the HTTP status. Those of both say the same in either.
_CODES: dict[int, Reason] = {40310003: Reason.THROTTLED, 42900004: Reason.BANNED}
REST_CODES: dict[int, Reason] = _CODES | {
    40001005: Reason.CURSOR,
    40001161: Reason.RANGE,
    40100002: Reason.CLOCK,
    40100008: Reason.PERMISSION,
    40100012: Reason.NO_BUCKET,
    40100013: Reason.NO_BUCKET,
    40100014: Reason.NO_BUCKET,
    40100015: Reason.PERMISSION,
    40100017: Reason.PERMISSION,
    40100018: Reason.PERMISSION,
    40100019: Reason.PERMISSION,
    40100020: Reason.PERMISSION,
    40100021: Reason.PERMISSION,
    40300001: Reason.REJECTED,
    40300002: Reason.REJECTED,
    40300003: Reason.REJECTED,
    40300014: Reason.REJECTED,
    40300015: Reason.NOT_A_FILE,
    40300031: Reason.REJECTED,
    40300032: Reason.REJECTED,
    40300033: Reason.REJECTED,
    40300034: Reason.REJECTED,
    40600001: Reason.NOT_A_FILE,
    40600002: Reason.NOT_A_FILE,
}
# 503 is a part of it that is out of order; refusals above a limit are 429 there.
REST_STATUS: dict[int, Reason] = http.STATUS | {499: Reason.SERVER_ERROR, 503: Reason.SERVER_ERROR}
CDN_CODES: dict[int, Reason] = _CODES | {
    40010041: Reason.NO_BUCKET,
    40510001: Reason.NO_BUCKET,
    40510004: Reason.NO_BUCKET,
}
CDN_STATUS: dict[int, Reason] = http.CDN_STATUS | {499: Reason.SERVER_ERROR}
# Seconds to wait where more is known than the usual back-off: same URI, banned, concurrent use of one key,
# the CDN's window of 60 s.
WAITS: dict[int, float] = {42900002: 2.0, 42900004: 120.0, 42900007: 4.0, 40310003: 5.0}

_MESSAGE_BYTES = 8192
_DETAIL = 300
_decode_object = json_decoder(dict[str, object])


class Complaint(msgspec.Struct, frozen=True):
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
    said = _read_object(body)
    code = _code(said.get("code")) or _code(headers.get("x-error-code"))
    words = said.get("msg") or said.get("message")
    message = words if isinstance(words, str) else body.decode("utf-8", "replace")
    if 300 <= response.status < 400 and headers.get("location"):
        message = f"redirects to {headers['location']}"
    return Complaint(response.status, code, " ".join(message.split()) or "(no text)")


def rest_reason(status: int, code: int) -> Reason:
    """Class an answer of the REST API that is not the wanted one."""
    return REST_CODES.get(code) or http.reason_of(code // 100_000 if code else status, REST_STATUS)


def cdn_reason(status: int, code: int) -> Reason:
    """Class an answer of the CDN that is not the wanted one.

    A refusal that is not known is doubtful (separator, stale rule, image profile): the origin knows better.
    """
    status = code // 100_000 if code else status
    return CDN_CODES.get(code) or http.reason_of(status, CDN_STATUS, Reason.FORBIDDEN)


def wait_seconds(headers: Mapping[str, str], code: int, now: float) -> float | None:
    """Return for how long the service asks to be left alone, or None."""
    stated = retry_after(headers.get("retry-after", ""), now)
    return stated if stated is not None else WAITS.get(code)


def refusal(reason: Reason, said: Complaint, headers: Mapping[str, str], now: float) -> AnswerError:
    """Make the error of a page that was refused."""
    return AnswerError(reason, said.detail, wait_seconds(headers, said.code, now))


def _read_object(body: bytes) -> dict[str, object]:
    try:
        return _decode_object(body)
    except msgspec.DecodeError:
        return {}


def _code(value: object) -> int:
    """Read a code that may be a number, a text, or nonsense (then 0)."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"[1-5][0-9]{7}", text.strip()) else 0


_HEX = b"0123456789abcdef"
MARKUP_STARTS = b"<{"
_IMAGES = frozenset(
    b"jpg jpeg jpe jfif png gif webp bmp tif tiff ico heic heif avif jp2 psd raw cr2 nef dng mp4 mov mp3 zip gz".split()
)


def quick(wanted: Wanted, endpoint: str, response: Response) -> Verdict | None:  # noqa: PLR0911 - each a doubt
    """Judge the usual answer: 200, whole, as long as listed, nothing odd in its headers. None: look closely."""
    if response.status != 200 or response.received != wanted.size or response.failure is not None:
        return None
    head = b"".join(response.header_lines).lower()
    # `find` takes a third of the time of `in`.
    if head.find(b"content-encoding") >= 0 or head.find(b"x-error-code") >= 0:
        return None
    if head.find(b"\ncontent-range") >= 0 or head.find(b"\nhttp/") >= 0:
        return None
    if endpoint == REST and head.find(b"x-upyun-list-iter") >= 0:
        return None
    at = head.find(b"content-type: ")
    if at >= 0 and head[at + 14 : at + 20] != b"image/" and _says_markup(head, at):
        return None
    chunks = response.chunks
    if chunks and chunks[0][0] in MARKUP_STARTS and _is_image(wanted.name):
        return None
    at = head.find(b"\netag: ") + 7
    if head[at : at + 2] == b"w/":
        return None
    return Verdict(None, "", None, wanted.size, _plain_md5(head, at))


def _says_markup(head: bytes, at: int) -> bool:
    kind = head[at : head.find(b"\n", at)]
    return b"html" in kind or b"json" in kind


def _plain_md5(head: bytes, at: int) -> str:
    """Read an MD5 off lower-case headers: the ETag at a place, if it is one, else `Content-MD5`; "" if neither is."""
    stated = head[at + 1 : at + 33]
    if head[at + 33 : at + 34] != b'"' or len(stated) != 32 or stated.translate(None, _HEX):
        at = head.find(b"\ncontent-md5: ") + 14
        stated = head[at : at + 33].rstrip()
        if at < 14 or len(stated) != 32 or stated.translate(None, _HEX):
            return ""
    return stated.decode("ascii")


def _is_image(name: bytes) -> bool:
    return name.rpartition(b".")[2].lower() in _IMAGES


def _is_markup(response: Response, kind: str) -> bool:
    if "html" in kind or "json" in kind:
        return True
    text = response.body[:512].lstrip()
    return bool(text) and text[0] in MARKUP_STARTS


class Asked(msgspec.Struct, frozen=True):
    """What was asked for, so that the answer can be compared with it."""

    wanted: Wanted
    endpoint: str
    now: float
    start: int
    version: str
    styled: bool


def close(ask: Asked, response: Response) -> Verdict:
    """Judge an answer by everything it says."""
    headers = dict(response.headers())
    version = version_of(headers)
    if response.failure is not None:
        start = http.start_of(response, headers)
        if response.failure is Reason.SIZE and not version and _must_be_as_listed(ask):
            detail = f"{response.detail}, without a version; {ask.wanted.size} bytes are listed"
            return Verdict(Reason.GARBAGE, detail, start=start)
        return Verdict(response.failure, response.detail, md5=_md5(headers), version=version, start=start)
    if response.status not in {200, 206} or headers.get("x-error-code"):
        return _refused(ask, response, headers)
    verdict = misplaced(response, headers, version, ask.start, ask.wanted, ask.version) or _altered(
        ask, response, headers
    )
    if verdict is None:
        verdict = _whole(ask, response, headers)
    verdict.version = version
    verdict.start = ask.start if "content-range" in headers else 0
    return verdict


def _must_be_as_listed(ask: Asked) -> bool:
    """Tell whether an answer of another length is worth something only if it states which version of the object it is."""
    return ask.endpoint == REST and ask.wanted.size >= 0 and not ask.styled


def _refused(ask: Asked, response: Response, headers: dict[str, str]) -> Verdict:
    said = complaint(response, headers)
    if ask.endpoint == CDN:
        reason = cdn_reason(said.status, said.code)
        if said.status in {200, 206} and reason is not Reason.THROTTLED:
            reason = Reason.WRONG_CONTENT
    else:
        reason = rest_reason(said.status, said.code)
        if reason is Reason.GONE and "html" in headers.get("content-type", ""):
            reason = Reason.GARBAGE  # a proxy's page: the service says 404 in JSON, or nothing
    return Verdict(reason, said.detail, wait_seconds(headers, said.code, ask.now))


def _altered(ask: Asked, response: Response, headers: dict[str, str]) -> Verdict | None:
    """Find what shows that the body is not the object's: a listing, another encoding, a page in place of an image."""
    if "x-upyun-list-iter" in headers:
        return Verdict(Reason.NOT_A_FILE, "a folder's listing came in place of the object")
    encoding = headers.get("content-encoding", "").lower()
    if encoding not in UNALTERED:
        return _doubt(Reason.TRANSFORMED, f"content-encoding {encoding}", headers)
    if ask.endpoint == CDN and headers.get("etag", "")[:2].lower() == "w/" and not ask.styled:
        return _doubt(Reason.TRANSFORMED, f"weak etag {headers['etag']}", headers)
    kind = headers.get("content-type", "").lower()
    is_text = _is_markup(response, kind) or (ask.styled and kind.startswith("text/"))
    if _is_image(ask.wanted.name) and ask.start == 0 and is_text:
        return _page(ask, response, headers, kind)
    return None


def _page(ask: Asked, response: Response, headers: dict[str, str], kind: str) -> Verdict | None:
    """Judge markup under an image's name: a throttle in disguise, a challenge, or (by REST) what somebody stored so."""
    said = complaint(response, headers)
    reason = (cdn_reason if ask.endpoint == CDN else rest_reason)(429, said.code or 42900001)
    if said.code // 100_000 == 429 or "too many requests" in said.message[:200].lower():
        verdict = _doubt(reason, said.detail, headers)
        verdict.retry_after_seconds = wait_seconds(headers, said.code, ask.now)
        return verdict
    # By REST it is a proxy's or a service's bad moment: there is no further endpoint to turn to, only another try.
    wrong = Reason.WRONG_CONTENT if ask.endpoint == CDN else Reason.GARBAGE
    return _doubt(wrong, f"{kind or 'markup'} in place of an image: {said.message}"[:300], headers)


def _whole(ask: Asked, response: Response, headers: dict[str, str]) -> Verdict:
    length = ask.start + response.received
    if ask.styled and not length and ask.wanted.size:
        return Verdict(Reason.WRONG_CONTENT, "nothing came in place of an image version")
    if ask.styled:
        return Verdict(None, size=length, other_size=True)
    verdict = Verdict(None, size=length, md5=_md5(headers))
    if length == ask.wanted.size or ask.wanted.size < 0:
        return verdict
    if ask.endpoint == CDN:
        return _doubt(Reason.SIZE, f"{length} bytes came, {ask.wanted.size} are listed", headers)
    if not version_of(headers):
        return Verdict(Reason.GARBAGE, f"{length} bytes without a version came, {ask.wanted.size} are listed")
    changed = seconds_of(headers.get("last-modified", ""))
    verdict.other_size = changed is not None and ask.wanted.mtime >= 0 and changed != ask.wanted.mtime
    return verdict


def _doubt(reason: Reason, detail: str, headers: dict[str, str]) -> Verdict:
    """Say what is odd about a whole answer that may be the object all the same."""
    stated = headers | {"etag": headers.get("etag", "").removeprefix("W/")}
    return Verdict(reason, detail, md5=_md5(stated), doubtful=True)


def _md5(headers: dict[str, str]) -> str:
    """Return the MD5 that the headers state, in hex; "" where they state none that is plain."""
    for stated in (headers.get("etag", ""), f'"{headers.get("content-md5", "")}"'):
        found = re.fullmatch(r'"([0-9a-fA-F]{32})"', stated)
        if found:
            return found[1].lower()
    return ""
