"""How a request says who asks: three forms of authorization, and the CDN's anti-leech token (docs/reference/upyun.md)."""

import base64
import hashlib
import hmac

from bucketpull.sources.http import http_date


def password_key(password: str) -> bytes:
    """Return the key of all signatures: the password's MD5 in lower-case hex."""
    return hashlib.md5(password.encode()).hexdigest().encode()


def signature(key: bytes, *parts: str) -> str:
    """Sign the non-empty parts, joined by `&`."""
    message = "&".join(part for part in parts if part)
    return base64.b64encode(hmac.digest(key, message.encode(), "sha1")).decode()


def cdn_token(secret: str, expires: int, uri: bytes) -> str:
    """Return the value of `_upt` for a path, which begins with a slash and has no query."""
    digest = hashlib.md5(b"%s&%d&%s" % (secret.encode(), expires, uri)).hexdigest()
    return f"{digest[12:20]}{expires}"


class SignedAuthorization:
    """A signature for each request, good for 30 minutes: make it when the request is sent. Its header lines are for a GET of a path as sent.

    `now` is the server's time in Unix seconds.
    """

    def __init__(self, operator: str, password: str) -> None:
        self._operator = operator
        self._key = password_key(password)
        self._second = -1
        self._date = ""

    def lines(self, uri: str, now: float) -> tuple[str, ...]:
        """Sign with the date of this second."""
        if int(now) != self._second:
            self._second, self._date = int(now), http_date(int(now))
        signed = signature(self._key, "GET", uri, self._date)
        return (f"Authorization: UPYUN {self._operator}:{signed}", f"Date: {self._date}")


class FixedAuthorization:
    """The same lines for every request."""

    def __init__(self, *lines: str) -> None:
        self._lines = lines

    def lines(self, uri: str, now: float) -> tuple[str, ...]:  # noqa: ARG002
        """Return the lines."""
        return self._lines


def by_password(operator: str, password: str) -> FixedAuthorization:
    """Send the plain password, hence by https only."""
    word = base64.b64encode(f"{operator}:{password}".encode()).decode()
    return FixedAuthorization(f"Authorization: Basic {word}")


def by_token(operator: str, token: str, prefix: str, expires: int) -> FixedAuthorization:
    """Send a token made beforehand for every GET below a path, so that who uses it needs no password."""
    return FixedAuthorization(
        f"Authorization: UPYUN {operator}:{token}",
        f"X-Upyun-Uri-Prefix: {prefix}",
        f"X-Upyun-Expire: {expires}",
    )


def read_token(password: str, prefix: str, expires: int) -> str:
    """Make the token for GETs of all paths that begin with `prefix`, until `expires` (Unix seconds)."""
    return signature(password_key(password), "GET", prefix, str(expires))
