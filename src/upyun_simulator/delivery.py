"""Sending a reply piece by piece: with flow control, throttled, dripping, chunked, cut short."""

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from upyun_simulator.bodies import CHUNK
from upyun_simulator.limits import Throttle
from upyun_simulator.message import Delivery, Reply

_SMALL: Final = 16 * 1024  # a piece under a throttle, so that bytes come evenly


class Pump:
    """Writes one reply's body. `resume` goes on after the transport's buffer has drained."""

    def __init__(
        self,
        transport: asyncio.Transport,
        reply: Reply,
        throttles: list[Throttle],
        done: Callable[[int, bool], None],
    ) -> None:
        self._transport, self._reply, self._throttles, self._done = transport, reply, throttles, done
        self._plan = reply.delivery or Delivery()
        length = 0 if reply.no_body else len(reply.content)
        self._stop = length if self._plan.cut is None else min(length, self._plan.cut)
        self._body = reply.body
        self._timer: asyncio.TimerHandle | None = None
        self.sent = 0
        self.paused = False

    def start(self) -> None:
        """Send the head and what of the body can go now."""
        if self._plan.before_head:
            self._finish()
            return
        self._transport.write(self._reply.head())
        self.resume()

    def resume(self) -> None:
        """Send on until the end, a full buffer, a pause or the connection's end."""
        while self.sent < self._stop and not self.paused:
            if self._transport.is_closing():
                return  # the peer has left: what is written now goes nowhere
            length = min(self._stop - self.sent, self._most())
            wait = self._wait(length)
            if wait > 0.001:
                self._timer = asyncio.get_running_loop().call_later(wait, self._late, length)
                return
            self._piece(length)
        if self.sent >= self._stop:
            self._finish()

    def _late(self, length: int) -> None:
        self._timer = None
        self._piece(length)
        self.resume()

    def drained(self) -> None:
        """Go on after a full buffer, unless a pause is running."""
        self.paused = False
        if self._timer is None:
            self.resume()

    def cancel(self) -> None:
        """Stop for good: the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, length: int) -> float:
        waits = [throttle.reserve(length) for throttle in self._throttles]
        if self._plan.drip and self.sent:
            waits.append(length / self._plan.drip)
        return max(waits, default=0.0)

    def _piece(self, length: int) -> None:
        data = self._body.read(self.sent, self.sent + length)
        if self._plan.chunked:
            data = b"%x\r\n%b\r\n" % (length, data)
        self.sent += length
        self._transport.write(data)

    def _most(self) -> int:
        if self._plan.drip:
            return max(1, int(self._plan.drip / 10))
        return _SMALL if self._throttles else CHUNK

    def _finish(self) -> None:
        ending = self._plan.ending
        if ending == "stall":
            return  # nothing more comes until the client gives up
        if ending == "end" and self._plan.chunked and not self._reply.no_body:
            self._transport.write(b"0\r\n\r\n")
        if ending == "reset":
            reset(self._transport)
        elif ending == "close" or self._reply.close:
            self._transport.close()
        self._done(self.sent, ending == "end")


def reset(transport: asyncio.Transport) -> None:
    """Break the connection so that the peer sees a reset, not an end."""
    raw = transport.get_extra_info("socket")
    with suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
