"""The short way for usual requests: direct connections to sites that libcurl has reached before.

libcurl stays the one who knows HTTP: it makes the first contact (name, address, certificate), everything that
is not a plain GET into memory, everything where a proxy is set, and again each request whose answer is unusual here.
"""

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from bucketpull.domain.http_exchange import Request, Response
from bucketpull.fetch.connection import Connection, HeadReader
from bucketpull.fetch.fetch_options import IDLE_SECONDS, FetchOptions
from bucketpull.fetch.running_request import Begun, Count, Done, RunningRequest, Sink, nobody

# Python allocates so much for a read, and gives back what it did not need. Above 128 KiB malloc may ask the kernel for fresh
# pages each time: 44 µs a transfer in place of 16.
RECV_BYTES: Final = 64 << 10
# So long the others wait while libcurl makes the first contact with a site, rather than connect twice themselves.
CONTACT_SECONDS: Final = 0.25
# Of more hosts than that in use lately, those that are idle are forgotten.
MOST_SITES: Final = 1024
# So long an address is trusted for new connections; then libcurl resolves the name anew.
TRUSTED_SECONDS: Final = 60.0
# After so many requests in a row that libcurl had to repeat, all are left to it for a while.
MOST_REPEATS: Final = 8
REST_SECONDS: Final = 60.0
_PORTS: Final = {"http": 80, "https": 443}
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")


class Site:
    """An origin server that libcurl has reached, and the connections to it that are free; times are monotonic seconds.

    `repeats` counts the requests in a row that libcurl had to make again; until `rests_until` all are left to it.
    """

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
            if not all(map(_is_plain_line, others)):
                return False
            self._others, self._end = others, "\r\n".join((*others, "", "")).encode("ascii")
            self._accepts = any(map(_is_accept, others))
        if not all(map(_is_plain_line, first)):
            return False
        accept = () if self._accepts or any(map(_is_accept, first)) else ("Accept: */*",)
        lines = (" HTTP/1.1", f"Host: {self.netloc}", *accept, *first, "")
        self._tail = "\r\n".join(lines).encode("ascii") + self._end
        self._headers = headers
        return True


