"""A machine's agent with a loop, threads for its disks, processes and a coordinator in memory, in virtual time."""

import asyncio
import threading

import msgspec
import pytest
from tests.agent.virtual_loop import LoopClock, play

from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.shell import CLOSE_SECONDS, AgentShell
from bucketpull.domain.batching import batch_of, decode_parts, encode_batch
from bucketpull.domain.errors import ConfigError, Reason, TransportError, VolumeFull, VolumeSick
from bucketpull.domain.messages import (
    Assignment,
    BatchReceipt,
    Control,
    Died,
    Fatal,
    Goodbye,
    Handback,
    Outcome,
    Pulse,
    ScanAssignment,
    ScanReceipt,
    Work,
)
from bucketpull.domain.model import Part, WorkKind
from bucketpull.domain.record import Record
from bucketpull.domain.status import VolumeState
from bucketpull.domain.user_limits import Limits
from bucketpull.testing.memory_volume import MemoryVolume
from bucketpull.transport.local import DirectTransport

NAMES = [b"n%d" % number for number in range(4)]
SIZE, MTIME = 10, 5


def batch(work=7):
    part = Part(b"d", "", NAMES, [SIZE] * len(NAMES), [MTIME] * len(NAMES))
    return Work(work, WorkKind.BATCH, encode_batch(batch_of([part])))


class Disk(MemoryVolume):
    """A volume in memory that notes whether it was closed."""

    closed = False

    def close(self):
        self.closed = True


class Pool:
    """See `ports.ProcessPool`: two processes that do at once what they are told, but for those in `idle`."""

    size = 2

    def __init__(self, disks):
        self.disks = disks
        self.idle = set()
        self.killed, self.started = [], []
        self.assigned = asyncio.Event()
        self.closed = False
        self._said = asyncio.Queue()

    def send(self, process, message):
        if isinstance(message, Assignment):
            self.assigned.set()
        if process in self.idle:
            return
        if isinstance(message, Assignment):
            self._said.put_nowait((process, self._store(message)))
        elif isinstance(message, ScanAssignment):
            self._said.put_nowait((process, ScanReceipt(message.work, "")))

    def _store(self, assignment):
        records = []
        for part in decode_parts(assignment.parts):
            for name in part.names:
                self.disks[assignment.volume].write(part.directory, name, SIZE, MTIME)
            records.append(Record.of(part))
        stored = sum(len(record.names) for record in records)
        return Outcome(assignment.id, stored, stored * SIZE, msgspec.msgpack.encode(records))

    def say(self, process, message):
        self._said.put_nowait((process, message))

    async def receive(self):
        return [await self._said.get()]

    def kill(self, process):
        self.killed.append(process)
        self.say(process, Died())

    def start(self, process):
        self.started.append(process)
        self.idle.discard(process)

    async def close(self, seconds):
        self.closed = True


class Machine:
    """A shell with disks and processes, and the coordinator's end of the way to it. `said` are all messages of the machine."""

    def __init__(self, *disks, opener=None, transport=None, **parameters):
        self.disks = {disk.id: disk for disk in disks or [Disk("v1")]}
        self.transport = transport or DirectTransport()
        self.pool = Pool(self.disks)
        self.said = []
        self.shell = AgentShell(
            AgentParameters("m1", "j", "1", "i1", **parameters),
            self.transport.inbox,
            self.pool,
            list(self.disks.values()),
            LoopClock(),
            opener or self.open,
        )

    def open(self, path, _id):
        return self.disks[path.strip("/")]

    async def give(self, *works):
        await self.transport.send(works, "m1")

    async def order(self, **fields):
        await self.transport.control(Control(Limits(), **fields), "m1")

    async def until(self, found):
        """Wait for a message for which `found` is true; say of each last receipt that it is booked."""
        while True:
            for message in await self.transport.receive():
                self.said.append(message)
                if isinstance(message, BatchReceipt) and message.remainder is None:
                    await self.order(booked=[message.work])
            for message in self.said:
                if found(message):
                    return message

    async def until_away(self, running):
        left = await self.until(lambda message: isinstance(message, Goodbye))
        await running
        return left


def is_receipt(message):
    return isinstance(message, BatchReceipt)


