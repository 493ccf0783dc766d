"""An origin server that libcurl has reached: where it is, what to say to it, and the connections to it that are free."""

import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from bucketpull.fetch.connection import Connection

# So long an address is trusted for new connections; then libcurl resolves the name anew.
TRUSTED_SECONDS: Final = 60.0
# After so many requests in a row that libcurl had to repeat, all are left to it for a while.
MOST_REPEATS: Final = 8
REST_SECONDS: Final = 60.0
_PORTS: Final = {"http": 80, "https": 443}


class Site:
    """One scheme, host and port; times are monotonic seconds.

    `repeats` counts the requests in a row that libcurl had to make again; until `rests_until` all are left to it.
    """

    __slots__ = (
        "_accepts",
        "_end",
        "_headers",
        "_learnt_at",
        "_others",
        "_tail",
        "address",
        "free",
        "host",
        "is_tls",
        "netloc",
        "repeats",
        "rests_until",
    )

    def __init__(self, origin: str) -> None:
        parts = urlsplit(origin)
        self.netloc = parts.netloc
        self.host = parts.hostname or ""
        self.is_tls = parts.scheme == "https"
        self.address: tuple[str, int] = ("", parts.port or _PORTS[parts.scheme])
        self.free: list[Connection] = []
        self.repeats = 0
        self.rests_until = self._learnt_at = float("-inf")
        self._headers: tuple[str, ...] | None = None
        self._others: tuple[str, ...] = ()
        self._accepts = False
        self._end = b"\r\n"
        self._tail = b""

    def learn(self, ip: str, now: float) -> None:
        """Take over the address at which libcurl reached it."""
        self.address = (ip, self.address[1])
        self._learnt_at = now

    def distrust(self) -> None:
        """Open no more connections before libcurl has reached it again."""
        self._learnt_at = float("-inf")

    def is_known(self, now: float) -> bool:
        """Tell whether new connections may be opened."""
        return now - self._learnt_at < TRUSTED_SECONDS

    def failed(self, now: float) -> None:
        """Note that libcurl had to repeat a request."""
        self.repeats += 1
        if self.repeats >= MOST_REPEATS:
            self.repeats = 0
            self.rests_until = now + REST_SECONDS

    @property
    def family(self) -> socket.AddressFamily:
        """The address's family."""
        return socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET

    def message(self, target: str, headers: tuple[str, ...]) -> bytes | None:
        """Write a request; None if libcurl has a meaning of its own for these headers, or refuses them.

        The headers are written once, as long as it is the same tuple again; where only the first is another, as signatures are,
        the others are.
        """
        if headers is not self._headers and not self._take(headers):
            return None
        return b"GET " + target.encode("ascii") + self._tail

    def _take(self, headers: tuple[str, ...]) -> bool:
        first, others = headers[:1], headers[1:]
        if others != self._others:
            if not all(map(_is_plain, others)):
                return False
            self._others, self._end = others, "\r\n".join((*others, "", "")).encode("ascii")
            self._accepts = any(map(_is_accept, others))
        if not all(map(_is_plain, first)):
            return False
        accept = () if self._accepts or any(map(_is_accept, first)) else ("Accept: */*",)
        lines = (" HTTP/1.1", f"Host: {self.netloc}", *accept, *first, "")
        self._tail = "\r\n".join(lines).encode("ascii") + self._end
        self._headers = headers
        return True


def _is_accept(line: str) -> bool:
    return line[:7].lower() == "accept:"


def _is_plain(line: str) -> bool:
    name, _, value = line.partition(": ")
    return bool(value) and line.isascii() and line.isprintable() and name.lower() != "host"
