"""AWS Signature Version 4 for requests whose body is not signed.

Facts, from AWS's "Signature Version 4 for API requests" and "Authenticating Requests (Amazon S3)": the path is signed as it is
sent (S3 does not normalise it), the query is signed sorted by name, every `x-amz-*` header must be signed, and the body's hash
may be the word UNSIGNED-PAYLOAD. The signing key depends on day, region and service, so it is derived once a day. A signature
is accepted for 15 minutes, so a request is signed when it is sent.
"""

import hmac
import time
from hashlib import sha256
from typing import Protocol

import msgspec

from bucketpull.domain.errors import ConfigError

_SERVICE = "s3"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_DAY_SECONDS = 86_400


class Credentials(msgspec.Struct, frozen=True):
    """Who asks. `session_token` is "" for long-lived keys."""

    access_key: str
    secret_key: str
    session_token: str = ""

    def __post_init__(self) -> None:
        """Raise ConfigError where what stands in headers could not be sent."""
        for name, value in (
            ("AWS_ACCESS_KEY_ID", self.access_key),
            ("AWS_SESSION_TOKEN", self.session_token),
        ):
            if not (value.isascii() and value.isprintable()) or " " in value:
                raise ConfigError(
                    f"source: {name}, or that of the profile, has a blank, a line break or a letter that is not ASCII; write it as the service shows it"
                )

    def __repr__(self) -> str:
        """Show nothing secret."""
        return f"Credentials({self.access_key!r})"


class Authorization(Protocol):
    """One way to say who asks."""

    def lines(self, path: str, query: str, now: float) -> tuple[str, ...]:
        """Return the header lines for a GET.

        Args:
            path: The path as sent, percent-encoded.
            query: The query as sent, its parameters sorted by name; "" for none.
            now: The server's time, in Unix seconds.

        """
        ...


class Anonymous:
    """No signature: for public buckets. `headers` are (lower-case name, value)."""

    def __init__(self, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self._lines = tuple(f"{name}: {value}" for name, value in headers)

    def lines(self, path: str, query: str, now: float) -> tuple[str, ...]:  # noqa: ARG002
        """Return the same lines for every request."""
        return self._lines


class Signer:
    """Signs requests to one host in one region; about 6 µs a request.

    Args:
        host: The value of the Host header, with the port where it is not the scheme's own.
        headers: Further `x-amz-*` headers of every request, as (lower-case name, value).

    """

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        host: str,
        headers: tuple[tuple[str, str], ...] = (),
        method: str = "GET",
    ) -> None:
        self._method = method
        self._secret = credentials.secret_key
        self._access_key = credentials.access_key
        self._region = region
        token = credentials.session_token
        self._headers = headers + ((("x-amz-security-token", token),) if token else ())
        self._host = host
        self._day = self._second = -1
        self._key = b""
        self._head = self._tail = self._prefix = ""
        self._constant: tuple[str, ...] = ()

    def lines(self, path: str, query: str, now: float) -> tuple[str, ...]:
        """Sign with the date of this second."""
        second = int(now)
        if second != self._second:
            self._begin(second)
        canonical = f"{self._method}\n{path}\n{query}\n{self._tail}"
        text = self._head + sha256(canonical.encode()).hexdigest()
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        return (self._prefix + signature, *self._constant)

    def _begin(self, second: int) -> None:
        """Prepare what the requests of one second share."""
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        if second // _DAY_SECONDS != self._day:
            self._day = second // _DAY_SECONDS
            self._key = signing_key(self._secret, date[:8], self._region)
        signed = sorted(
            (
                ("host", self._host),
                ("x-amz-content-sha256", _UNSIGNED),
                ("x-amz-date", date),
                *self._headers,
            )
        )
        names = ";".join(name for name, _ in signed)
        written = "".join(f"{name}:{value}\n" for name, value in signed)
        scope = f"{date[:8]}/{self._region}/{_SERVICE}/aws4_request"
        self._tail = f"{written}\n{names}\n{_UNSIGNED}"
        self._head = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n"
        credential = f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}"
        self._prefix = f"Authorization: {credential}, SignedHeaders={names}, Signature="
        self._constant = tuple(f"{name}: {value}" for name, value in signed if name != "host")
        self._second = second


def signing_key(secret: str, day: str, region: str) -> bytes:
    """Derive the key of a day ("20130524") and a region."""
    key = b"AWS4" + secret.encode()
    for part in (day, region, _SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
