"""One HTTP/1.1 connection: bytes to requests, replies to bytes, one request at a time."""

import asyncio
from abc import ABC, abstractmethod
from collections import deque

import httptools

from upyun_simulator.bodies import CHUNK
from upyun_simulator.delivery import Pump
from upyun_simulator.limits import Throttle
from upyun_simulator.message import Reply, Request


class Handler(ABC):
    """What answers the requests of a listener. One that counts nothing has only `respond`."""

    @abstractmethod
    def respond(self, request: Request) -> Reply:
        """Return the reply to a request; never raises for a bad one."""

    def done(self, reply: Reply, sent: int, *, complete: bool) -> None:  # noqa: B027
        """Take notice of how much of a reply's body went out."""

    def opened(self) -> list[Throttle]:
        """Take notice of a connection; return the throttles for it."""
        return []

    def closed(self) -> None:  # noqa: B027
        """Take notice of a connection's end."""


class Connection(asyncio.Protocol):
    """Parses requests as they come; pipelined ones wait their turn."""

    _transport: asyncio.Transport

    def __init__(self, handler: Handler, all_connections: set["Connection"]) -> None:
        self._handler, self._all = handler, all_connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._reply: Reply | None = None
        self._pump: Pump | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        self._throttles = self._handler.opened()
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`."""
        self._all.discard(self)
        self._handler.closed()
        if self._timer is not None:
            self._timer.cancel()
        if self._pump is not None:
            self._pump.cancel()
        if self._reply is not None:
            self._handler.done(self._reply, self._pump.sent if self._pump else 0, complete=False)
            self._reply = None
        self._waiting.clear()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            self._transport.close()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = True
        if self._pump is not None:
            self._pump.paused = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._paused = False
        if self._pump is not None:
            self._pump.drained()

    def on_message_begin(self) -> None:
        """See httptools: a request starts."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """See httptools: (a piece of) the target as sent."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        name = name.lower()
        known = self._headers.get(name)
        self._headers[name] = value if known is None else known + b", " + value

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """See httptools: the request is whole."""
        parser = self._parser
        request = Request(
            parser.get_method().decode(), self._target, self._headers, self._body, parser.should_keep_alive()
        )
        self._waiting.append(request)
        if self._reply is None:
            self._next()

    def _next(self) -> None:
        if self._reply is None and self._waiting and not self._transport.is_closing():
            request = self._waiting.popleft()
            reply = self._reply = self._handler.respond(request)
            reply.close = reply.close or not request.keep_alive
            if reply.delay > 0:
                self._timer = asyncio.get_running_loop().call_later(reply.delay, self._send)
            else:
                self._send()

    def _send(self) -> None:
        reply = self._reply
        assert reply is not None
        self._timer = None
        if reply.delivery is None and not self._throttles and len(reply.content) <= CHUNK:
            body = b"" if reply.no_body else reply.body.read(0, len(reply.content))
            self._transport.write(reply.head() + body)
            if reply.close:
                self._transport.close()
            self._finished(len(body), True)
            return
        self._pump = Pump(self._transport, reply, self._throttles, self._finished)
        self._pump.paused = self._paused
        self._pump.start()

    def _finished(self, sent: int, complete: bool) -> None:
        reply, self._reply, self._pump = self._reply, None, None
        if reply is not None:
            self._handler.done(reply, sent, complete=complete)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
