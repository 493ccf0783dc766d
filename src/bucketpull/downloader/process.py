"""A downloader: a process with one thread, one loop, driven by the fetcher; its agent is at the other end of a socket.

It keeps no state: after a crash its agent gives its work to another process.
"""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from bucketpull.domain.endpoints import EndpointSpec, Purpose
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import (
    Assignment,
    Fatal,
    Frames,
    FromProcess,
    Judged,
    Mount,
    Paces,
    Release,
    ScanAssignment,
    Stop,
    Tick,
    ToProcess,
    Tune,
    Unmount,
    frame,
)
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.user_limits import TokenBucket
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.page_sinks import JobPages
from bucketpull.downloader.parameters import DownloaderParameters
from bucketpull.downloader.scans import Scans, WantedPage
from bucketpull.downloader.transfer import Transfer
from bucketpull.downloader.transfers import Transfers
from bucketpull.downloader.watch import Watch

if TYPE_CHECKING:
    from random import Random

    from bucketpull.ports import Clock, Fetcher, Source, Writer

TICK_SECONDS = 0.5
PACED_SECONDS = 0.25  # the same, while an endpoint refuses more than a number
LEAVE_SECONDS = 2.0
STILL_SECONDS = 10.0
READ_BYTES = 1 << 18
CLOGGED_BYTES = 8 << 20

_decode = msgspec.msgpack.Decoder(ToProcess).decode  # once, before processes are forked