class Direct:
    """The direct connections of one loop. `counted` is called with the size of everything that is received.

    `held_back` is for how many seconds nothing was read, which counts as nobody's silence. `came` is the earliest time at which what
    is read now may have come: what waited for this process to be read says nothing of how quick its server is.

    Args:
        busy: The loop's, of all transfers.
        by_curl: Makes a request by libcurl.
        call_later: Calls back after so many seconds.

    """

    def __init__(
        self,
        options: FetchOptions,
        authorities: str | None,
        poller: select.epoll,
        busy: dict[RunningRequest, None],
        by_curl: Callable[[Request, Done, Sink | None, Begun | None], None],
        call_later: Callable[[float, Callable[[], None]], None],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.heads = HeadReader()
        self.now = self.came = self.held_back = 0.0
        self.recv_bytes = RECV_BYTES
        self.counted: Count | None = None
        self.connections: dict[int, Connection] = {}
        self._insecure = options.insecure
        self._kept = options.kept_connections
        self._authorities = authorities
        self._poller = poller
        self._busy = busy
        self._by_curl = by_curl
        self._call_later = call_later
        self._waiting: dict[str, list[tuple[Request, Done]]] = {}
        self._outgoing: list[Connection] = []
        self._sites: dict[str, Site] = {}
        self._context: ssl.SSLContext | None = None
        self.is_proxied = any(environment.get(name) or environment.get(name.upper()) for name in _PROXIES)
        self._is_allowed = options.direct and not self.is_proxied

    def submit(
        self, request: Request, done: Done, sink: Sink | None = None, begun: Begun | None = None
    ) -> None:
        """Make a request (see `ports.Fetcher`), by libcurl if it is not a usual one."""
        if sink is not None or not self._begin(request, done):
            self._by_curl(request, done, sink, begun)

    def _begin(self, request: Request, done: Done) -> bool:
        """Take a request, to be sent by `send`, or once its site is known; False if it is one for libcurl."""
        now = time.monotonic()
        url = request.url
        at = url.find("/", 8)
        origin = url[:at] + request.address
        site = self._sites.get(origin)
        if site is None:
            return self._is_allowed and self._wait(origin, request, done)
        if now < site.rests_until or not _is_plain(url):
            return False
        message = site.message(url[at:], request.headers)
        if message is None:
            return False
        connection = site.free.pop() if site.free else self._open(site, now)
        if connection is None:
            return self._wait(origin, request, done)
        connection.done = done
        connection.started, connection.marked_at, connection.marked = now, now - self.held_back, -1
        self._busy[connection] = None
        connection.begin(request, message)
        self._outgoing.append(connection)
        return True

    def send(self) -> None:
        """Send what was submitted since the last time.

        All at once, after the work that answers make: a server that has nothing to do falls asleep, and to wake it for
        each request costs 10 µs more than to send it while it is awake.
        """
        outgoing, self._outgoing = self._outgoing, []
        if outgoing:
            self._lose_unasked()
        for connection in outgoing:
            if connection in self._busy:
                connection.started = self.now
                connection.ask()

    def _lose_unasked(self) -> None:
        """Let go of idle connections on which something has come: it would be taken for the next answer there, and that for the one after.

        One look for all that is about to be sent takes 0.35 µs, and 0.2 µs for each that is ready; one at each socket takes 1.6 µs.
        libcurl does likewise.
        """
        connections = self.connections
        for fd, _ in self._poller.poll(0):
            connection = connections.get(fd)
            if connection is not None and connection.is_idle:
                connection.ready()

    def _wait(self, origin: str, request: Request, done: Done) -> bool:
        """Leave the first request for a site to libcurl, and have the others wait for what it finds out."""
        waiting = self._waiting.get(origin)
        if waiting is None:
            self._waiting[origin] = []
            self._call_later(CONTACT_SECONDS, lambda: self._release(origin))
            return False
        waiting.append((request, done))
        return True

    def _release(self, origin: str) -> None:
        for request, done in self._waiting.pop(origin, ()):
            self._by_curl(request, done, None, None)

    @property
    def waiting(self) -> int:
        """Requests that wait for a first contact."""
        return sum(map(len, self._waiting.values()))

    def learn(self, request: Request, ip: str, now: float) -> None:
        """Note the address at which libcurl got an answer from a site, and make the requests that waited for it."""
        url = request.url
        at = url.find("/", 8)
        origin = url[:at] + request.address
        if self._is_allowed and ip and at > 0 and "@" not in origin and "?" not in origin:
            if origin not in self._sites:
                if len(self._sites) >= MOST_SITES:
                    self._tidy()
                self._sites[origin] = Site(url[:at])
            self._sites[origin].learn(ip, now)
            for waiting, done in self._waiting.pop(origin, ()):
                self.submit(waiting, done)

    def is_unknown(self, request: Request, now: float) -> bool:
        """Tell whether `learn` should be called for a request."""
        url = request.url
        site = self._sites.get(url[: url.find("/", 8)] + request.address)
        return self._is_allowed and (site is None or not site.is_known(now))

    def close(self) -> None:
        """Close all connections, without callbacks."""
        for connection in self.connections.values():
            connection.sock.close()
        self.connections.clear()
        self._outgoing.clear()
        self._waiting.clear()
        self._sites.clear()

    def _open(self, site: Site, now: float) -> Connection | None:
        if not site.is_known(now):
            return None
        if len(self.connections) >= self._kept:
            self._tidy(site)
        try:
            connection = Connection(site, self, self._tls() if site.is_tls else None)
        except (OSError, ValueError):
            site.distrust()
            return None
        self.connections[connection.fd] = connection
        self._poller.register(connection.fd, select.EPOLLOUT)
        return connection

    def _tidy(self, kept: Site | None = None) -> None:
        """Close all idle connections, and forget sites without others: a list may name a million hosts."""
        for site in self._sites.values():
            self._close_idle(site)
        used = {connection.site for connection in self.connections.values()} | {kept}
        self._sites = {origin: site for origin, site in self._sites.items() if site in used}

    def _close_idle(self, site: Site) -> None:
        while site.free:
            self._drop(site.free.pop())

    def close_unused(self, now: float) -> None:
        """Close what has been idle for long: the last one used is the first to be used again, so it is what is not needed."""
        for site in self._sites.values():
            while site.free and now - site.free[0].started > IDLE_SECONDS:
                self._drop(site.free.pop(0))

    def _tls(self) -> ssl.SSLContext:
        if self._context is None and self._insecure:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        elif self._context is None:
            self._context = ssl.create_default_context(cafile=self._authorities)
        return self._context

    # --- what connections call

    def wait_for(self, connection: Connection, events: int) -> None:
        """Have `ready` called at these events from now on."""
        self._poller.modify(connection.fd, events)

    def ended(self, connection: Connection, response: Response) -> None:
        """Take an answer, or the failure of one; what its callback asks for next goes over the same connection."""
        del self._busy[connection]
        done, connection.done = connection.done, nobody
        if connection.closes:
            self._drop(connection)
        else:
            site = connection.site
            site.repeats = 0
            site.free.append(connection)
        done(response)

    def hand_over(self, connection: Connection) -> None:
        """Have libcurl make the request: the connection could not.

        While a site is left to libcurl, which has connections of its own, idle ones here only keep it out of a server that takes so many.
        """
        del self._busy[connection]
        site = connection.site
        site.failed(self.now)
        self._drop(connection)
        if self.now < site.rests_until:
            self._close_idle(site)
        self._by_curl(connection.request, connection.done, None, None)

    def lost(self, connection: Connection) -> None:
        """Let go of an idle connection; a request for which it was chosen a moment ago, and which is not sent yet, is libcurl's."""
        if connection in self._busy:
            self.hand_over(connection)
            return
        connection.site.free.remove(connection)
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        del self.connections[connection.fd]
        connection.sock.close()


def _is_plain(url: str) -> bool:
    """Tell whether an URL can be sent as it is, without what libcurl takes out or refuses."""
    return url.isascii() and url.isprintable() and " " not in url and "#" not in url


def _is_accept(line: str) -> bool:
    return line[:7].lower() == "accept:"


def _is_plain_line(line: str) -> bool:
    name, _, value = line.partition(": ")
    return bool(value) and line.isascii() and line.isprintable() and name.lower() != "host"
