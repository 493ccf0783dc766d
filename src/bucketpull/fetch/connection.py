"""Direct connections to a site: one GET after another, whose answers are usual (see `head`); else libcurl makes the request again.

Against libcurl this costs 0.4 times the CPU (12 µs to 28 for 20 KiB, with TLS 23 to 40, with 1,000 connections 15 to 55):
one read takes the whole answer, and nothing is kept or called that such a transfer does not need.
"""

import select
import socket
import ssl
from collections.abc import Callable
from errno import EINPROGRESS
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Chunk, Request, Response
from bucketpull.fetch.head import END, may_begin
from bucketpull.fetch.running_request import RunningRequest

if TYPE_CHECKING:
    from bucketpull.fetch.direct import Direct

# So long an address is trusted for new connections; then libcurl resolves the name anew.
TRUSTED_SECONDS: Final = 60.0
# After so many requests in a row that libcurl had to repeat, all are left to it for a while.
MOST_REPEATS: Final = 8
REST_SECONDS: Final = 60.0
# An answer that was there at once is not one of which nothing is known.
LEAST_SECONDS: Final = 1e-5
_PORTS: Final = {"http": 80, "https": 443}
_WAIT: Final = (BlockingIOError, ssl.SSLWantReadError)
_MOST_RECORDS: Final = 16
_NOTHING: Final[list[Chunk]] = []


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


