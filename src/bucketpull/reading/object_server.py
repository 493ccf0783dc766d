"""Objects over HTTP: GET and HEAD by key, with ranges, conditions and a limit on connections.

A small object that the system has in memory is read and sent at once; what would make the loop wait for a disk is read in
threads. Behind it is nothing but the index: a key is never taken for a path.
"""

import asyncio
import logging
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple, TextIO, TypeVar, cast
from urllib.parse import unquote_to_bytes

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from bucketpull.domain.user_input import shown_value
from bucketpull.reading import http_object
from bucketpull.reading.readable_volumes import LOOK_SECONDS, Away, Found, OpenVolumes, read_now
from bucketpull.report.printable import printable

T = TypeVar("T")

_SMALL_BYTES: Final = 256 << 10
_PIECE_BYTES: Final = 256 << 10
_THREADS: Final = 32
_RETRY_SECONDS: Final = "5"
_REFUSAL_SECONDS: Final = 5.0
_TOLD_SECONDS: Final = 60.0
_LOG_DELAY_SECONDS: Final = 0.1
_MOST_LOG_LINES: Final = 1000
_IDLE_SECONDS: Final = 75.0  # between two requests
_METHODS: Final = frozenset({"GET", "HEAD"})
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)


class Options(NamedTuple):
    """How to serve: the Cache-Control header ("" for none), kinds of content, the most connections, where to log requests.

    `host_names` are the names by which it may be asked, beside addresses and names without a dot; None is any.

    A connection without a whole request after `request_seconds`, or that takes nothing of its answer for `stall_seconds`, is cut off.
    """

    cache_control: str = ""
    types: http_object.Types = http_object.Types()
    connections: int = 1000
    log: TextIO | None = None
    request_seconds: float = 10.0
    stall_seconds: float = 60.0
    host_names: Collection[str] | None = None


