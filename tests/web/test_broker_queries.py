"""What a machine answers to whoever asks about its ledgers: pages in order, each as often as asked for, none that nobody wants."""

import asyncio
from urllib.parse import urlencode

import msgspec
import pytest
from tests.volumes.filling import Filler

from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.reading import ledger_answers
from bucketpull.testing.virtual import VirtualClock
from bucketpull.transport.wire import Query
from bucketpull.web.broker_queries import IDLE_SECONDS, LedgerApi

NAMES = [b"%02d.jpg" % number for number in range(7)]


class Machine:
    """A machine with one small volume, three objects a page."""

    def __init__(self, path):
        path.mkdir()
        with Filler(path) as filling:
            filling.store({(b"photos", name): b"body" for name in NAMES})
            self.volume = filling.volume.id
        self.path = path
        self.clock = VirtualClock()
        self.answers = LedgerApi("m1", self.volumes, self.clock)

    def run(self, scenario):
        async def whole():
            await scenario()
            await self.answers.close()

        asyncio.run(whole())

    def volumes(self):
        status = VolumeStatus(
            self.volume, "m1", str(self.path), VolumeState.OPEN, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, detail=""
        )
        return [status]

    async def ask(self, what, **query):
        target = f"/ledger/{what}?{urlencode({'volume': self.volume} | query)}"
        status, body = msgspec.structs.astuple(await self.answers.answer(Query("GET", target, b""), "m1"))
        return status, msgspec.msgpack.decode(body) if status == 200 else body

    async def names(self, page, reading="r1"):
        status, found = await self.ask("objects", reading=reading, page=page)
        return [row[1] for row in found[0]] if status == 200 else status


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_answers, "_MOST_ROWS", 3)
    return Machine(tmp_path / "disk")


def test_pages_come_in_order_and_each_as_often_as_it_is_asked_for(machine):
    async def scenario():
        assert await machine.names(1) == NAMES[:3]
        assert await machine.names(1) == NAMES[:3]
        assert await machine.names(2) == NAMES[3:6]
        assert await machine.names(1) == 409  # too long ago
        assert [await machine.names(page, "r2") for page in (1, 2, 3, 4)] == [
            NAMES[:3],
            NAMES[3:6],
            NAMES[6:],
            204,
        ]
        assert await machine.names(4, "r2") == 204

    machine.run(scenario)


def test_readers_are_few_and_those_that_ask_no_more_are_forgotten(machine):
    async def scenario():
        for number in range(4):
            assert await machine.names(1, f"r{number}") == NAMES[:3]
        assert await machine.names(1, "one too many") == 409
        machine.clock.seconds += IDLE_SECONDS + 1
        assert await machine.names(1, "later") == NAMES[:3]
        assert await machine.names(2, "r0") == 409  # begun again, from the start

    machine.run(scenario)


def test_a_volume_is_verified_and_what_is_wrong_is_named(machine):
    async def scenario():
        (machine.path / "photos" / "03.jpg").unlink()
        status, page = await machine.ask("faults", reading="v", page=1)
        findings, objects, size, *_ = page
        assert (status, objects, size) == (200, 7, 28)
        assert [(kind, path) for kind, path, *_ in map(tuple, map(dict.values, findings))] == [
            ("missing", "photos/03.jpg")
        ]
        assert (await machine.ask("faults", reading="v", page=2))[0] == 204

    machine.run(scenario)


@pytest.mark.parametrize(
    ("what", "query", "status"),
    [
        ("objects", {"volume": "of-nobody", "reading": "r", "page": 1}, 409),
        ("objects", {"reading": "r", "page": "one"}, 400),
        ("objects", {"reading": "r"}, 400),
        ("place", {"offset": 1 << 40, "directory": "", "name": ""}, 409),
        ("place", {"offset": 0, "directory": "no hex", "name": ""}, 400),
        ("nothing", {}, 404),
    ],
)
def test_whatever_cannot_be_answered_is_an_error_and_costs_itself(machine, what, query, status):
    async def scenario():
        assert (await machine.ask(what, **query))[0] == status
        assert await machine.names(1) == NAMES[:3]

    machine.run(scenario)
