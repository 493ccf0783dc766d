"""Is this answer the object? (contract 6 and 15): nothing is stored that was altered, cut, stale or about something else.

The usual answer, a 200 of the listed length, is judged by a few substring tests on the joined raw headers, because a
dictionary of headers would cost more than the rest of the object's bookkeeping.
"""

import re
from typing import Final

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Response, Verdict, Wanted
from bucketpull.sources.headers import misplaced, seconds_of, version_of
from bucketpull.sources.upyun.answers import cdn_reason, complaint, rest_reason, wait_seconds

# The endpoints of the service: listing and objects by REST, objects by the CDN.
LIST: Final = "list"
REST: Final = "rest"
CDN: Final = "cdn"
_HEX = b"0123456789abcdef"
MARKUP_STARTS = b"<{"
_IMAGES = frozenset(
    b"jpg jpeg jpe jfif png gif webp bmp tif tiff ico heic heif avif jp2 psd raw cr2 nef dng mp4 mov mp3 zip gz".split()
)
_UNALTERED = frozenset({"", "identity"})


def quick(name: bytes, size: int, endpoint: str, response: Response) -> Verdict | None:  # noqa: PLR0911 - each a doubt
    """Judge the usual answer: 200, whole, as long as listed, nothing odd in its headers. None: look closely."""
    if response.status != 200 or response.received != size or response.failure is not None:
        return None
    head = b"".join(response.header_lines).lower()
    # `find` takes a third of the time of `in`.
    if head.find(b"content-encoding") >= 0 or head.find(b"x-error-code") >= 0:
        return None
    if head.find(b"\nhttp/") >= 0 or (endpoint == REST and head.find(b"x-upyun-list-iter") >= 0):
        return None
    at = head.find(b"content-type: ")
    if at >= 0 and head[at + 14 : at + 20] != b"image/" and _says_markup(head, at):
        return None
    chunks = response.chunks
    if chunks and chunks[0][0] in MARKUP_STARTS and _is_image(name):
        return None
    at = head.find(b"\netag: ") + 7
    if head[at : at + 2] == b"w/":
        return None
    return Verdict(None, "", None, size, _plain_md5(head, at), "")


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


class Ask:
    """What was asked for, so that the answer can be held against it."""

    __slots__ = ("endpoint", "mtime", "name", "now", "size", "start", "styled", "version")

    def __init__(
        self, wanted: Wanted, endpoint: str, now: float, start: int, version: str, styled: bool
    ) -> None:
        self.name = wanted.name
        self.size = wanted.size
        self.mtime = wanted.mtime
        self.endpoint = endpoint
        self.now = now
        self.start = start
        self.version = version
        self.styled = styled


def close(ask: Ask, response: Response) -> Verdict:
    """Judge an answer by everything it says."""
    headers = dict(response.headers())
    version = version_of(headers)
    if response.failure is not None:
        start = ask.start if response.status == 206 else 0
        return Verdict(response.failure, response.detail, version=version, start=start)
    if response.status not in {200, 206} or headers.get("x-error-code"):
        return _refused(ask, response, headers)
    verdict = misplaced(response, headers, version, ask.start, ask.version) or _altered(
        ask, response, headers
    )
    if verdict is None:
        verdict = _whole(ask, response, headers)
    verdict.version = version
    verdict.start = ask.start if "content-range" in headers else 0
    return verdict


def _refused(ask: Ask, response: Response, headers: dict[str, str]) -> Verdict:
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


def _altered(ask: Ask, response: Response, headers: dict[str, str]) -> Verdict | None:
    """Find what shows that the body is not the object's: a listing, another encoding, a page in place of an image."""
    if "x-upyun-list-iter" in headers:
        return Verdict(Reason.NOT_A_FILE, "a folder's listing came in place of the object")
    encoding = headers.get("content-encoding", "").lower()
    if encoding not in _UNALTERED:
        return _doubt(Reason.TRANSFORMED, f"content-encoding {encoding}", headers)
    if ask.endpoint == CDN and headers.get("etag", "")[:2].lower() == "w/" and not ask.styled:
        return _doubt(Reason.TRANSFORMED, f"weak etag {headers['etag']}", headers)
    kind = headers.get("content-type", "").lower()
    if _is_image(ask.name) and ask.start == 0 and _is_markup(response, kind):
        return _page(ask, response, headers, kind)
    return None


def _page(ask: Ask, response: Response, headers: dict[str, str], kind: str) -> Verdict | None:
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


def _whole(ask: Ask, response: Response, headers: dict[str, str]) -> Verdict:
    length = ask.start + response.received
    if ask.styled:
        return Verdict(None, size=length, other_size=True)
    verdict = Verdict(None, size=length, md5=_md5(headers))
    if length == ask.size or ask.size < 0:
        return verdict
    if ask.endpoint == CDN:
        return _doubt(Reason.SIZE, f"{length} bytes came, {ask.size} are listed", headers)
    if not version_of(headers):
        return Verdict(Reason.GARBAGE, f"{length} bytes without a version came, {ask.size} are listed")
    changed = seconds_of(headers.get("last-modified", ""))
    verdict.other_size = changed is not None and ask.mtime >= 0 and changed != ask.mtime
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