class AccessLog:
    """A line a request, in the combined format of web servers, and the seconds that its answer took.

    Lines are written together, some moments after the answers: a write of each costs as much as a small object. It belongs to one event
    loop; `close` writes what is left.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._due: asyncio.TimerHandle | None = None
        self._second = -1
        self._date = ""

    def add(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Note an answer."""
        length = response.content_length if response.content_length is not None else "-"
        line = f"{request.method} {request.raw_path} HTTP/{request.version.major}.{request.version.minor}"
        headers = request.headers
        agent, referer = headers.get(hdrs.USER_AGENT, "-"), headers.get(hdrs.REFERER, "-")
        text = printable(
            f'{request.remote} - - [{self._now()}] "{_quoted(line)}" {response.status} {length} '
            f'"{_quoted(referer)}" "{_quoted(agent)}" {seconds:.6f}'
        )
        self._lines.append(f"{text}\n")
        if len(self._lines) >= _MOST_LOG_LINES:
            self.close()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(_LOG_DELAY_SECONDS, self.close)

    def close(self) -> None:
        """Write what was noted; a full disk under the log stops no answer."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines = self._lines, []
        with suppress(OSError, ValueError):
            self._stream.write("".join(lines))
            self._stream.flush()

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
        return self._date


class ObjectServer:
    """Serves the objects of volumes. `counts` has the answers by status, `sent` the bytes of their bodies, `seconds` what they took.

    `changed` is called with the path of a volume that went away and why, and with that of one that is back and "".
    """

    def __init__(
        self, volumes: OpenVolumes, options: Options, changed: Callable[[str, str], None] = lambda _, __: None
    ) -> None:
        self._volumes = volumes
        self._options = options
        self._changed = changed
        self._log = AccessLog(options.log) if options.log is not None else None
        self._threads = ThreadPoolExecutor(_THREADS, "read")
        self._server = web.Server(
            self._answer, access_log=None, keepalive_timeout=_IDLE_SECONDS, logger=_logger()
        )
        self._listener: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None
        self.counts: Counter[int] = Counter()
        self.sent = 0
        self.seconds = 0.0
        self.connections = 0
        self.unasked: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError where the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connect, host, port, backlog=1024)
        self._looking = asyncio.create_task(self._look())
        address: tuple[str, int] = self._listener.sockets[0].getsockname()
        return address[1]

    async def close(self) -> None:
        """Stop listening, finish the answers that are being sent, and close."""
        if self._listener is not None:
            self._listener.close()
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._server.shutdown(5.0)
        if self._log is not None:
            self._log.close()
        self._threads.shutdown(wait=False)
        self._volumes.close()

    def troubles(self) -> dict[str, str]:
        """Return what is wrong with volumes, by path."""
        return dict(self._volumes.troubles)

    def _connect(self) -> asyncio.Protocol:
        if self.connections >= self._options.connections:
            return _Refusal()
        return _Counted(self, self._server(), self._options)

    def _asked(self, transport: asyncio.BaseTransport | None) -> None:
        """Stop waiting for the first request of a connection."""
        waiting = self.unasked.pop(transport, None) if transport is not None else None
        if waiting is not None:
            waiting.cancel()

    async def _look(self) -> None:
        before = self.troubles()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await asyncio.get_running_loop().run_in_executor(self._threads, self._volumes.look)
            now = self.troubles()
            for path in sorted(before.keys() ^ now.keys()):
                self._changed(path, now.get(path, ""))
            before = now

    # --- one request

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.perf_counter()
        self._asked(request.transport)
        response = await self._response(request)
        seconds = time.perf_counter() - began
        self.counts[response.status] += 1
        self.seconds += seconds
        if self._log is not None:
            self._log.add(request, response, seconds)
        return response

    async def _response(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in _METHODS:
            return _plain(405, "only GET and HEAD", {hdrs.ALLOW: "GET, HEAD"})
        refused = refused_host(request, self._options.host_names)
        if refused is not None:
            return refused
        target = request.raw_path.partition("?")[0]
        if not target.startswith("/"):  # with scheme and host, as clients of proxies ask (RFC 9112, 3.2.2)
            target = "/" + target.partition("://")[2].partition("/")[2]
        key = unquote_to_bytes(target.removeprefix("/"))
        try:
            found = await self._find(key)
            if found is None:
                return _plain(404, "no such object")
            return await self._send(request, key, found)
        except (Away, OSError) as error:
            detail = (
                "a disk that may have it is away" if isinstance(error, Away) else "its disk does not give it"
            )
            return _plain(503, detail, {hdrs.RETRY_AFTER: _RETRY_SECONDS})

    async def _find(self, key: bytes) -> Found | None:
        try:
            return self._volumes.find(key, read_now)
        except BlockingIOError:
            return await self._in_thread(self._volumes.find, key)

    async def _send(self, request: web.BaseRequest, key: bytes, found: Found) -> web.StreamResponse:
        etag, headers = f'"{found.etag}"', request.headers
        about: dict[str, str] = {
            hdrs.ETAG: etag,
            hdrs.LAST_MODIFIED: http_object.http_date(found.mtime),
            hdrs.ACCEPT_RANGES: "bytes",
        }
        if self._options.cache_control:
            about[hdrs.CACHE_CONTROL] = self._options.cache_control
        if not http_object.is_precondition_met(headers, etag, found.mtime):
            return web.Response(status=412, headers=about)
        if http_object.is_not_modified(headers, etag, found.mtime):
            return web.Response(status=304, headers=about)
        about[hdrs.CONTENT_TYPE] = self._options.types.of(key)
        about["X-Content-Type-Options"] = "nosniff"
        if http_object.may_run_scripts(about[hdrs.CONTENT_TYPE]):
            about["Content-Security-Policy"] = http_object.SANDBOX
        text, ranges = headers.get(hdrs.RANGE), None
        if text is not None and http_object.is_range_allowed(headers, etag, found.mtime):
            ranges = http_object.parse_ranges(text, found.size)
        if ranges is None:
            return await self._body(request, found, 200, about, 0, found.size)
        if not ranges:
            return _plain(416, "no such range", {hdrs.CONTENT_RANGE: f"bytes */{found.size}"})
        if len(ranges) > 1:
            return await self._several(request, found, about, ranges)
        start, end = ranges[0]
        about[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{found.size}"
        return await self._body(request, found, 206, about, start, end)

    async def _body(
        self, request: web.BaseRequest, found: Found, status: int, about: dict[str, str], start: int, end: int
    ) -> web.StreamResponse:
        """Send the bytes of an object from `start` up to `end`."""
        if request.method == "HEAD":
            about[hdrs.CONTENT_LENGTH] = str(end - start)
            return web.Response(status=status, headers=about)
        if end - start <= _SMALL_BYTES:
            body = await self._read(found, start, end)
            self.sent += len(body)
            return web.Response(body=body, status=status, headers=about)
        response = web.StreamResponse(status=status, headers=about)
        response.content_length = end - start
        await response.prepare(request)
        with _aborting(request):
            await self._write(response, found, start, end)
        return response

    async def _several(
        self, request: web.BaseRequest, found: Found, about: dict[str, str], ranges: list[tuple[int, int]]
    ) -> web.StreamResponse:
        """Send several ranges, each a part of its own (RFC 9110, 14.6)."""
        boundary = secrets.token_hex(12)
        kind = about[hdrs.CONTENT_TYPE]
        about[hdrs.CONTENT_TYPE] = f"multipart/byteranges; boundary={boundary}"
        heads = [
            f"\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: bytes {start}-{end - 1}/{found.size}\r\n\r\n".encode()
            for start, end in ranges
        ]
        tail = f"\r\n--{boundary}--\r\n".encode()
        length = sum(map(len, heads)) + sum(end - start for start, end in ranges) + len(tail)
        if request.method == "HEAD":
            about[hdrs.CONTENT_LENGTH] = str(length)
            return web.Response(status=206, headers=about)
        response = web.StreamResponse(status=206, headers=about)
        response.content_length = length
        await response.prepare(request)
        with _aborting(request):
            for head, (start, end) in zip(heads, ranges, strict=True):
                await response.write(head)
                await self._write(response, found, start, end)
            await response.write(tail)
        return response

    async def _write(self, response: web.StreamResponse, found: Found, start: int, end: int) -> None:
        for at in range(start, end, _PIECE_BYTES):
            piece = await self._read(found, at, min(end, at + _PIECE_BYTES))
            self.sent += len(piece)
            await response.write(piece)

    async def _read(self, found: Found, start: int, end: int) -> bytes:
        try:
            return read_now(found.file.fd, end - start, found.offset + start)
        except BlockingIOError:
            return await self._in_thread(found.read, start, end - start)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _logger() -> logging.Logger:
    """Return the log of our own errors. It writes the first of each minute, so that repeated bad requests do not fill it."""
    logger = logging.Logger("bucketpull.serve")  # noqa: LOG001 - one a server, and none of the process
    logger.addHandler(logging.StreamHandler())
    logger.addFilter(_Sampled())
    return logger


class _Sampled(logging.Filter):
    """Passes the first error of each minute, and none about invalid requests."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at: float | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log a record."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            return False
        if self._told_at is not None and record.created - self._told_at < _TOLD_SECONDS:
            return False
        self._told_at = record.created
        return True


