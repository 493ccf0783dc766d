"""What an answer means: whether it is the object, or why not, by the codes of the service's errors.

The service's own answers are final; those of a CDN before it are copies, and doubted.

Where the ETag is no MD5, the checksum is compared that S3 states of the whole beside it. Names, encoding (base64 of big-endian bytes) and
types are those of "Checking object integrity" in the Amazon S3 user guide; a checksum of parts (COMPOSITE, or with "-N" behind it)
says nothing of the whole.

An error is XML with Code and Message ("Error responses", Amazon S3 API reference). Services leave out much of it: Ceph's Message
is empty, others answer a refusal with HTML or with nothing. Then the status decides.
"""

import hashlib
import re
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final, NamedTuple

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Chunk, Response, Verdict, Wanted
from bucketpull.sources import http
from bucketpull.sources.http import misplaced, retry_after, version_of

CODES: Final[dict[str, Reason]] = {
    "AccessDenied": Reason.PERMISSION,
    "AccountProblem": Reason.PERMISSION,
    "AllAccessDisabled": Reason.PERMISSION,
    "AuthorizationHeaderMalformed": Reason.REGION,
    "BandwidthLimitExceeded": Reason.THROTTLED,
    "ExpiredToken": Reason.CREDENTIALS,
    "IllegalLocationConstraintException": Reason.REGION,
    "InternalError": Reason.SERVER_ERROR,
    "InvalidAccessKeyId": Reason.CREDENTIALS,
    "InvalidBucketName": Reason.NO_BUCKET,
    "InvalidObjectState": Reason.ARCHIVED,
    "InvalidRange": Reason.RANGE,
    "InvalidSecurity": Reason.CREDENTIALS,
    "InvalidToken": Reason.CREDENTIALS,
    "NoSuchBucket": Reason.NO_BUCKET,
    "NoSuchKey": Reason.GONE,
    "NoSuchVersion": Reason.GONE,
    "NotImplemented": Reason.REJECTED,
    "NotSignedUp": Reason.CREDENTIALS,
    "PermanentRedirect": Reason.REGION,
    "PreconditionFailed": Reason.RANGE,
    "Redirect": Reason.REGION,
    "RequestExpired": Reason.CLOCK,
    "RequestLimitExceeded": Reason.THROTTLED,
    "RequestTimeTooSkewed": Reason.CLOCK,
    "RequestTimeout": Reason.TIMEOUT,
    "ServiceUnavailable": Reason.THROTTLED,
    "SignatureDoesNotMatch": Reason.CREDENTIALS,
    "SlowDown": Reason.THROTTLED,
    "TemporaryRedirect": Reason.REGION,
    "Throttling": Reason.THROTTLED,
    "ThrottlingException": Reason.THROTTLED,
    "TokenRefreshRequired": Reason.CREDENTIALS,
    "TooManyRequests": Reason.THROTTLED,
}
STATUS: Final[dict[int, Reason]] = http.STATUS | {
    304: Reason.GARBAGE,
    403: Reason.PERMISSION,
    501: Reason.REJECTED,
}
_CHECKSUM: Final = "x-amz-checksum-"
ASKED: Final = (f"{_CHECKSUM}mode", "ENABLED")
"""The request header without which S3 states no checksum."""
_NAMES: Final = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")  # the cheapest first
EXPIRED: Final = frozenset({"ExpiredToken", "TokenRefreshRequired"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MESSAGE_BYTES: Final = 8192
_DETAIL: Final = 300
_FIELD: Final = re.compile(
    rb"<(Code|Message|Region|Endpoint|StorageClass)>([^<]{0,2000})</\1>",
)


class Complaint(NamedTuple):
    """What an answer says is wrong: HTTP status, code ("" where there is none), words, and the region it names ("")."""

    status: int
    code: str
    message: str
    region: str

    @property
    def detail(self) -> str:
        """The complaint in one line of at most 300 characters."""
        words = " ".join(filter(None, (self.code, self.message))) or "(no text)"
        if self.code in EXPIRED:
            words = f"the session token has expired: {words}"
        return f"HTTP {self.status}: {words}"[:_DETAIL]

    @property
    def reason(self) -> Reason:
        """The reason that the complaint stands for."""
        known = CODES.get(self.code)
        if known is Reason.REGION and self.code == "AuthorizationHeaderMalformed" and not self.region:
            return Reason.CREDENTIALS  # the key itself is malformed
        if known is None and self.region and self.status in _REDIRECTS:
            known = Reason.REGION
        return known or http.reason_of(self.status, STATUS)


def complaint(response: Response, headers: Mapping[str, str]) -> Complaint:
    """Read what an answer complains of; never fails, whatever the body holds."""
    body = response.body[:_MESSAGE_BYTES]
    fields = {name: " ".join(text.decode("utf-8", "replace").split()) for name, text in _FIELD.findall(body)}
    code, message = fields.get(b"Code", ""), fields.get(b"Message", "")
    elsewhere = fields.get(b"Endpoint", "") or " ".join(headers.get("location", "").split())
    if not code and not body.lstrip().startswith(b"<"):
        message = " ".join(body[:_DETAIL].decode("utf-8", "replace").split())
    if elsewhere and response.status in _REDIRECTS:
        message = f"{message} redirects to {elsewhere}".strip()
    region = headers.get("x-amz-bucket-region", "") or fields.get(b"Region", "")
    return Complaint(response.status, code, message, region)


_ENCRYPTION: Final = b"\nx-amz-server-side-encryption"
_HEX: Final = b"0123456789abcdef"
_HEX_TEXT: Final = frozenset("0123456789abcdef")
_MD5_CHARACTERS: Final = 32
_UNALTERED: Final = http.UNALTERED | {"aws-chunked"}
_ERROR: Final = re.compile(rb"\s*+(?:<\?xml[^>]{0,200}\?>)?+\s*+<Error[\s>]")
_CDN_STATUS: Final = http.CDN_STATUS | {503: Reason.THROTTLED}


def quick(wanted: Wanted, response: Response) -> Verdict | None:
    """Judge the usual answer: 200, whole, as long as listed, nothing odd in its head. None: look closely. 1 µs.

    Where the ETag is an MD5, no other checksum is looked at: it proves as much, and whoever wants none pays for none.
    """
    if response.status != 200 or response.received != wanted.size or response.failure is not None:
        return None
    head = b"".join(response.header_lines).lower()
    # `find` takes a third of the time of `in`.
    if head.find(b"\ncontent-range") >= 0 or not _has_md5_etag(head):
        return None
    at = head.find(b'\netag: "') + 8
    etag = head[at : head.find(b'"', at)] if at >= 8 else b""
    if len(etag) == _MD5_CHARACTERS and not etag.translate(None, _HEX):
        return Verdict(None, "", None, wanted.size, etag.decode("ascii"))
    if head.find(b"\nx-amz-checksum-") >= 0:
        return None
    return Verdict(None, "", None, wanted.size)


def _has_md5_etag(head: bytes) -> bool:
    """Tell whether an object is not encrypted, or with the service's own keys (which AWS does unasked): only then is an ETag an MD5."""
    at = head.find(_ENCRYPTION)
    if at < 0:
        return True
    end = at + len(_ENCRYPTION)
    return head[end : end + 9] == b": aes256\r" and head.find(_ENCRYPTION, end) < 0


def of_origin(wanted: Wanted, response: Response, now: float, start: int, version: str) -> Verdict:
    """Judge an answer of the service by everything it says; `start` and `version` are those of the request.

    `Content-Encoding` is part of what was stored: the bytes on the wire are the object's.
    """
    headers = response.headers()
    found = version_of(headers)
    if response.failure is not None:
        place = http.start_of(response, headers)
        return Verdict(response.failure, response.detail, md5=_md5(headers), version=found, start=place)
    if response.status not in {200, 206}:
        return _refused(response, headers, now)
    verdict = misplaced(response, headers, found, start, wanted, version)
    if verdict is None:
        verdict = _whole(response, headers, found, start)
    verdict.start = start if "content-range" in headers else 0
    return verdict


def is_error(body: bytes) -> bool:
    """Tell whether a body is one of the service's errors: some come with status 200, when it turns out late that nothing can be given."""
    return _ERROR.match(body) is not None


def checked_whole(wanted: Wanted, response: Response, now: float, verdict: Verdict) -> Verdict:
    """Look again at a whole body whose length is not the listed one, or for which none is listed.

    It may be an error that came with status 200, another page (the service states a version of all that it stores), or the object
    as a proxy before the service has compressed it: what was stored compressed is as long as listed. Or it is cut, if the service says
    that the object is the listed one. Where no length is listed a
    weak ETag tells: the service's own are strong, and a proxy that alters a body weakens them.
    """
    if verdict.md5 or verdict.size == wanted.size:
        return verdict
    headers = response.headers()
    if not verdict.version and is_error(response.body):
        return _refused(response, headers, now)
    encoding = headers.get("content-encoding", "").lower()
    is_weak = headers.get("etag", "")[:2].lower() == "w/"
    if encoding not in _UNALTERED and (wanted.size >= 0 or is_weak):
        verdict.reason = Reason.TRANSFORMED
        verdict.detail = f"content-encoding {encoding}: {verdict.size} bytes came, {wanted.size} are listed"
    elif wanted.size >= 0 and not verdict.version and not is_weak:
        verdict.reason = Reason.GARBAGE
        verdict.detail = f"{verdict.size} bytes without a version came, {wanted.size} are listed"
    elif wanted.size >= 0 and _is_page(wanted, headers):
        verdict.reason = Reason.GARBAGE
        verdict.detail = f"an HTML page of {verdict.size} bytes came, {wanted.size} are listed"
    elif verdict.size < wanted.size and http.seconds_of(headers.get("last-modified", "")) == wanted.mtime:
        verdict.reason = Reason.TRUNCATED
        verdict.detail = f"{verdict.size} bytes came, {wanted.size} are listed, and it has not changed since"
    return verdict


def _is_page(wanted: Wanted, headers: Mapping[str, str]) -> bool:
    """Tell whether HTML came under the name of something else. A web server before the service states a version of its pages too."""
    return "html" in headers.get("content-type", "") and b".htm" not in wanted.name.lower()


def of_copy(wanted: Wanted, response: Response, now: float, start: int, version: str) -> Verdict:
    """Judge an answer of a CDN: what is altered, of another length or of another version is not the object."""
    headers = response.headers()
    if response.failure is None and response.status not in {200, 206}:
        return _refused_by_cdn(response, headers, now)
    verdict = of_origin(wanted, response, now, start, version)
    if verdict.reason is None:
        _doubt(wanted, headers, verdict)
    return verdict


def _refused(response: Response, headers: Mapping[str, str], now: float) -> Verdict:
    said = complaint(response, headers)
    reason = said.reason
    if reason is Reason.GONE and not said.code and "html" in headers.get("content-type", ""):
        reason = Reason.GARBAGE  # a proxy's page: the service says 404 in XML, or nothing
    if reason is Reason.PERMISSION:
        reason = Reason.FORBIDDEN  # perhaps only of this object
    return Verdict(reason, said.detail, retry_after(headers.get("retry-after", ""), now))


def _refused_by_cdn(response: Response, headers: Mapping[str, str], now: float) -> Verdict:
    reason = http.reason_of(response.status, _CDN_STATUS, Reason.FORBIDDEN)
    return Verdict(
        reason, complaint(response, headers).detail, retry_after(headers.get("retry-after", ""), now)
    )


def _doubt(wanted: Wanted, headers: Mapping[str, str], verdict: Verdict) -> None:
    encoding = headers.get("content-encoding", "").lower()
    etag = headers.get("etag", "")
    if encoding not in _UNALTERED:
        verdict.reason, verdict.detail = Reason.TRANSFORMED, f"content-encoding {encoding}"
    elif etag[:2].lower() == "w/":
        verdict.reason, verdict.detail = Reason.TRANSFORMED, f"weak etag {etag}"
    elif wanted.size >= 0 and verdict.size != wanted.size:
        verdict.reason = Reason.SIZE
        verdict.detail = f"{verdict.size} bytes came, {wanted.size} are listed"
    elif verdict.md5 and is_md5(wanted.version) and verdict.md5 != wanted.version:
        verdict.reason, verdict.detail = Reason.STALE, f"etag {verdict.md5}, listed is {wanted.version}"


def _whole(response: Response, headers: Mapping[str, str], version: str, start: int) -> Verdict:
    md5 = _md5(headers)
    wrong = "" if start or md5 else _checksum_error(response.chunks, headers)
    if wrong:
        return Verdict(Reason.CHECKSUM, wrong, version=version, doubtful=True)
    return Verdict(None, size=start + response.received, md5=md5, version=version)


def _md5(headers: Mapping[str, str]) -> str:
    """Return the MD5 that the ETag is; "" where it is none: of several parts, or encrypted with keys of KMS or the customer."""
    if headers.get("x-amz-server-side-encryption", "AES256") != "AES256":
        return ""
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return ""
    etag = headers.get("etag", "").strip('"').lower()
    return etag if is_md5(etag) else ""


def _checksum_error(chunks: Sequence[Chunk], headers: Mapping[str, str]) -> str:
    """Compare a body with the cheapest checksum that is stated of the whole; "" where it is right, or none can be compared."""
    if headers.get(f"{_CHECKSUM}type", "FULL_OBJECT") != "FULL_OBJECT" or not chunks:
        return ""
    for name, stated, wanted in _stated_checksums(headers):
        found = _checksum(name, chunks)
        if found is not None:
            return "" if found == wanted else f"{name} {stated} is stated, the bytes have another"
    return ""


def _stated_checksums(headers: Mapping[str, str]) -> Iterator[tuple[str, str, bytes]]:
    for name in _NAMES:
        stated = headers.get(_CHECKSUM + name, "")
        if stated and "-" not in stated:
            try:
                yield name, stated, b64decode(stated, validate=True)
            except (Base64Error, ValueError):
                continue


def _checksum(name: str, chunks: Sequence[Chunk]) -> bytes | None:
    """Return the checksum of a body; None where what would compute it is not installed: CRC-32C and CRC-64/NVME are too slow without `awscrt`.

    For 20 KiB these take half a microsecond, CRC32 9 µs, SHA-256 12 µs.
    """
    if name in {"sha256", "sha1"}:
        digest = hashlib.new(name, usedforsecurity=False)
        for chunk in chunks:
            digest.update(chunk)
        return digest.digest()
    step = zlib.crc32 if name == "crc32" else getattr(_amazons(), name, None)
    if step is None:
        return None
    value = 0
    for chunk in chunks:
        value = step(chunk, value)
    return value.to_bytes(8 if name == "crc64nvme" else 4, "big")


@cache
def _amazons() -> ModuleType | None:
    """Return the module of Amazon's own implementation; None where it is not installed."""
    try:
        return import_module("awscrt.checksums")
    except ImportError:
        return None


def md5s(etags: list[str]) -> list[str]:
    """Return the ETags that are MD5s, and "" in place of the others; 0.1 µs each where all are."""
    if set(map(len, etags)) == {_MD5_CHARACTERS} and not "".join(etags).encode().translate(None, _HEX):
        return etags
    return [etag if is_md5(etag) else "" for etag in etags]


def is_md5(text: str) -> bool:
    """Tell whether a text is an MD5 in lower-case hex."""
    return len(text) == _MD5_CHARACTERS and _HEX_TEXT.issuperset(text)
