"""A process with its real fetch loop, source and volume against the simulated service: what arrives is what was listed."""

import random
import socket
import threading
from contextlib import contextmanager

import msgspec
import pytest

from bucketpull.domain.batching import decode_parts
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import (
    Assignment,
    Frames,
    FromProcess,
    Mount,
    Outcome,
    ScanAssignment,
    ScanReceipt,
    Stop,
    frame,
)
from bucketpull.domain.model import Position
from bucketpull.downloader.parameters import Bounds, DownloaderParameters
from bucketpull.downloader.process import Process
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.loop import FetchLoop
from bucketpull.sources.upyun.config import UpyunConfig
from bucketpull.sources.upyun.source import UpyunSource
from bucketpull.volumes.identity import Owner
from bucketpull.volumes.writer import open_writer
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.system import SystemClock
from bucketpull.wiring.volume_opening import open_all
from upyun_simulator import Simulator, content

decoder = msgspec.msgpack.Decoder(FromProcess)
DEADLINE_SECONDS = 60


class Company:
    """One process in a thread, with an agent that waits for its answers."""

    def __init__(self, simulator, folder, streamed=8 << 20, verify="size"):
        self.simulator, self.folder = simulator, folder
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(DEADLINE_SECONDS)
        (self.volume,) = open_all(
            [str(folder)], {}, Settings(source="upyun://b", reserve="0"), Owner("0123456789ab")
        )
        source = UpyunSource(
            UpyunConfig(
                bucket=simulator.bucket,
                api_url=simulator.api_url,
                cdn_url=simulator.cdn_url,
                operator=simulator.operator,
                password=simulator.password,
            )
        )
        fetcher = FetchLoop(FetchOptions(stall_seconds=1, first_byte_seconds=2))
        parameters = DownloaderParameters(bounds=Bounds(streamed=streamed))
        self.process = Process(
            self.theirs,
            fetcher,
            source,
            lambda mount: open_writer(mount.path, mount.id, mount.durability),
            SystemClock(),
            random.Random(1),
            parameters,
        )
        self.thread = threading.Thread(target=self.process.run)
        self.thread.start()
        self._frames, self._heard = Frames(), []
        self.say(Mount(self.volume.id, str(folder), "batch", verify))

    def say(self, message):
        self.sock.sendall(frame(msgspec.msgpack.encode(message)))

    def hear(self, kind):
        """Wait for the next message of a kind."""
        while True:
            for message in list(self._heard):
                self._heard.remove(message)
                if isinstance(message, kind):
                    return message
            data = self.sock.recv(1 << 20)
            assert data, "the process is gone"
            self._heard += [decoder.decode(each) for each in self._frames.feed(data)]

    def list_all(self):
        """List the bucket; return its batches' bodies."""
        positions, bodies = [Position(b"")], []
        while positions:
            self.say(ScanAssignment(1, msgspec.msgpack.encode(positions)))
            receipt = self.hear(ScanReceipt)
            assert receipt.failures == []
            positions = receipt.positions
            bodies += [batch.body for batch in receipt.batches]
        return bodies

    def pull(self, bodies):
        """Have batches stored; return their outcomes."""
        for number, body in enumerate(bodies):
            self.say(Assignment(number, self.volume.id, 0, body))
        return [self.hear(Outcome) for _ in bodies]

    def check_every_byte(self):
        for item in self.simulator.contents.walk():
            assert (self.folder / item.key).read_bytes() == content(item.key, item.size, item.version), (
                item.key
            )

    def close(self):
        self.say(Stop(1.0))
        self.thread.join(DEADLINE_SECONDS)
        self.sock.close()
        self.volume.close()


@pytest.fixture
def company(tmp_path):
    @contextmanager
    def make(spec, streamed=8 << 20, verify="size", **settings):
        with Simulator(spec, **settings) as simulator:
            made = Company(simulator, tmp_path / "volume", streamed, verify)
            try:
                yield made
            finally:
                made.close()

    return make


def test_a_tree_is_listed_and_stored(company):
    with company("tree:dirs=20,files=30,size=3KiB") as each:
        outcomes = each.pull(each.list_all())

        assert sum(outcome.stored for outcome in outcomes) == 600
        each.check_every_byte()


def test_large_objects_arrive_whole_though_every_second_transfer_breaks_off(company):
    with company("flat:4,size=3MiB", streamed=1 << 20, faults=["reset-body:p=0.5,on=get"]) as each:
        parts = [part for body in each.list_all() for part in decode_parts(body)]
        left, stored = parts, 0
        while left:
            (outcome,) = each.pull([msgspec.msgpack.encode(left)])
            stored += outcome.stored
            assert outcome.failures == []
            left = outcome.deferred

        assert stored == 4
        each.check_every_byte()


@pytest.mark.parametrize("fault", ["ignore-range", "replaced", "416", "chunked-cut:p=0.3", "truncate:p=0.3"])
def test_a_large_object_is_never_a_mixture(company, fault):
    faults = ["reset-body:p=0.3,on=get", fault]
    with company("flat:3,size=2MiB", streamed=1 << 20, faults=faults) as each:
        parts = [part for body in each.list_all() for part in decode_parts(body)]
        each.pull([msgspec.msgpack.encode(parts)])

        for path in each.folder.glob("*.jpg"):
            item = next(item for item in each.simulator.contents.walk() if item.key == path.name)
            assert path.read_bytes() == content(item.key, item.size, item.version)


def test_wrong_bytes_of_the_edge_are_had_right_from_the_origin(company):
    with company("flat:3,size=2KiB", faults=["corrupt:on=cdn"]) as each:
        (outcome,) = each.pull(each.list_all())

        assert (outcome.stored, outcome.failures, outcome.retries) == (3, [], {"checksum": 3})
        each.check_every_byte()


def test_objects_that_are_gone_since_the_listing_are_told_as_gone(company):
    with company("flat:30,size=2KiB") as each:
        bodies = each.list_all()
        each.simulator.inject("gone")
        (outcome,) = each.pull(bodies)

        assert {failure.reason for failure in outcome.failures} == {Reason.GONE}
        assert len(outcome.failures) == 30


def test_objects_replaced_since_the_listing_are_stored_with_their_new_size(company):
    with company("flat:5,size=2KiB") as each:
        bodies = each.list_all()
        each.simulator.inject("size-differs")
        (outcome,) = each.pull(bodies)

        assert outcome.stored == 5
        assert {path.stat().st_size for path in each.folder.glob("*.jpg")} == {2048 + 7}
