"""One connection of the server: requests and answers, by h11."""

import asyncio
from typing import Final

import h11

from bucketpull.web.api import ApiRequest, ApiResponse, request_of

IDLE_SECONDS: Final = 75.0
WRITE_SECONDS: Final = 30.0
MOST_HEADER_BYTES: Final = 16_384
MOST_BODY_BYTES: Final = 10_000
_PIECE_BYTES: Final = 16_384


class HttpConnection:
    """One connection. A request may take `request_seconds` from its first byte to its end; `client` says who asks, for people."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str, request_seconds: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._client = client
        self._request_seconds = request_seconds
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)

    async def request(self) -> ApiRequest | None:
        """Return the next request, or None at the end. Invalid requests are answered at once."""
        if self._connection.states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            self._connection.start_next_cycle()
        if self._connection.states != {h11.CLIENT: h11.IDLE, h11.SERVER: h11.IDLE}:
            return None
        try:
            return await self._request()
        except h11.RemoteProtocolError as error:
            await self.answer(ApiResponse(error.error_status_hint, b""), with_body=True)
            return None

    async def _request(self) -> ApiRequest | None:
        if not self._connection.trailing_data[0]:
            async with asyncio.timeout(IDLE_SECONDS):
                self._connection.receive_data(await self._reader.read(_PIECE_BYTES))
        async with asyncio.timeout(self._request_seconds):
            event = await self._next_event()
            if not isinstance(event, h11.Request):
                return None
            body = await self._body()
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            return request_of(
                event.method.decode(), event.target.decode("latin-1"), body, self._client, headers
            )

    async def _next_event(self) -> object:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self._reader.read(_PIECE_BYTES))
        return event

    async def _body(self) -> bytes:
        body = b""
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > MOST_BODY_BYTES:
                raise h11.RemoteProtocolError("the body is too long", error_status_hint=413)
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionError
        return body

    async def answer(self, response: ApiResponse, *, with_body: bool) -> None:
        """Answer the last request."""
        connection = self._connection
        headers = {"Content-Type": response.kind, "Content-Length": str(len(response.body))}
        headers |= response.headers
        if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        pieces = [
            connection.send(h11.Response(status_code=response.status, headers=list(headers.items()))),
            connection.send(h11.Data(data=response.body)) if with_body and response.body else b"",
            connection.send(h11.EndOfMessage()),
        ]
        self._writer.write(b"".join(piece for piece in pieces if piece))
        async with asyncio.timeout(WRITE_SECONDS):
            await self._writer.drain()
