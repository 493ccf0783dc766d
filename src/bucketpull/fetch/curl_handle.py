"""One of libcurl's easy handles, what it is set to, and the transfer that it makes.

A handle is used again and again without a reset: a transfer sets what its request says.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pycurl

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request, Response
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.running_request import Begun, Count, Done, RunningRequest, Sink, nobody

Finish = Callable[["EasyHandle", Reason | None, str], None]

# Holds a usual object whole, so that it costs one call of Python; libcurl has one such buffer for all transfers.
BUFFER_BYTES: Final = 128 << 10
COUNTED_BUFFER_BYTES: Final = 16 << 10
LEAST_BUFFER_BYTES: Final = 1 << 10  # libcurl takes no smaller one
# libcurl remembers for half of it that a name does not exist: after an outage of the resolver that is waited for in vain.
DNS_SECONDS: Final = 20
_TOO_LONG: Final = "http://an address longer than libcurl takes"
_HTTP: Final = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_SUPPRESS_CONNECT_HEADERS: Final = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, for which pycurl has no name


class EasyHandle(RunningRequest):
    """An easy handle and its present transfer. `poured` counts what a sink took."""

    def __init__(
        self,
        options: FetchOptions,
        authorities: str | None,
        finish: Finish,
        pause: Callable[["EasyHandle"], None],
    ) -> None:
        super().__init__()
        self.easy = pycurl.Curl()
        self.easy.handle = self
        self.chunks: list[bytes] = []
        self.header_lines: list[bytes] = []
        self.poured = 0
        self.is_paused = False
        self._finish = finish
        self._pause = pause
        self._sink: Sink | None = None
        self._begun: Begun | None = None
        self._counted: Count | None = None
        self.buffer_bytes = BUFFER_BYTES
        self._set_once(options, authorities)

    def is_answered(self) -> bool:
        """Tell whether anything has come."""
        return bool(self.header_lines)

    def got(self) -> int:
        """Return the bytes of the body that have come."""
        # Until libcurl has begun, which a cap on bandwidth may put off, it tells what the transfer before brought.
        return int(self.easy.getinfo(pycurl.SIZE_DOWNLOAD_T)) if self.header_lines else 0

    def is_connecting(self) -> bool:
        """False: libcurl has its own time limit for connecting."""
        return False

    def judge(self, now: float, options: FetchOptions) -> tuple[Reason, str] | None:
        """Leave it alone while its sink takes nothing."""
        if self.is_paused:
            self.marked, self.marked_at = self.got(), now
            return None
        return super().judge(now, options)

    def end(self, reason: Reason, detail: str) -> None:
        """Give it up."""
        self._finish(self, reason, detail)

    def _set_once(self, options: FetchOptions, authorities: str | None) -> None:
        for name, value in (
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.NOPROGRESS, 1),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.PROTOCOLS, _HTTP),
            (_SUPPRESS_CONNECT_HEADERS, 1),
            (pycurl.CONNECTTIMEOUT_MS, int(options.connect_seconds * 1000)),
            (pycurl.DNS_CACHE_TIMEOUT, DNS_SECONDS),
            (pycurl.BUFFERSIZE, BUFFER_BYTES),
            (pycurl.FOLLOWLOCATION, 0),  # a redirect is an answer: what lies elsewhere is not the object
            (pycurl.USERAGENT, ""),  # not pycurl's: the request says what is to be said
            (pycurl.SSL_VERIFYPEER, 0 if options.insecure else 1),
            (pycurl.SSL_VERIFYHOST, 0 if options.insecure else 2),
            (pycurl.WRITEFUNCTION, self.chunks.append),
            (pycurl.HEADERFUNCTION, self.header_lines.append),
        ):
            self.easy.setopt(name, value)
        if authorities is not None:
            self.easy.setopt(pycurl.CAINFO, authorities)

    def prepare(
        self,
        request: Request,
        done: Done,
        sink: Sink | None,
        begun: Begun | None,
        counted: Count | None,
        buffer_bytes: int,
    ) -> None:
        """Set the handle to a request. `begun`, if given, is told of the head before a sink gets a body; `counted`, if given, is called with the size of each piece of a body."""
        easy = self.easy
        try:
            easy.setopt(pycurl.URL, request.url)
        except pycurl.error:  # longer than libcurl takes: this request fails, and no other
            easy.setopt(pycurl.URL, _TOO_LONG)
        if request.address != self.request.address:
            easy.setopt(pycurl.CONNECT_TO, [f"::{_in_brackets(request.address)}:"] if request.address else [])
        self.request = request
        easy.setopt(pycurl.HTTPHEADER, request.headers)
        easy.setopt(pycurl.MAXFILESIZE_LARGE, request.max_bytes)
        if sink is not self._sink or counted is not self._counted or buffer_bytes != self.buffer_bytes:
            self._sink = sink
            self.count(counted, buffer_bytes)
        self.done, self._begun = done, begun
        self.marked = -1

    def count(self, counted: Count | None, buffer_bytes: int) -> None:
        """Report the sizes of pieces from now on, or no longer; receive with a buffer of that size."""
        self._counted, self.buffer_bytes = counted, buffer_bytes
        plain = self._sink is None and counted is None
        # The bound method of a list is the cheapest way there is to take a body (bytearray +1 µs, BytesIO +7 µs).
        self.easy.setopt(pycurl.WRITEFUNCTION, self.chunks.append if plain else self._take)
        self.easy.setopt(pycurl.BUFFERSIZE, buffer_bytes)

    def _take(self, chunk: bytes) -> int | None:
        size = len(chunk)
        if self._sink is None or not self._is_object():
            self._count(size)
            self.chunks.append(chunk)
            return None
        try:
            if self._begun is not None:
                self._tell_head(self._begun)
            is_taken = self._sink(chunk)
        except Exception:  # noqa: BLE001 - libcurl ends the transfer; the sink's owner knows why
            return 0
        if is_taken is False:
            self.is_paused = True
            self._pause(self)
            return int(pycurl.WRITEFUNC_PAUSE)
        self._count(size)
        self.poured += size
        return None

    def _tell_head(self, begun: Begun) -> None:
        self._begun = None
        begun(Response(int(self._status()), list(self.header_lines), [], 0, 0.0, Reason.INTERRUPTED))

    def resume(self) -> None:
        """Offer again what was not taken, and read on."""
        self.is_paused = False
        with suppress(pycurl.error):  # it has ended meanwhile, which libcurl tells in its own way
            self.easy.pause(pycurl.PAUSE_CONT)

    def _count(self, size: int) -> None:
        if self._counted is not None:
            self._counted(size)

    def _is_object(self) -> bool:
        """Tell whether the body is that of a good answer; the text of a refusal is no part of an object."""
        if self.poured:
            return True
        return self._status() in {b"200", b"206"}

    def _status(self) -> bytes:
        """Return the last answer's status; libcurl may not be asked from inside its own call."""
        line = next((line for line in reversed(self.header_lines) if line.startswith(b"HTTP/")), b"")
        return line.split()[1] if b" " in line else b""

    def release(self) -> None:
        """Forget the transfer's values; the handle keeps its settings."""
        self.chunks.clear()
        self.header_lines.clear()
        self.poured = 0
        self.is_paused = False
        self.done = nobody


def _in_brackets(address: str) -> str:
    return f"[{address}]" if ":" in address else address
