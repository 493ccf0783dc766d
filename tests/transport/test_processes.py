"""The processes of a machine: what becomes of messages when one dies."""

import asyncio
import contextlib
import os

import msgspec
import pytest

from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import Died, Fatal, Frames, Stop, ToProcess, Unmount, frame
from bucketpull.transport import processes
from bucketpull.transport.processes import ForkedPool, ForkServer


def echo(sock, number):
    """Say back the name of each volume that is to be let go of; die when told to stop."""
    frames, decode = Frames(), msgspec.msgpack.Decoder(ToProcess).decode
    while data := sock.recv(1 << 16):
        for message in map(decode, frames.feed(data)):
            if isinstance(message, Stop):
                os._exit(9)
            sock.sendall(frame(msgspec.msgpack.encode(Fatal("", Reason.INTERRUPTED, message.id))))


@pytest.fixture
def pool():
    with contextlib.closing(ForkServer(echo)) as fork_server:
        yield ForkedPool(fork_server, 2)


async def heard(pool, count):
    found = []
    async with asyncio.timeout(30):
        while len(found) < count:
            found += await pool.receive()
    return [(process, getattr(message, "detail", message)) for process, message in found]


def run(pool, course):
    async def whole():
        pool.start_all()
        try:
            await course()
        finally:
            await pool.close(10)

    asyncio.run(whole())


def test_what_is_sent_to_a_dead_process_never_reaches_its_successor(pool):
    async def course():
        pool.send(0, Stop(0))
        assert await heard(pool, 1) == [(0, Died())]
        pool.send(0, Unmount("meant for the dead one"))
        pool.start(0)
        pool.send(0, Unmount("meant for the new one"))
        pool.send(1, Unmount("for another"))
        assert sorted(await heard(pool, 2)) == [(0, "meant for the new one"), (1, "for another")]

    run(pool, course)


def test_a_process_that_is_killed_is_heard_of_once_and_replaced_when_asked(pool):
    async def course():
        pool.kill(1)
        pool.kill(1)
        pool.send(0, Unmount("for another"))
        assert sorted(await heard(pool, 2), key=str) == [(0, "for another"), (1, Died())]
        pool.start(1)
        pool.send(1, Unmount("for the new one"))
        assert await heard(pool, 1) == [(1, "for the new one")]

    run(pool, course)


def test_a_crew_leaves_whose_dead_are_not_replaced(pool):
    async def course():
        pool.send(0, Stop(0))
        pool.send(1, Stop(0))
        assert sorted(await heard(pool, 2)) == [(0, Died()), (1, Died())]

    run(pool, course)


def test_where_the_machine_is_short_of_processes_a_new_one_is_waited_for(monkeypatch):
    answers = [BlockingIOError(), BlockingIOError(), 77]
    monkeypatch.setattr(processes, "FORK_SECONDS", 0.0)
    monkeypatch.setattr(os, "fork", lambda: _raised(answers.pop(0)))

    assert processes._fork() == 77


def test_where_none_can_be_made_for_long_it_is_given_up(monkeypatch):
    monkeypatch.setattr(processes, "FORK_SECONDS", 0.0)
    monkeypatch.setattr(os, "fork", lambda: _raised(BlockingIOError()))

    assert processes._fork() is None


def _raised(answer):
    if isinstance(answer, OSError):
        raise answer
    return answer
