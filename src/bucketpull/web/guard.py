"""Who may see and steer the dashboard.

* Bound to this machine only (the default): everybody on it may look. Bound elsewhere: looking needs the token too.
* Changes always need the token, in a header that no other site's page can set without being asked about it first.
* On the loopback interface the `Host` must be a name of this machine, so that a foreign name that resolves to
  127.0.0.1 (DNS rebinding) shows nothing. Elsewhere the token keeps such pages out.
* A request that a browser marks as coming from another site is refused whatever it bears, but for the page itself: an answer that the
  other site could not read costs time of the job all the same.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from bucketpull.domain.user_input import shown_value
from bucketpull.reading.http_object import host_name

LOCAL_NAMES = {"localhost", "ip6-localhost"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Tell whether an address or name is of this machine only."""
    name = host.strip("[]").lower()
    if name in LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Guard:
    """Decides about requests; `objection` returns why one is refused."""

    def __init__(self, token: str, local: bool) -> None:
        self._token = token
        self._local = local

    def objection(self, headers: Mapping[str, str], *, change: bool, public: bool) -> tuple[int, str] | None:
        """Return a status and a sentence if a request must be refused, else None.

        The names of `headers` are in lower case. `public` is what holds no figures: the page itself.
        """
        host = headers.get("host", "")
        if self._local and not is_loopback(host_name(host)):
            return 403, f"host {shown_value(host)} is no name of this machine"
        if not public and _is_foreign(headers, host):
            return 403, "a page of another site may not look at this job, nor change it"
        if not public and (change or not self._local) and not self._knows_token(headers):
            return 401, "the token is missing or wrong; it is in the address that was printed at the start"
        return None

    def _knows_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.encode(), self._token.encode())


def _is_foreign(headers: Mapping[str, str], host: str) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return True
    origin = headers.get("origin")
    return origin is not None and _place(origin) != host.lower()


def _place(origin: str) -> str:
    """Return host and port of an origin; "" where they cannot be told."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # a bracket that is not closed
        return ""