def has_volume(state, number=0):
    return lambda said: (
        isinstance(said, Pulse) and len(said.volumes) > number and said.volumes[number].state is state
    )


def test_what_a_machine_is_given_is_stored_settled_and_told_until_the_coordinator_ends_the_job():
    async def job():
        machine = Machine()
        running = asyncio.create_task(machine.shell.run())
        await machine.give(Work(1, WorkKind.SCAN, msgspec.msgpack.encode([])), batch())
        scan = await machine.until(lambda message: isinstance(message, ScanReceipt))
        receipt = await machine.until(is_receipt)
        await machine.order(stop=True)
        left = await machine.until_away(running)
        return machine, scan, receipt, left

    machine, scan, receipt, left = play(job())

    assert (scan.work, scan.machine) == (1, "m1")
    assert (receipt.work, receipt.stored, receipt.bytes) == (7, len(NAMES), len(NAMES) * SIZE)
    assert left == Goodbye("m1", "i1")
    assert machine.shell.dismissed
    assert machine.shell.refusal is None
    assert machine.shell.latest.volumes[0].ledger_end == 1
    assert machine.disks["v1"].pending("j") == []
    assert machine.disks["v1"].closed
    assert machine.pool.closed


def test_a_stop_hands_back_what_no_process_has_begun():
    async def job():
        machine = Machine()
        machine.pool.idle = {0, 1}
        running = asyncio.create_task(machine.shell.run())
        await machine.give(Work(1, WorkKind.SCAN, b""))
        await machine.until(lambda message: isinstance(message, Pulse))
        await machine.shell.stop()
        back = await machine.until(lambda message: isinstance(message, Handback))
        await machine.until_away(running)
        return machine, back

    machine, back = play(job())

    assert back.works == [1]
    assert not machine.shell.dismissed


class Failing(Disk):
    """A disk whose calls raise an error of the system, which no volume should let through, while it is `broken`."""

    broken = False

    def settle(self, *arguments):
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().settle(*arguments)


@pytest.mark.parametrize(
    "refusal",
    [None, ConfigError("/v1 is not there"), VolumeFull("/v1", "no bytes left")],
    ids=["well", "away", "full"],
)
def test_whatever_a_disk_raises_makes_it_sick_and_it_is_opened_anew_until_it_is_well(refusal):
    async def job():
        def opener(path, id_):
            nonlocal refusals
            refusals += 1
            opened = Disk(id_)
            if isinstance(refusal, VolumeFull):
                opened.probe = lambda: (_ for _ in ()).throw(refusal)
            elif refusal is not None and refusals < 3:
                raise refusal
            machine.disks[id_] = opened
            return opened

        refusals = 0
        machine = Machine(Failing("v1"), opener=opener)
        broken = machine.disks["v1"]
        broken.broken = True
        running = asyncio.create_task(machine.shell.run())
        await machine.give(batch())
        sick = await machine.until(has_volume(VolumeState.SICK))
        assert "settle: [Errno 5]" in sick.volumes[0].detail
        machine.said.clear()
        await machine.until(has_volume(VolumeState.OPEN))
        assert broken.closed
        await machine.order(stop=True)
        await machine.until_away(running)
        return refusals

    assert play(job()) == (3 if isinstance(refusal, ConfigError) else 1)


def test_a_disk_that_takes_nothing_when_it_is_opened_anew_is_closed_again():
    tried = []

    async def job():
        def opener(_path, id_):
            opened = Disk(id_)
            tried.append(opened)
            if len(tried) < 3:
                opened.trouble = VolumeSick("/v1", "read-only")
            return opened

        machine = Machine(Failing("v1"), opener=opener)
        machine.disks["v1"].broken = True
        running = asyncio.create_task(machine.shell.run())
        await machine.give(batch())
        await machine.until(has_volume(VolumeState.SICK))
        machine.said.clear()
        await machine.until(has_volume(VolumeState.OPEN))
        assert [each.closed for each in tried] == [True, True, False]
        await machine.order(stop=True)
        await machine.until_away(running)

    play(job())


