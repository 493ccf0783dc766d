"""One of libcurl's easy handles, what it is set to, and the transfer that it makes.

A handle is used again and again without a reset: a transfer sets its URL, and what differs from the one before.
Setting four headers anew costs 1.9 µs, a method, a bound or a redirect policy 0.2 µs each, out of 20 µs a transfer.
"""

from collections.abc import Callable
from typing import Final

import pycurl

from bucketpull.domain.exchange import Request, Response
from bucketpull.fetch.options import FetchOptions

Done = Callable[[Response], None]
Sink = Callable[[bytes], object]
Count = Callable[[int], None]

COUNTED_BUFFER_BYTES: Final = 16 << 10
_HTTP: Final = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_SUPPRESS_CONNECT_HEADERS: Final = 265  # CURLOPT_SUPPRESS_CONNECT_HEADERS, for which pycurl has no name


class Slot:
    """An easy handle and its present transfer.

    `started` is when it was submitted; `marked` and `marked_at` are bytes and time at the start of its window for stalls,
    `marked` -1 before the first byte. `poured` counts what a sink took.
    """

    __slots__ = (
        "_buffer_bytes",
        "chunks",
        "counted",
        "done",
        "easy",
        "follow",
        "header_lines",
        "headers",
        "marked",
        "marked_at",
        "max_bytes",
        "method",
        "poured",
        "sink",
        "started",
    )

    def __init__(
        self, options: FetchOptions, authorities: str | None, opened: Callable[[int, int], int]
    ) -> None:
        self.easy = pycurl.Curl()
        self.easy.slot = self
        self._buffer_bytes = options.buffer_bytes
        self.chunks: list[bytes] = []
        self.header_lines: list[bytes] = []
        self.headers: tuple[str, ...] = ()
        self.method = "GET"
        self.max_bytes = 0
        self.follow = 0
        self.poured = 0
        self.sink: Sink | None = None
        self.counted: Count | None = None
        self.done: Done = nobody
        self.started = self.marked_at = 0.0
        self.marked = -1
        self._set_once(options, authorities, opened)

    def _set_once(
        self, options: FetchOptions, authorities: str | None, opened: Callable[[int, int], int]
    ) -> None:
        for name, value in (
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
            (pycurl.NOSIGNAL, 1),
            (pycurl.NOPROGRESS, 1),
            (pycurl.TCP_NODELAY, 1),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.PROTOCOLS, _HTTP),
            (pycurl.REDIR_PROTOCOLS, _HTTP),
            (_SUPPRESS_CONNECT_HEADERS, 1),
            (pycurl.CONNECTTIMEOUT_MS, int(options.connect_seconds * 1000)),
            (pycurl.BUFFERSIZE, options.buffer_bytes),
            (pycurl.MAXREDIRS, 0),
            (pycurl.USERAGENT, ""),  # not pycurl's: the request says what is to be said
            (pycurl.UNRESTRICTED_AUTH, 0),
            (pycurl.SSL_VERIFYPEER, 0 if options.insecure else 1),
            (pycurl.SSL_VERIFYHOST, 0 if options.insecure else 2),
            (pycurl.WRITEFUNCTION, self.chunks.append),
            (pycurl.HEADERFUNCTION, self.header_lines.append),
            (pycurl.SOCKOPTFUNCTION, opened),
        ):
            self.easy.setopt(name, value)
        if authorities is not None:
            self.easy.setopt(pycurl.CAINFO, authorities)

    def prepare(self, request: Request, done: Done, sink: Sink | None, counted: Count | None) -> None:
        """Set the handle to a request. `counted`, if there is one, is told the size of every piece of a body."""
        easy = self.easy
        easy.setopt(pycurl.URL, request.url)
        if request.headers is not self.headers:
            easy.setopt(pycurl.HTTPHEADER, request.headers)
            self.headers = request.headers
        if request.max_bytes != self.max_bytes:
            easy.setopt(pycurl.MAXFILESIZE_LARGE, request.max_bytes)
            self.max_bytes = request.max_bytes
        if request.follow != self.follow:
            easy.setopt(pycurl.FOLLOWLOCATION, request.follow > 0)
            easy.setopt(pycurl.MAXREDIRS, request.follow)
            self.follow = request.follow
        if request.method != self.method:
            easy.setopt(pycurl.NOBODY if request.method == "HEAD" else pycurl.HTTPGET, 1)
            self.method = request.method
        if sink is not self.sink or counted is not self.counted:
            self.sink = sink
            self.count(counted)
        self.done = done
        self.marked = -1

    def count(self, counted: Count | None) -> None:
        """Have the sizes of pieces told to somebody from now on, or no more."""
        self.counted = counted
        plain = self.sink is None and counted is None
        # The bound method of a list is the cheapest way there is to take a body (bytearray +1 µs, BytesIO +7 µs).
        self.easy.setopt(pycurl.WRITEFUNCTION, self.chunks.append if plain else self._take)
        # libcurl fills its buffer up to ten times before it looks up: under a cap it should look up sooner.
        self.easy.setopt(pycurl.BUFFERSIZE, self._buffer_bytes if counted is None else COUNTED_BUFFER_BYTES)

    def _take(self, chunk: bytes) -> int | None:
        size = len(chunk)
        if self.counted is not None:
            self.counted(size)
        if self.sink is None or not self._is_object():
            self.chunks.append(chunk)
            return None
        try:
            self.sink(chunk)
        except Exception:  # noqa: BLE001 - libcurl ends the transfer; the sink's owner knows why
            return 0
        self.poured += size
        return None

    def _is_object(self) -> bool:
        """Tell whether the body is what was asked for; the words of a refusal are no part of an object."""
        if self.poured:
            return True
        status_line = next((line for line in reversed(self.header_lines) if line.startswith(b"HTTP/")), b"")
        return status_line.split(b" ", 2)[1:2] in ([b"200"], [b"206"])

    def release(self) -> None:
        """Forget the transfer's values; the handle keeps its settings."""
        self.chunks.clear()
        self.header_lines.clear()
        self.poured = 0
        self.done = nobody


def nobody(_: Response) -> None:
    """Take the place of the callback of a slot that is free."""