class _Counted(asyncio.Protocol):
    """Wraps a connection's protocol to count connections."""

    def __init__(self, server: ObjectServer, inner: asyncio.Protocol, options: Options) -> None:
        self._server = server
        self._inner = inner
        self._options = options
        self._transport: asyncio.BaseTransport | None = None
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it, and close it if its client sends no request, or does not read the answer."""
        self._server.connections += 1
        self._transport = transport
        connection = transport.get_extra_info("socket")
        with suppress(OSError):
            patience = int(self._options.stall_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience)
        loop = asyncio.get_running_loop()
        abort = cast("asyncio.Transport", transport).abort  # uvloop's is no subclass
        self._server.unasked[transport] = loop.call_later(self._options.request_seconds, abort)
        self._inner.connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop counting it."""
        self._server.connections -= 1
        self._server._asked(self._transport)
        self._inner.connection_lost(error)


class _Refusal(asyncio.Protocol):
    """A connection above the limit: its first request is refused, and it is closed; without a request soon, too."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request: closing before it is read would reset the connection."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        asyncio.get_running_loop().call_later(_REFUSAL_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Refuse."""
        del data
        self._transport.write(_REFUSAL)
        self._transport.close()


@contextmanager
def _aborting(request: web.BaseRequest) -> Iterator[None]:
    """Abort the connection if the disk fails in the middle of a body, so that the client does not take it for complete."""
    try:
        yield
    except OSError:
        if request.transport is not None:
            request.transport.abort()


def refused_host(request: web.BaseRequest, names: Collection[str] | None) -> web.Response | None:
    """Return the refusal of a request that asks for another server, None where its Host may be answered; a program may give none."""
    host = request.headers.get(hdrs.HOST)
    if names is None or host is None or http_object.is_known_host(host, names):
        return None
    name = http_object.host_name(host)
    remedy = f"; if it is yours, start serve with --host-name {name}" if name else ""
    return _plain(403, f"host {shown_value(host)} is no name of this server{remedy}")


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=headers)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