class Process:
    """The main object of one downloader; `run` returns when the agent says stop, or is gone.

    `sock` is this process's end of the socket to the agent; `mount` opens the writer of a volume, or raises `VolumeError`.
    """

    def __init__(
        self,
        sock: socket.socket,
        fetcher: Fetcher,
        source: Source,
        mount: Callable[[Mount], Writer],
        clock: Clock,
        random: Random,
        parameters: DownloaderParameters,
    ) -> None:
        self._channel = Channel(sock)
        self._fetcher = fetcher
        self._clock = clock
        self._meter = Meter()
        self._bucket = TokenBucket(None)
        self._most = parameters.bounds.in_flight
        specs = source.endpoints
        self._list: Endpoint[WantedPage] = self._endpoint(next(s for s in specs if s.purpose is Purpose.LIST))
        self._objects: dict[str, Endpoint[Transfer]] = {
            spec.name: self._endpoint(spec) for spec in specs if spec.purpose is Purpose.FETCH
        }
        meter, say, pages = self._meter, self._channel.send, JobPages(parameters.order)
        self.scans = Scans(source, fetcher, self._list, clock, random, meter, pages, say, self._refused)
        bounds = parameters.bounds
        self.transfers = Transfers(source, fetcher, self._objects, mount, clock, random, meter, bounds, say)
        self._watch = Watch(self._list, self._objects, fetcher, self.scans, self.transfers, clock)
        self._deadline: float | None = None
        self._fatal = False
        self._open_objects, self._moved = 0, clock.monotonic()
        self._filled = self._moved
        fetcher.watch(self._channel.fileno(), self._hear)
        self._watch.resolve()
        self._tick()

    def _endpoint(self, spec: EndpointSpec) -> Endpoint[Any]:
        most = self._most if self._most is not None else spec.highest
        return Endpoint(spec, Limiter(min(spec.first, most), min(spec.highest, most), bucket=self._bucket))

    def run(self) -> None:
        """Do what the agent says."""
        gc.freeze()
        self.turn_until(self._is_over)
        self._leave()

    def turn_until(self, is_over: Callable[[], object]) -> None:
        """Go round the loop until something is so."""
        while not is_over():
            self.turn()

    def turn(self) -> None:
        """Wait for something to happen, then start what there is room for."""
        self._fetcher.run_once(self._patience(self._clock.monotonic()))
        if not self._channel.clogged and not self._fatal:
            self._filled = now = self._clock.monotonic()
            self.scans.fill(now)
            self.transfers.fill(now)
        self._channel.flush()

    def _patience(self, now: float) -> float:
        """Return for how long nothing can happen but what the fetcher knows of."""
        return min(
            TICK_SECONDS, self._list.delay(now), *(endpoint.delay(now) for endpoint in self._objects.values())
        )

    def _is_over(self) -> bool:
        if self._channel.ended:
            return True
        if self._deadline is None:
            return False
        return self.transfers.volumes.idle or self._clock.monotonic() >= self._deadline

    def _leave(self) -> None:
        self._fetcher.close()
        # The stop and the end may be read at once. An agent that ends without a word is gone: nobody hears what is handed back.
        if self._deadline is not None or not self._channel.ended:
            self.transfers.abandon()
        self._send_tick()  # an agent that leaves still counts what was used
        self._channel.close(LEAVE_SECONDS)

    # --- the agent's words

    def _hear(self) -> None:
        for message in self._channel.receive():
            self._apply(message)

    def _apply(self, message: ToProcess) -> None:
        if isinstance(message, Assignment):
            self.transfers.assign(message)
        elif isinstance(message, ScanAssignment):
            self.scans.add(message)
        elif isinstance(message, Mount):
            self.transfers.mount(message)
        elif isinstance(message, Unmount):
            self.transfers.unmount(message)
        elif isinstance(message, Tune):
            self._tune(message)
        elif isinstance(message, Judged):
            self._watch.follow(message)
        elif isinstance(message, Paces):
            self._watch.pace(message)
        elif isinstance(message, Release):
            self.transfers.volumes.release()
        else:
            self._stop(message)

    def _tune(self, tune: Tune) -> None:
        limits = tune.limits
        self.transfers.limit(limits.concurrency)
        self.transfers.paused = self.scans.paused = limits.paused
        for endpoint in self._objects.values():
            endpoint.targets.limit(limits.concurrency)
        self._bucket.set_rate(limits.requests_per_second)
        self._fetcher.limit_bandwidth(limits.bytes_per_second)
        self.transfers.memory.limit_bandwidth(limits.bytes_per_second)

    def _stop(self, stop: Stop) -> None:
        self._deadline = self._clock.monotonic() + stop.seconds
        self.scans.close()
        self.transfers.stop()

    # --- ours

    def _refused(self, reason: Reason, detail: str) -> None:
        """Tell, once, that the source refuses us as a whole; nothing more is begun until the agent says stop."""
        if not self._fatal:
            self._fatal = True
            self._channel.send(Fatal("", reason, detail[:300]))

    def _tick(self) -> None:
        self.transfers.volumes.report_parts(self._clock.monotonic())
        self._send_tick()
        self._fetcher.call_later(PACED_SECONDS if self._watch.is_paced else TICK_SECONDS, self._tick)

    def _send_tick(self) -> None:
        if self._channel.clogged:
            return
        volumes, still = self.transfers.volumes, self._still_seconds()
        endpoints: list[Endpoint[Any]] = [self._list, *self._objects.values()]
        statuses = {endpoint.name: endpoint.status() for endpoint in endpoints}
        used = {name: status for name, status in statuses.items() if status.requests}
        arriving = self._fetcher.arriving
        if arriving and used:
            max(used.values(), key=attrgetter("in_flight")).received += arriving
        self._channel.send(
            Tick(
                objects=self._meter.objects,
                bytes=self._meter.bytes,
                unstarted=self.transfers.unstarted(),
                endpoints=used,
                queued={volume: queue.queued for volume, queue in volumes.queues.items()},
                written={volume: queue.written for volume, queue in volumes.queues.items()},
                retries=self._meter.retries,
                failures=self._meter.failures,
                wasted=self._meter.wasted,
                arriving=arriving,
                partial=self._meter.partial,
                waiting_for=volumes.waited_for() if still > STILL_SECONDS else "",
                still_seconds=still if still > STILL_SECONDS else 0.0,
                cpu_seconds=time.process_time(),
                is_capped=self.transfers.memory.is_capped,
                is_at_rate=self._is_at_rate(),
                symptoms=self._watch.symptoms(),
            )
        )

    def _is_at_rate(self) -> bool:
        """Whether it was the cap on requests alone, when requests could be sent last, that kept one from being sent."""
        now = self._filled
        wait = self._bucket.delay(now)
        return wait > 0.0 and min(self.scans.delay(now), self.transfers.delay(now)) <= wait

    def _still_seconds(self) -> float:
        """Return for how long no object has ended, although some are in hand."""
        now, open_objects = self._clock.monotonic(), self.transfers.volumes.open_objects()
        if open_objects != self._open_objects or not open_objects:
            self._open_objects, self._moved = open_objects, now
        return now - self._moved


class Channel:
    """A process's end of the socket to its agent: whole messages, never blocking.

    Takes over a stream socket. Reading takes what is there, and what the agent does not read yet waits here; `clogged` says when
    that has become too much. `ended`: the agent sends nothing more; it may still read.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._frames = Frames()
        self._waiting = bytearray()
        self._encoder = msgspec.msgpack.Encoder()
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
        return [_decode(message) for message in messages]

    def send(self, message: FromProcess) -> None:
        """Queue a message; it leaves with `flush`."""
        self._waiting += frame(self._encoder.encode(message))

    def flush(self) -> None:
        """Send what the socket takes."""
        try:
            while self._waiting and not self.ended:
                del self._waiting[: self._sock.send(self._waiting)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended = True

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
