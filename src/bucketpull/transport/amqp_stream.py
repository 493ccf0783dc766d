"""What of the broker's stream the client gets to see: frames whose parts that strangers write are cut out.

Whoever may publish to a queue chooses a message's properties, its exchange and its routing key, and the broker passes them on as
they are. The client decodes them in the task that reads the connection: a name that is no UTF-8, or a table nested a thousand
deep, ends the connection; the message comes again, and ends the next one. We read none of these, so they are blanked here, but for
whether the broker says that it dropped the message itself: then its content type is `DROPPED`. A body longer than any of ours
arrives as an empty one, and is never in memory.

Frames: AMQP 0-9-1, 4.2.3. A frame is type (1 byte), channel (2), size (4), payload, end (1). A delivery is a method frame, a
header frame (class 2, weight 2, body size 8, property flags 2, properties), and body frames up to that size.
"""

import asyncio
import re
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

MOST_BODY_BYTES: Final = 32 << 20
_MOST_FRAME_BYTES: Final = 4 << 20  # the broker's usual limit is 128 KiB
_METHOD, _HEADER, _BODY = 1, 2, 3
_HEAD = struct.Struct(">BHI")
_METHOD_ID = struct.Struct(">HH")
_CONTENT = struct.Struct(">HHQH")
_DELIVER: Final = (60, 60)
_CLOSE: Final = (10, 50)  # a connection: code (2), text with its length
_END: Final = b"\xce"
DROPPED: Final = "dropped"
# Why the broker put a message to the dead letters, in its header `x-first-death-reason`: it was too old, or one too many.
_DROPPED: Final = re.compile(rb"x-first-death-reasonS\0\0\0(?:\x07expired|\x06maxlen)")
_HAS_CONTENT_TYPE: Final = 1 << 15


class FilteredReader:
    """As much of `asyncio.StreamReader` as the client uses, one whole frame at a time. `said` is told why the broker closes the connection."""

    def __init__(self, reader: asyncio.StreamReader, said: Callable[[str], None] = lambda _: None) -> None:
        self._reader = reader
        self._said = said
        self._pieces: deque[bytes] = deque()
        self._delivering: set[int] = set()
        self._skipped: dict[int, int] = {}

    def at_eof(self) -> bool:
        """Whether nothing more comes."""
        return not self._pieces and self._reader.at_eof()

    async def read(self, count: int = -1) -> bytes:
        """Read what comes, unfiltered: the client does so only of what is no AMQP."""
        found = b"".join(self._pieces)
        self._pieces.clear()
        return found or await self._reader.read(count)

    async def readexactly(self, count: int) -> bytes:
        """Read so many bytes.

        Raises:
            asyncio.IncompleteReadError: The stream ended.
            ConnectionError: A frame is longer than any broker sends.

        """
        found = b""
        while len(found) < count:
            if not self._pieces:
                await self._next()
            piece = self._pieces.popleft()
            lacking = count - len(found)
            if len(piece) > lacking:
                self._pieces.appendleft(piece[lacking:])
            found = found + piece[:lacking] if found else piece[:lacking]
        return found

    async def _next(self) -> None:
        """Take frames until there is one to pass on, in the pieces in which the client asks for it."""
        while not self._pieces:
            head = await self._reader.readexactly(_HEAD.size)
            kind, channel, size = _HEAD.unpack(head)
            if head.startswith(b"AMQP"):  # the broker's word that it speaks another version
                self._pieces.append(head)
                return
            if size > _MOST_FRAME_BYTES:
                raise ConnectionError(f"the broker sent a frame of {size} bytes")
            payload = await self._reader.readexactly(size + len(_END))
            passed = self._filtered(kind, channel, payload)
            if passed is not None:
                head = _HEAD.pack(kind, channel, len(passed) - len(_END))
                self._pieces.extend((head[:1], head[1:], passed))

    def _filtered(self, kind: int, channel: int, payload: bytes) -> bytes | None:
        if kind == _METHOD:
            return self._method(channel, payload)
        if kind == _HEADER and channel in self._delivering and len(payload) > _CONTENT.size:
            return self._header(channel, payload)
        if kind == _BODY and channel in self._skipped:
            self._skip(channel, len(payload) - len(_END))
            return None
        return payload

    def _method(self, channel: int, payload: bytes) -> bytes:
        self._delivering.discard(channel)
        if len(payload) > 7 and _METHOD_ID.unpack_from(payload) == _CLOSE:
            self._said(payload[7 : 7 + payload[6]].decode(errors="replace"))
        if len(payload) < 14 or _METHOD_ID.unpack_from(payload) != _DELIVER:
            return payload
        self._delivering.add(channel)
        # Our own consumer's tag, the delivery's number and the flag; then exchange and routing key, each with its length.
        names = 4 + 1 + payload[4] + 8 + 1
        return payload[:names] + b"\0\0" + _END

    def _header(self, channel: int, payload: bytes) -> bytes:
        kind, weight, size, _ = _CONTENT.unpack_from(payload)
        if size > MOST_BODY_BYTES:
            self._skipped[channel] = size
            size = 0
        if _DROPPED.search(payload):
            told = bytes([len(DROPPED)]) + DROPPED.encode()
            return _CONTENT.pack(kind, weight, size, _HAS_CONTENT_TYPE) + told + _END
        return _CONTENT.pack(kind, weight, size, 0) + _END

    def _skip(self, channel: int, size: int) -> None:
        self._skipped[channel] -= size
        if self._skipped[channel] <= 0:
            del self._skipped[channel]


class FilteredTransport(TransportFactory):
    """Connects as the client itself does, and filters what it reads. `said` is why the broker closed the connection, "" if it did not."""

    def __init__(self) -> None:
        self.said = ""

    async def create(
        self,
        url: URL,
        **kwargs: Any,  # noqa: ANN401 - the client's own signature
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        usual = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await usual.create(url, **kwargs)
        return FilteredReader(reader, partial(setattr, self, "said")), writer  # type: ignore[return-value]
