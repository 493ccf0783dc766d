"""A process's end of the socket to its agent: whole messages, never blocking.

The process drives a poll loop, so reading takes what is there, and what the agent does not read yet waits here; `clogged`
says when that has become too much.
"""

import socket
from contextlib import suppress

import msgspec

from bucketpull.domain.messages import Frames, frame
from bucketpull.domain.record import FromProcess, ToProcess

READ_BYTES = 1 << 18
CLOGGED_BYTES = 8 << 20


class Channel:
    """Takes over a stream socket and makes it non-blocking. `ended`: the agent sends nothing more; it may still read."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._frames = Frames()
        self._waiting = bytearray()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
        self.ended = False

    def fileno(self) -> int:
        """Return the socket's file descriptor, to be watched."""
        return self._sock.fileno()

    def receive(self) -> list[ToProcess]:
        """Return the messages that have arrived completely."""
        messages: list[bytes] = []
        try:
            while data := self._sock.recv(READ_BYTES):
                messages += self._frames.feed(data)
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True
        return [self._decoder.decode(message) for message in messages]

    def send(self, message: FromProcess) -> None:
        """Queue a message; it leaves with `flush`."""
        self._waiting += frame(self._encoder.encode(message))

    def flush(self) -> bool:
        """Send what the socket takes; return whether that was all."""
        try:
            while self._waiting and not self.ended:
                del self._waiting[: self._sock.send(self._waiting)]
        except BlockingIOError:
            return False
        except ConnectionError:
            self.ended = True
        return True

    @property
    def clogged(self) -> bool:
        """Whether so much waits to be sent that nothing more should be begun."""
        return len(self._waiting) > CLOGGED_BYTES

    def close(self, seconds: float) -> None:
        """Send the rest, waiting at most so long, and close."""
        with self._sock as sock:
            sock.settimeout(seconds)
            with suppress(OSError):
                sock.sendall(self._waiting)
