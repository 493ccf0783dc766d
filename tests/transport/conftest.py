"""Ends of each kind of transport, joined, and the values that go through them."""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import pytest
from tests.servers.broker import Broker

from bucketpull.domain.messages import BatchReceipt, Pulse, Welcome, Work
from bucketpull.domain.model import WorkKind
from bucketpull.transport.envelope import Session
from bucketpull.transport.job_key import JobKey, Key
from bucketpull.transport.local import DirectTransport
from bucketpull.transport.rabbitmq_coordinator import RabbitTransport
from bucketpull.transport.rabbitmq_worker import RabbitInbox

VERSION = "1.2.3"
KEY = JobKey(b"a secret of the job that nobody at the broker knows")
SECONDS = 40.0
_numbers = itertools.count()


def pulse(machine: str = "m1", digest: str = "digest", **changes: object) -> Pulse:
    usual: dict[str, object] = {
        "incarnation": "one",
        "version": VERSION,
        "processes": 1,
        "objects": 0,
        "bytes": 0,
        "window": 2,
        "scan_window": 0,
        "holds": [],
        "retries": {},
        "failures": {},
        "endpoints": {},
        "volumes": [],
    }
    return Pulse(machine=machine, job_digest=digest, **(usual | changes))


def work(number: int, body: bytes = b"body") -> Work:
    return Work(number, WorkKind.BATCH, body)


def receipt(number: int, machine: str = "m1") -> BatchReceipt:
    return BatchReceipt(number, machine, stored=3)


class Job:
    """One job at one broker; makes the ends of it, and closes them. Queues rest only where the broker is to be killed."""

    def __init__(self, url: str, kind: str = "quorum", name: str = "", settle_seconds: float = 0.0) -> None:
        self.settle_seconds = settle_seconds
        self.url = url
        self.kind = kind
        self.name = name or f"job-{os.getpid()}-{next(_numbers)}"
        self.journal = "0123456789ab"
        self.key = KEY
        self.heard = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def coordinator(
        self, version: str = VERSION, digest: str = "digest", **changes: str
    ) -> RabbitTransport:
        journal = changes.get("journal", self.journal)
        welcome = Welcome(self.name, journal, digest, b"{}", "key", "batch", "size")
        url = changes.get("url", self.url)
        transport = RabbitTransport(
            url, self.name, self.kind, self.key, welcome, version, self.settle_seconds
        )
        await transport.start()
        self.heard = transport.session
        self._stack.push_async_callback(transport.close)
        return transport

    def worker(self, version: str = VERSION, incarnation: str = "one", key: Key | None = None) -> Session:
        """A worker's session that has heard the coordinator, if there is one."""
        me = Session(key or self.key, version, self.name, incarnation)
        me.heard = self.heard
        return me

    async def inbox(
        self,
        machine: str = "m1",
        version: str = VERSION,
        incarnation: str = "one",
        key: Key | None = None,
        volumes: Collection[str] = (),
        **changes: str,
    ) -> RabbitInbox:
        """A worker's end of a job that it knows; journal="" for one that it does not."""
        url, journal = changes.get("url", self.url), changes.get("journal", self.journal)
        me = self.worker(version, incarnation, key)
        inbox = RabbitInbox(url, self.name, machine, self.kind, me, journal, self.settle_seconds, volumes)
        await inbox.start()
        self._stack.push_async_callback(inbox.close)
        async with asyncio.timeout(SECONDS):
            await inbox.link.connected()
        return inbox


@asynccontextmanager
async def direct(broker: Broker) -> AsyncIterator[tuple[DirectTransport, object]]:
    transport = DirectTransport()
    yield transport, transport.inbox


def rabbit(kind: str) -> Callable[[Broker], object]:
    @asynccontextmanager
    async def ends(broker: Broker) -> AsyncIterator[tuple[RabbitTransport, RabbitInbox]]:
        async with Job(broker.url, kind) as job:
            yield await job.coordinator(), await job.inbox()

    return ends


async def taken(receive: Callable[[], Awaitable[object]], count: int, kind: type = object) -> list:
    """Receive until there are so many messages of a kind."""
    found: list = []
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            found += [message for message in await receive() if isinstance(message, kind)]
    return found


async def until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.02)


@pytest.fixture(params=["direct", "quorum", "classic"])
def ends(request: pytest.FixtureRequest, broker: Broker) -> Callable[[], object]:
    make = direct if request.param == "direct" else rabbit(request.param)
    return lambda: make(broker)
