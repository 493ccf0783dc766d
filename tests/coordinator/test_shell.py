"""The coordinator with a loop, a thread for the journal and a transport in memory."""

import asyncio

import pytest
from tests.coordinator.test_coordinator import NAMES, pulse, stored

from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.coordinator.shell import CoordinatorShell
from bucketpull.domain.errors import JournalError
from bucketpull.domain.messages import Control, Goodbye, Work
from bucketpull.domain.model import Position
from bucketpull.domain.user_limits import Limits
from bucketpull.testing.memory_journal import MemoryJournal
from bucketpull.testing.virtual import VirtualClock
from bucketpull.transport.local import DirectTransport

POLICY = CoordinatorParameters(tick_seconds=0.01, local_machine="m1", meet_seconds=0.0)


async def worker(inbox, joined):
    """Store whatever comes; leave when told to. Return what came. `joined` is set at the coordinator's first word."""
    came = []
    await inbox.reply(pulse())
    while True:
        for message in await inbox.receive():
            came.append(message)
            joined.set()
            if isinstance(message, Work):
                await inbox.reply(stored(message))
            elif message.stop:
                await inbox.reply(Goodbye("m1", "of m1"))
                return came


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_job_runs_to_its_end_or_until_it_is_stopped(in_memory, is_stopped):
    journal = in_memory(NAMES, 5)

    async def play():
        transport = DirectTransport()
        shell = CoordinatorShell(journal, transport, VirtualClock(), POLICY)
        await shell.set_limits(Limits(paused=is_stopped))
        joined = asyncio.Event()
        running = asyncio.create_task(shell.run(Position(b"")))
        working = asyncio.create_task(worker(transport.inbox, joined))
        if is_stopped:
            await joined.wait()
            await shell.add_volume("/more", "m1")
            await shell.stop()
        came = await working
        await running
        assert await shell.change(lambda: journal.counters().stored) == shell.coordinator.counters.stored
        await shell.close()
        return shell.coordinator, came

    coordinator, came = asyncio.run(play())
    coordinator.conclude()

    controls = [message for message in came if isinstance(message, Control)]
    if is_stopped:
        assert (coordinator.state, coordinator.counters.stored) == ("interrupted", 0)
        assert ["/more"] in [control.add_volumes for control in controls]
    else:
        assert (coordinator.state, coordinator.counters.stored) == ("complete", 20)


class Broken(MemoryJournal):
    """A journal whose file cannot be read any more."""

    def begin(self, *_):
        raise JournalError("journal j: disk I/O error")


def test_an_error_of_the_journal_ends_the_job():
    async def play():
        shell = CoordinatorShell(Broken(), DirectTransport(), VirtualClock(), POLICY)
        try:
            await shell.run(Position(b""))
        finally:
            await shell.close()

    with pytest.raises(JournalError):
        asyncio.run(play())