class Connection(RunningRequest):
    """One socket. `ready` is to be called when it is; `closes` tells that no more can be asked over it, `is_idle` that nothing should come.

    Raises:
        OSError: There is no way to the site's address.

    """

    def __init__(self, site: Site, owner: "Direct", context: ssl.SSLContext | None) -> None:
        super().__init__()
        self.sock = _connect(site, context)
        self.fd = self.sock.fileno()
        self.site = site
        self.closes = self.is_idle = False
        self.ready: Callable[[], None] = self._connected
        self._owner = owner
        self._recv = self.sock.recv
        self._records = 0 if context is None else _MOST_RECORDS
        self._is_open = self._is_used = False
        self._before = self._head = self._message = self._shape = b""
        self._chunks: list[Chunk] = []
        self._status = self._length = 0
        self._left = -1  # of the body, once its length is known

    # --- see RunningRequest

    def is_answered(self) -> bool:
        """Tell whether anything has come."""
        return bool(self._head or self._before)

    def got(self) -> int:
        """Return the bytes of the body that have come."""
        return self._length - self._left if self._head else 0

    def is_connecting(self) -> bool:
        """Tell whether there is no connection yet."""
        return not self._is_open

    def end(self, reason: Reason, detail: str) -> None:
        """Give it up; if the site did not accept the connection, libcurl has to reach it again first."""
        if not self._is_open:
            self.site.distrust()
        self._end(reason, detail)

    # --- connecting

    def _connected(self) -> None:
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._locked_out()
        elif isinstance(self.sock, ssl.SSLSocket):
            self.ready = self._shake
            self._shake()
        else:
            self._opened()

    def _shake(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            self._owner.wait_for(self, select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._owner.wait_for(self, select.EPOLLOUT)
        except (OSError, ValueError):
            self._locked_out()
        else:
            self._opened()

    def _opened(self) -> None:
        self._is_open = True
        self._owner.wait_for(self, select.EPOLLIN)
        self.ask()

    def _locked_out(self) -> None:
        self.site.distrust()
        self._owner.hand_over(self)

    # --- asking

    def begin(self, request: Request, message: bytes) -> None:
        """Take a request, to be sent by `ask`."""
        self.request = request
        self._message = message
        self._head = b""
        self._chunks = []

    def ask(self) -> None:
        """Send the request; without a connection it goes out when there is one.

        It is always shorter than the buffer of an idle socket. If it does not fit, the socket is of no use.
        """
        if not self._is_open:
            return
        message = self._message
        self.ready, self.is_idle = self._read_head, False
        try:
            sent = self.sock.send(message)
        except OSError:
            sent = -1
        if sent != len(message):
            self._owner.hand_over(self)

    # --- listening

    def _receive(self) -> bytes | None:
        owner = self._owner
        try:
            data = self._recv(owner.recv_bytes)
        except _WAIT:
            return None
        except OSError as error:
            self._broke_off(Reason.RESET, str(error))
            return None
        if not data:
            self._broke_off(Reason.TRUNCATED, "the connection ended")
            return None
        if owner.counted is not None:
            owner.counted(len(data))
        return data

    def _read_head(self) -> None:
        data = self._receive()
        if data is None:
            return
        if self._before:
            data = self._before + data
        end = data.find(END) + len(END)
        if end < len(END):
            self._before = data
            if not may_begin(data):
                self._owner.hand_over(self)
            return
        head = data[:end]
        known = self._owner.heads.read(head)
        if known is None:
            self._owner.hand_over(self)
            return
        self._head, self._before = head, b""
        self._status, length, self.closes, self._shape = known
        self._length = self._left = length
        if length > self.request.max_bytes:
            self._end(Reason.SIZE, f"{length} bytes are declared, {self.request.max_bytes} are allowed")
        elif length and len(data) - end == length:  # the usual way: one read for all
            self._chunks.append(memoryview(data)[end:])
            self._left = 0
            self._end(None, "")
        else:
            self.ready = self._read_body
            if self._take(data[end:]) and self._records:
                self._read_body()

    def _read_body(self) -> None:
        # A read brings at most one record of TLS, 16 KiB: to ask for the next at once costs less than to wait for it.
        for _ in range(self._records or 1):
            data = self._receive()
            if data is None or not self._take(data):
                return

    def _take(self, data: bytes) -> bool:
        """Add to the body; tell whether there is more to come."""
        left = self._left - len(data)
        if left < 0:  # more than was declared: nothing after it can be trusted
            data, left, self.closes = data[:left], 0, True
        if data:
            self._chunks.append(data)
        self._left = left
        if left:
            return True
        self._end(None, "")
        return False

    def _read_idle(self) -> None:
        """Read while no request is open: mostly the end of the connection, or a TLS ticket, which is no data."""
        try:
            self._recv(1)
        except _WAIT:
            return
        except OSError:
            pass
        self._owner.lost(self)

    def _broke_off(self, reason: Reason, detail: str) -> None:
        if self.is_answered():
            self._end(reason if self._head else Reason.RESET, detail)
        elif self._is_used:
            self._owner.hand_over(self)  # the server let go of it just as it was used again
        else:
            self._end(Reason.RESET, detail)

    def _end(self, failure: Reason | None, detail: str) -> None:
        if failure is not None:
            self.closes = True
        owner, head = self._owner, self._head
        # A body that stays here until the next request is memory that no body after it can have while it is in a cache: 4 µs.
        chunks, self._chunks = self._chunks, _NOTHING
        self._is_used = True
        self.ready, self.is_idle = self._read_idle, True
        seconds = owner.came - self.started
        seconds = max(seconds, LEAST_SECONDS)
        if head:
            received = self._length - self._left
            response = Response(self._status, [head], chunks, received, seconds, failure, detail, self._shape)
        else:
            response = Response(0, [], [], 0, seconds, failure, detail)
        owner.ended(self, response)


def _connect(site: Site, context: ssl.SSLContext | None) -> socket.socket:
    sock = socket.socket(site.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trouble = sock.connect_ex(site.address)
        if trouble not in {0, EINPROGRESS}:
            raise OSError(trouble, f"{site.address[0]} cannot be reached")
        if context is None:
            return sock
        return context.wrap_socket(sock, server_hostname=site.host, do_handshake_on_connect=False)
    except BaseException:
        sock.close()
        raise


def _is_accept(line: str) -> bool:
    return line[:7].lower() == "accept:"


def _is_plain(line: str) -> bool:
    name, _, value = line.partition(": ")
    return bool(value) and line.isascii() and line.isprintable() and name.lower() != "host"
