"""What S3 and its kin complain of: the code of an error answer -> `Reason`; the remedy follows from the reason.

An error is XML with Code and Message ("Error responses", Amazon S3 API reference). Services leave out much of it: Ceph's Message
is empty, others answer a refusal with HTML or with nothing. Then the status decides.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Response

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
STATUS: Final[dict[int, Reason]] = {
    401: Reason.CREDENTIALS,
    403: Reason.PERMISSION,
    404: Reason.GONE,
    408: Reason.TIMEOUT,
    410: Reason.GONE,
    412: Reason.RANGE,
    416: Reason.RANGE,
    429: Reason.THROTTLED,
    501: Reason.REJECTED,
    503: Reason.THROTTLED,
}
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
        return known if known is not None else _by_status(self.status, self.region)


def complaint(response: Response, headers: Mapping[str, str]) -> Complaint:
    """Read what an answer complains of; never fails, whatever the body holds."""
    body = response.body[:_MESSAGE_BYTES]
    fields = {name: " ".join(text.decode("utf-8", "replace").split()) for name, text in _FIELD.findall(body)}
    code, message = fields.get(b"Code", ""), fields.get(b"Message", "")
    if not code and not body.lstrip().startswith(b"<"):
        message = " ".join(body[:_DETAIL].decode("utf-8", "replace").split())
    region = headers.get("x-amz-bucket-region", "") or fields.get(b"Region", "")
    return Complaint(response.status, code, message, region)


def _by_status(status: int, region: str) -> Reason:
    if status in _REDIRECTS:
        return Reason.REGION if region else Reason.REDIRECTED
    known = STATUS.get(status)
    if known is not None:
        return known
    if 400 <= status < 500:
        return Reason.REJECTED
    return Reason.SERVER_ERROR if status >= 500 else Reason.GARBAGE
