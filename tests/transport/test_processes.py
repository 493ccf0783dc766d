"""The processes of a machine: what becomes of messages when one dies."""

import asyncio
import contextlib
import os

import msgspec
import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.framing import Frames, frame
from bucketpull.domain.messages import Fatal
from bucketpull.domain.record import Died, Stop, ToProcess, Unmount
from bucketpull.transport.processes import Nursery, ProcessCrew


def echo(sock, number):
    """Say back the name of each volume that is to be let go of; die when told to stop."""
    frames, decode = Frames(), msgspec.msgpack.Decoder(ToProcess).decode
    while data := sock.recv(1 << 16):
        for message in map(decode, frames.feed(data)):
            if isinstance(message, Stop):
                os._exit(9)
            sock.sendall(frame(msgspec.msgpack.encode(Fatal("", Reason.INTERRUPTED, message.id))))


@pytest.fixture
def crew():
    with contextlib.closing(Nursery(echo)) as nursery:
        yield ProcessCrew(nursery, 2)


async def heard(crew, count):
    found = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await crew.receive()
    return [(process, getattr(message, "detail", message)) for process, message in found]


def run(crew, course):
    async def whole():
        crew.start_all()
        try:
            await course()
        finally:
            await crew.close(10)

    asyncio.run(whole())


def test_what_is_sent_to_a_dead_process_never_reaches_its_successor(crew):
    async def course():
        crew.send(0, Stop(0))
        assert await heard(crew, 1) == [(0, Died(-1))]
        crew.send(0, Unmount("meant for the dead one"))
        crew.start(0)
        crew.send(0, Unmount("meant for the new one"))
        crew.send(1, Unmount("for another"))
        assert sorted(await heard(crew, 2)) == [(0, "meant for the new one"), (1, "for another")]

    run(crew, course)


def test_a_process_that_is_killed_is_heard_of_once_and_replaced_when_asked(crew):
    async def course():
        crew.kill(1)
        crew.kill(1)
        crew.send(0, Unmount("for another"))
        assert sorted(await heard(crew, 2), key=str) == [(0, "for another"), (1, Died(-1))]
        crew.start(1)
        crew.send(1, Unmount("for the new one"))
        assert await heard(crew, 1) == [(1, "for the new one")]

    run(crew, course)


def test_a_crew_leaves_whose_dead_are_not_replaced(crew):
    async def course():
        crew.send(0, Stop(0))
        crew.send(1, Stop(0))
        assert sorted(await heard(crew, 2)) == [(0, Died(-1)), (1, Died(-1))]

    run(crew, course)
