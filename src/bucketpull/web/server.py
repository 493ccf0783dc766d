"""A small HTTP/1.1 server on asyncio, for a page and a few commands: bounded in connections, in time and in bytes.

Whoever connects and says nothing, or not enough, is dropped after a while, and earlier when somebody else wants the place: a thousand
half-open connections keep nobody out, and take no more than `most_connections` descriptors.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # brings 1 ms to each start, and most jobs are asked nothing
    from bucketpull.web.api import ApiRequest, ApiResponse, Handler

REQUEST_SECONDS: Final = 10.0  # from the first byte of a request to its end
CLOSE_SECONDS: Final = 1.0
ACCEPT_SECONDS: Final = 0.5  # after an error
TOLD_SECONDS: Final = 60.0  # between two reports of errors of ours: repeated bad requests must not fill a log
MOST_CONNECTIONS: Final = 64
_BUFFERED_BYTES: Final = 16_384  # of what was received and not read yet


Naming = Callable[[socket.socket], str]


class Server:
    """Answers requests on listening sockets. `naming` says who is at the other end of a connection."""

    def __init__(
        self,
        answer: "Handler",
        naming: Naming,
        most_connections: int = MOST_CONNECTIONS,
        request_seconds: float = REQUEST_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._answer = answer
        self._naming = naming
        self._most = most_connections
        self._request_seconds = request_seconds
        self._tls = tls
        self._listeners: list[socket.socket] = []
        self._waiting: dict[asyncio.Task[None], None] = {}  # for a request, the longest first
        self._serving: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # with those that are to make place
        self._told_at: float | None = None

    def start(self, listener: socket.socket) -> None:
        """Accept connections from now on; the listener is ours."""
        listener.setblocking(False)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    async def close(self) -> None:
        """Stop accepting, and close all connections."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners = []
        ending = list(self._tasks)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptors: whoever waits is accepted later
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            loop.call_later(ACCEPT_SECONDS, self._accept_again, listener)
            return
        if not self._make_place():
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.create_task(self._serve(connection), name="connection")
        self._waiting[task] = None
        self._tasks.add(task)
        task.add_done_callback(partial(self._forget, connection))

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _forget(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        connection.close()  # of one that had to make place before it began
        self._tasks.discard(task)
        self._waiting.pop(task, None)
        self._serving.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell(error)

    def _tell(self, error: BaseException) -> None:
        """Report an error of ours with its traceback, the first of a minute."""
        loop = asyncio.get_running_loop()
        if self._told_at is None or loop.time() - self._told_at >= TOLD_SECONDS:
            self._told_at = loop.time()
            loop.call_exception_handler({"message": "a request failed", "exception": error})

    async def _serve(self, connection: socket.socket) -> None:
        try:
            reader, writer = await self._streams(connection)
        except (OSError, TimeoutError):  # no TLS, or not in time
            return
        try:
            await self._converse(self._naming(connection), reader, writer)
        except (OSError, TimeoutError, EOFError):
            pass  # the other end went, or was too slow
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _streams(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_BUFFERED_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        bounds = {"ssl_handshake_timeout": REQUEST_SECONDS, "ssl_shutdown_timeout": CLOSE_SECONDS}
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._tls, **(bounds if self._tls else {})
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _make_place(self) -> bool:
        """Drop who has waited longest without a request, if nobody else may come; say whether there is a place."""
        if len(self._waiting) + len(self._serving) < self._most:
            return True
        longest = next(iter(self._waiting), None)
        if longest is None:
            return False
        del self._waiting[longest]
        longest.cancel()
        return True

    async def _converse(
        self, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        from bucketpull.web.http_connection import (
            HttpConnection,  # brings h11: 8 ms, and most jobs are asked nothing
        )

        connection = HttpConnection(reader, writer, client, self._request_seconds)
        while (request := await connection.request()) is not None:
            self._waiting.pop(task, None)
            self._serving.add(task)
            await connection.answer(await self._answered(request), with_body=request.method != "HEAD")
            self._serving.discard(task)
            self._waiting[task] = None

    async def _answered(self, request: "ApiRequest") -> "ApiResponse":
        try:
            return await self._answer(request)
        except Exception as error:  # noqa: BLE001 - whatever was asked costs itself, and the connection goes on
            self._tell(error)
            from bucketpull.web.api import ApiResponse

            return ApiResponse(500, b'{"error": "a bug of bucketpull, which has told more where it runs"}')
