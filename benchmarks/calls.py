"""How many Python calls, in how many modules, an ordinary object costs in the process that fetches it.

A batch is fetched twice from a simulated service over the loopback, by the real fetch loop, onto a real folder; the second time,
when connections are open and headers are known, each call of a function of ours is counted.
"""

import os
import random
import socket
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

import msgspec

import bucketpull
from bucketpull.domain.messages import (
    Assignment,
    Frames,
    FromProcess,
    Mount,
    Outcome,
    ScanAssignment,
    ScanReceipt,
    Stop,
    ToProcess,
    frame,
)
from bucketpull.domain.model import Position
from bucketpull.downloader.parameters import DownloaderParameters
from bucketpull.downloader.process import Process
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.loop import FetchLoop
from bucketpull.sources.upyun.config import UpyunConfig
from bucketpull.volumes.identity import Owner
from bucketpull.volumes.writer import open_writer
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.system import SystemClock
from bucketpull.wiring.volume_opening import open_all
from upyun_simulator import Simulator

OBJECTS = 2_000
_MEMORY = "/dev/shm"
_SHARE = 0.5  # a module that is called less than every second object is not on an ordinary object's way
_HOME = str(Path(bucketpull.__file__).parent)
_decode = msgspec.msgpack.Decoder(FromProcess).decode


class _Agent:
    """The agent's end of a process that runs in this thread."""

    def __init__(self, simulator: Simulator, folder: str) -> None:
        self._sock, theirs = socket.socketpair()
        for end in (self._sock, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
        self._sock.setblocking(False)
        config = UpyunConfig(
            bucket=simulator.bucket, api_url=simulator.api_url, cdn_url=simulator.cdn_url,
            operator=simulator.operator, password=simulator.password,
        )  # fmt: skip
        self.process = Process(
            theirs,
            FetchLoop(FetchOptions()),
            config.open(),
            lambda mount: open_writer(mount.path, mount.id, mount.durability),
            SystemClock(),
            random.Random(1),
            DownloaderParameters(),
        )
        self._frames = Frames()
        self._heard: list[FromProcess] = []
        (volume,) = open_all([folder], {}, Settings(source="upyun://b", reserve="0"), Owner("0123456789ab"))
        self.volume = volume
        self.say(Mount(volume.id, folder, "batch", "size"))

    def say(self, message: ToProcess) -> None:
        self._sock.sendall(frame(msgspec.msgpack.encode(message)))

    def hear(self, kind: type[ScanReceipt] | type[Outcome]) -> FromProcess:
        """Let the process run until it says something of this kind."""

        def has_come() -> bool:
            try:
                data = self._sock.recv(1 << 20)
            except BlockingIOError:
                return False
            self._heard += filter(lambda each: isinstance(each, kind), map(_decode, self._frames.feed(data)))
            return bool(self._heard)

        self.process.turn_until(has_come)
        return self._heard.pop()

    def close(self) -> None:
        self.say(Stop(0.0))
        self.process.run()
        self._sock.close()
        self.volume.close()


def counted() -> Counter[str]:
    """Return the calls that a batch of `OBJECTS` costs, by module."""
    calls: Counter[str] = Counter()
    is_counting = False

    def count(caller: FrameType, event: str, _: object) -> None:
        name = caller.f_code.co_filename
        if is_counting and event == "call" and name.startswith(_HOME):
            calls[name[len(_HOME) + 1 : -3].replace("/", ".")] += 1

    threading.setprofile(count)  # of the writer's thread too
    sys.setprofile(count)

    with (
        tempfile.TemporaryDirectory(
            prefix="calls-", dir=_MEMORY if os.path.isdir(_MEMORY) else None
        ) as folder,
        Simulator(f"flat:{OBJECTS},size=20KiB") as simulator,
    ):
        agent = _Agent(simulator, folder + "/volume")
        agent.say(ScanAssignment(1, msgspec.msgpack.encode([Position(b"")])))
        receipt = agent.hear(ScanReceipt)
        assert isinstance(receipt, ScanReceipt)
        bodies = [batch.body for batch in receipt.batches]
        for again in (False, True):
            is_counting = again
            for number, body in enumerate(bodies, len(bodies) * again):
                agent.say(Assignment(number, agent.volume.id, 0, body))
            stored = 0
            while stored < OBJECTS:
                outcome = agent.hear(Outcome)
                assert isinstance(outcome, Outcome)
                stored += outcome.stored
        is_counting = False
        agent.close()
    sys.setprofile(None)
    threading.setprofile(None)
    return calls


def an_object() -> dict[str, float]:
    """Return the calls an object, by module, for those that are on an ordinary object's way."""
    found = {module: calls / OBJECTS for module, calls in counted().items()}
    return {module: calls for module, calls in found.items() if calls >= _SHARE}


if __name__ == "__main__":
    by_module = an_object()
    for module, calls in sorted(by_module.items(), key=lambda item: -item[1]):
        print(f"{calls:6.2f}  {module}")
    print(f"{sum(by_module.values()):6.2f}  in {len(by_module)} modules")