def test_a_volume_that_is_added_is_used_and_one_that_cannot_be_opened_is_left_out():
    async def job():
        def opener(path, _id):
            if path != "/v2":
                raise ConfigError(f"{path} is not there")
            return machine.disks.setdefault("v2", Disk("v2"))

        machine = Machine(opener=opener)
        running = asyncio.create_task(machine.shell.run())
        await machine.order(add_volumes=["/gone", "/v2"])
        pulse = await machine.until(has_volume(VolumeState.OPEN, 1))
        await machine.order(drain_volumes=["/v1"])
        await machine.until(has_volume(VolumeState.DRAINING))
        await machine.order(stop=True)
        await machine.until_away(running)
        return [volume.id for volume in pulse.volumes], machine

    ids, machine = play(job())

    assert ids == ["v1", "v2"]
    assert machine.disks["v2"].closed


@pytest.mark.parametrize("error", [VolumeSick("/v2", "ledger not read"), OSError(5, "Input/output error")])
def test_a_volume_that_is_added_and_cannot_be_read_is_closed_and_the_others_go_on(error):
    """It is opened in a thread that holds up no end: a disk may never answer."""

    class Unreadable(Disk):
        def pending(self, _journal):
            raise error

    threads = []

    async def job():
        def opener(_path, _id):
            threads.append(threading.current_thread())
            return added

        added = Unreadable("v2")
        machine = Machine(opener=opener)
        running = asyncio.create_task(machine.shell.run())
        await machine.order(add_volumes=["/v2"])
        await machine.give(batch())
        stored = asyncio.ensure_future(machine.until(is_receipt))
        await asyncio.wait({running, stored}, return_when=asyncio.FIRST_COMPLETED)
        assert not running.done()
        receipt = await stored
        await machine.order(stop=True)
        await machine.until_away(running)
        return receipt, added

    receipt, added = play(job())

    assert receipt.stored == len(NAMES)
    assert added.closed
    assert [thread.daemon for thread in threads] == [True]


def test_a_process_that_dies_or_says_nothing_is_replaced_and_its_work_done():
    async def job():
        machine = Machine()
        machine.pool.idle = {0, 1}
        running = asyncio.create_task(machine.shell.run())
        await machine.give(batch())
        await machine.pool.assigned.wait()
        machine.pool.say(0, Died())
        machine.pool.say(1, Died())
        receipt = await machine.until(is_receipt)
        await machine.order(stop=True)
        await machine.until_away(running)
        return machine, receipt

    machine, receipt = play(job())

    assert receipt.stored == len(NAMES)
    assert machine.pool.started == [0, 1]


def test_a_source_that_refuses_this_machine_is_told_to_the_coordinator():
    async def job():
        machine = Machine()
        running = asyncio.create_task(machine.shell.run())
        machine.pool.say(0, Fatal("", Reason.CREDENTIALS, "wrong password"))
        told = await machine.until(lambda message: isinstance(message, Fatal))
        await machine.shell.stop()
        await machine.until_away(running)
        return machine, told

    machine, told = play(job())

    assert (told.machine, told.detail) == ("m1", "wrong password")
    assert machine.shell.refusal == told


class Hanging(Disk):
    """A disk that answers nothing from `hangs` on, until it is let go."""

    def __init__(self, name):
        super().__init__(name)
        self.hangs, self.let_go = False, threading.Event()

    def status(self):
        if self.hangs:
            self.let_go.wait()
        return super().status()

    def close(self):
        if self.hangs:
            self.let_go.wait()
        super().close()


def test_a_disk_that_answers_nothing_keeps_no_machine_from_leaving():
    async def job():
        disk = Hanging("v1")
        machine = Machine(disk)
        running = asyncio.create_task(machine.shell.run())
        await machine.until(lambda message: isinstance(message, Pulse))
        disk.hangs = True
        began = LoopClock().monotonic()
        await machine.order(stop=True)
        await machine.until_away(running)
        disk.let_go.set()
        return LoopClock().monotonic() - began

    assert play(job()) < CLOSE_SECONDS + 10


class Broken(DirectTransport):
    """A transport whose broker refuses the password."""

    def __init__(self):
        super().__init__()
        self.inbox.receive = self._refused

    async def _refused(self):
        raise TransportError("the broker refuses the password")


def test_an_error_that_ends_the_job_is_raised_by_itself():
    async def job():
        await Machine(transport=Broken()).shell.run()

    with pytest.raises(TransportError, match="refuses the password"):
        play(job())
