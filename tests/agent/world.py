"""Machines with agents, disks and processes, and a bookkeeper, in memory and in virtual time; anything may happen in any order.

A step is a pair of a verb and a number, which chooses among what is there; so a failing history shrinks to few steps.
"""

from collections import deque

import msgspec

from bucketpull.agent.actions import (
    Call,
    KillProcess,
    OpenVolume,
    StartProcess,
    TellCoordinator,
    TellProcess,
)
from bucketpull.agent.agent import Agent
from bucketpull.agent.parameters import AgentParameters
from bucketpull.domain.batching import batch_of, decode_batch, encode_batch
from bucketpull.domain.errors import Reason, VolumeError
from bucketpull.domain.messages import (
    Assignment,
    BatchReceipt,
    BatchVerdict,
    Control,
    Died,
    Handback,
    Mount,
    Pulse,
    Release,
    Stop,
    Unmount,
    Work,
)
from bucketpull.domain.model import Extent, Part, WorkKind
from bucketpull.domain.record import Record
from bucketpull.domain.user_limits import Limits
from bucketpull.downloader.batch_progress import BatchProgress
from bucketpull.testing.memory_volume import MemoryVolume

JOURNAL = "journal"
SIZE, MTIME = 10, 1_600_000_000


class Row(msgspec.Struct):
    """Outstanding work at the bookkeeper; `machine` "" is nobody."""

    body: bytes
    part: int = 0
    passes: int = 0
    machine: str = ""


class Books:
    """The coordinator's rules in short: the first receipt for a work and part counts."""

    def __init__(self, bodies):
        self.rows = {number: Row(body) for number, body in enumerate(bodies, 1)}
        self.ended = {}
        self.extents = {}
        self._ids = len(bodies)

    def add(self, body, passes):
        self._ids += 1
        self.rows[self._ids] = Row(body, passes=passes)

    def claim(self, machine, number):
        ready = [work for work, row in self.rows.items() if not row.machine]
        if not ready:
            return None
        work = ready[number % len(ready)]
        return self.give(work, machine)

    def give(self, work, machine):
        row = self.rows[work]
        row.machine = machine
        return Work(work, WorkKind.BATCH, row.body, row.passes, part=row.part)

    def release(self, machine):
        for row in self.rows.values():
            if row.machine == machine:
                row.machine = ""

    def book(self, receipt):
        """Return whether a receipt counts."""
        row = self.rows.get(receipt.work)
        if row is None or row.part != receipt.part:
            if row is not None and row.machine == receipt.machine and receipt.remainder is None:
                row.machine = ""
            return False
        left = [batch for batch in (receipt.remainder, receipt.deferred, receipt.returned) if batch]
        keys = set(keys_of(decode_batch(row.body)))
        rest = [key for each in left for key in keys_of(each)]
        assert len(rest) == len(set(rest)), "an object is in two fields"
        settled = keys - set(rest)
        failed = {(failure.directory, failure.name) for failure in receipt.failures}
        assert failed <= settled
        assert receipt.stored + receipt.skipped + len(failed) == len(settled), "a receipt does not add up"
        for key in settled:
            assert key not in self.ended, "an object ended twice"
            self.ended[key] = "failed" if key in failed else "stored"
            self.extents[key] = list(receipt.extents)
        del self.rows[receipt.work]
        if receipt.remainder is not None:
            self.rows[receipt.work] = Row(
                encode_batch(receipt.remainder), receipt.next_part, row.passes, receipt.machine
            )
        for rest_of, older in ((receipt.deferred, 1), (receipt.returned, 0)):
            if rest_of is not None:
                self.add(encode_batch(rest_of), row.passes + older)
        return True


def keys_of(batch):
    return [(part.directory, name) for part in batch.parts for name in part.names]


class Process:
    """What a downloader does, one object at a time."""

    def __init__(self):
        self.batches = {}
        self.volumes = set()
        self.stopping = False

    def hear(self, message):
        if isinstance(message, Assignment):
            assert message.volume in self.volumes, "an assignment for a volume that it does not know"
            assert message.id not in self.batches, "an assignment that it has"
            batch = BatchProgress(message)
            self.batches[message.id] = batch, deque(batch.take(1 << 20))
        elif isinstance(message, Stop):
            self.stopping = True
        elif isinstance(message, Release):
            for batch, items in self.batches.values():
                for _ in range((len(items) + 1) // 2):
                    progress, index, *_ = items.pop()
                    batch.displace(progress, index, Reason.INTERRUPTED, "")
        elif isinstance(message, Mount):
            self.volumes.add(message.id)
        elif isinstance(message, Unmount):
            self.volumes.discard(message.id)


class Machine:
    """One agent with its volumes. `queue` are messages to the coordinator, `given` those to the agent."""

    def __init__(self, world, name, volumes, processes=2):
        self.world = world
        self.name = name
        self.volumes = volumes
        self.count = processes
        self.given = deque()
        self.queue = deque()
        self.start()

    def start(self):
        self.calls = deque()
        self.hanging = set()
        self.queue.clear()
        self.given.clear()
        self.processes = [Process() for _ in range(self.count)]
        self.dead = deque()
        self.unheard = deque()
        self.world.incarnation += 1
        parameters = AgentParameters(self.name, JOURNAL, "1", str(self.world.incarnation))
        self.agent = Agent(parameters, self.count, self.world.now)
        for volume in self.volumes.values():
            if volume.trouble is None:
                self.agent.volume_opened(volume.status(), volume.known(), self.world.now)
        self.act()

    def act(self):
        for action in self.agent.actions():
            if isinstance(action, TellProcess):
                if action.process not in self.dead:
                    self.processes[action.process].hear(action.message)
            elif isinstance(action, TellCoordinator):
                self.queue.append(action.message)
            elif isinstance(action, Call):
                self.calls.append(action)
            elif isinstance(action, KillProcess):
                self.die(action.process)
            elif isinstance(action, StartProcess):
                self.dead.remove(action.process)
            else:
                assert isinstance(action, OpenVolume)

    def call(self, number):
        """Carry out one of the calls that wait, but of a disk that hangs."""
        ready = [call for call in self.calls if call.ask.volume not in self.hanging]
        if ready:
            call = ready[number % len(ready)]
            self.calls.remove(call)
            if call.ask.verb == "reopen":
                self.drop_calls_before(call)
            volume = self.volumes[call.ask.volume]
            try:
                answer = getattr(volume, call.ask.verb)(*call.ask.arguments)
            except VolumeError as error:
                answer = error
            self.agent.disk_answered(call.id, answer, self.world.now)
            self.act()

    def drop_calls_before(self, reopening):
        """What a volume has not done when it is opened anew is not done any more: it was closed before."""
        late = [
            call for call in self.calls if call.ask.volume == reopening.ask.volume and call.id < reopening.id
        ]
        for call in late:
            self.calls.remove(call)

    def die(self, process):
        """Of a death is heard a little later."""
        if process not in self.dead:
            self.processes[process] = Process()
            self.dead.append(process)
            self.unheard.append(process)

    def hear_of_deaths(self):
        """Each is heard of once; while the agent stops, no process is made in place of a dead one."""
        while self.unheard:
            process = self.unheard.popleft()
            self.agent.process_sent(process, Died(), self.world.now)
            self.act()

    def work(self, number):
        """End some object of some batch in some way."""
        process = number % self.count
        batches = list(self.processes[process].batches.values())
        if not batches:
            return
        batch, items = batches[number // 2 % len(batches)]
        if batch.volume in self.hanging:
            return
        volume = self.volumes[batch.volume]
        if items:
            progress, index, name, size, mtime, *_ = items.popleft()
            way = "stop" if self.processes[process].stopping else WAYS[number % len(WAYS)]
            if way == "stop" or volume.trouble is not None:
                is_full = volume.trouble is not None and "bytes" in str(volume.trouble)
                trouble = (
                    Reason.INTERRUPTED
                    if volume.trouble is None
                    else Reason.VOLUME_FULL
                    if is_full
                    else Reason.VOLUME_SICK
                )
                batch.displace(progress, index, trouble, "in the way")
            elif way == "store":
                volume.write(progress.part.directory, name, size, mtime)
                batch.store(progress, index, size, None)
            elif way == "fail":
                batch.fail(progress, index, Reason.REJECTED, 1)
            else:
                batch.defer(progress, index, 4)
        self.tell_if(process, batch, number % 5 == 0)

    def tell_if(self, process, batch, in_part):
        if batch.left and not (in_part and batch.left != batch.reported):
            return
        if not batch.left:
            del self.processes[process].batches[batch.id]
        self.agent.process_sent(process, batch.outcome(), self.world.now)
        self.act()

    def hear(self):
        self.hear_of_deaths()
        if self.given:
            self.agent.received([self.given.popleft()], self.world.now)
            self.act()

    def say(self):
        if self.queue:
            message = self.queue.popleft()
            self.world.hear(self, message)
            self.agent.delivered(message, self.world.now)
            self.act()


WAYS = ("store", "store", "store", "fail", "store", "defer", "store")


class World:
    def __init__(self, batches=3, objects=5, machines=2):
        self.now = 100.0
        self.incarnation = 0
        self.late = deque()
        names = [b"n%03d" % number for number in range(batches * objects)]
        parts = [
            Part(b"d", "", names[start : start + objects], [SIZE] * objects, [MTIME] * objects)
            for start in range(0, len(names), objects)
        ]
        self.keys = {(b"d", name) for name in names}
        self.books = Books([encode_batch(batch_of([part])) for part in parts])
        self.machines = [
            Machine(self, f"m{m}", {v: MemoryVolume(v) for v in (f"m{m}a", f"m{m}b")})
            for m in range(machines)
        ]

    def hear(self, machine, message):
        """Do what the coordinator does."""
        if isinstance(message, BatchReceipt):
            self.book(machine, msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=BatchReceipt))
        elif isinstance(message, Handback):
            for work in message.works:
                if work in self.books.rows and self.books.rows[work].machine == machine.name:
                    self.books.rows[work].machine = ""
        elif isinstance(message, Pulse):
            self.answer(machine, message)

    def book(self, machine, receipt):
        self.late.append(receipt)
        if self.books.book(receipt) and receipt.remainder is None:
            machine.given.append(Control(Limits(), booked=[receipt.work]))

    def answer(self, machine, pulse):
        for question in pulse.begun:
            row = self.books.rows.get(question.work)
            if row is not None and row.machine == "":
                machine.given.append(self.books.give(question.work, machine.name))
        works = {question.work for question in pulse.begun} - self.books.rows.keys()
        counted = {extent for extents in self.books.extents.values() for extent in extents}
        for work in works:
            blocks = [
                Extent(question.volume, question.offset)
                for question in pulse.begun
                if question.work == work and question.offset >= 0
            ]
            gone = [block for block in blocks if block not in counted]
            verdict = BatchVerdict(work, blocks, gone, sorted(counted, key=str))
            machine.given.append(Control(Limits(), verdicts=[verdict]))

    def step(self, verb, number):
        machine = self.machines[number % len(self.machines)]
        number //= len(self.machines)
        getattr(self, f"do_{verb}")(machine, number)

    def do_give(self, machine, number):
        work = self.books.claim(machine.name, number)
        if work is not None:
            machine.given.append(work)

    def do_go(self, machine, number):
        """Let everything of a machine go on a little."""
        machine.hear()
        machine.call(number)
        machine.work(number)
        machine.work(number // 7)
        machine.call(number // 3)
        machine.say()

    def do_hear(self, machine, number):
        machine.hear()

    def do_call(self, machine, number):
        machine.call(number)

    def do_work(self, machine, number):
        machine.work(number)

    def do_say(self, machine, number):
        machine.say()

    def do_wait(self, machine, number):
        self.now += (0.3, 1.0, 6.0, 20.0)[number % 4]
        for each in self.machines:
            each.agent.wake(self.now)
            each.act()

    def do_redeliver(self, machine, number):
        if self.late:
            receipt = self.late[number % len(self.late)]
            (owner,) = [each for each in self.machines if each.name == receipt.machine]
            self.book(owner, receipt)

    def do_die(self, machine, number):
        machine.die(number % machine.count)

    def do_kill(self, machine, number):
        if number % 3 == 0:
            for volume in machine.volumes.values():
                volume.cut_power()
        self.books.release(machine.name)
        machine.start()

    def do_release(self, machine, number):
        """Take a machine for dead although it is not."""
        self.books.release(machine.name)

    def do_lose(self, machine, number):
        """Lose what is on its way to a machine, as a broker that is purged."""
        machine.given.clear()

    def do_fill(self, machine, number):
        list(machine.volumes.values())[number % 2].fill()

    def do_sicken(self, machine, number):
        list(machine.volumes.values())[number % 2].sicken()

    def do_hang(self, machine, number):
        """Let a disk answer nothing for a while; when it is given up, it is opened anew once it answers."""
        machine.hanging.add(list(machine.volumes)[number % 2])

    def do_heal(self, machine, number):
        machine.hanging.clear()
        for volume in machine.volumes.values():
            volume.trouble = None

    def do_relieve(self, machine, number):
        machine.given.append(Control(Limits(), release=True))

    def do_stop(self, machine, number):
        machine.agent.stop(self.now)
        machine.act()

    def finish(self):
        """Heal everything, start every machine anew, and go on to the end."""
        for machine in self.machines:
            self.do_heal(machine, 0)
            self.do_kill(machine, 1)
        for _ in range(3000):
            for machine in self.machines:
                self.do_give(machine, 0)
                for _ in range(4):
                    machine.hear()
                    machine.call(0)
                    machine.say()
                for number in range(4):
                    machine.work(number)
            self.do_wait(self.machines[0], 0)
            if not self.books.rows and all(machine.agent.is_quiet for machine in self.machines):
                return
        raise AssertionError(f"never ends: {self.books.rows}")

    def check(self):
        """Hold what is counted against the disks."""
        assert self.books.ended.keys() == self.keys
        volumes = {volume.id: volume for machine in self.machines for volume in machine.volumes.values()}
        for key, end in self.books.ended.items():
            if end == "stored":
                there = [
                    extent
                    for extent in self.books.extents[key]
                    if volumes[extent.volume].blocks[extent.offset] is not None
                    and key in names_in(volumes[extent.volume].read(extent.offset))
                ]
                assert there, f"{key} counts as stored, and no counted block has it"
                assert any(key in volumes[extent.volume].files for extent in there), f"{key} is on no disk"
        assert self.second_copies() == set()

    def second_copies(self):
        """Return the objects that lie on more than one volume."""
        volumes = [volume for machine in self.machines for volume in machine.volumes.values()]
        return {key for key in self.keys if sum(key in volume.files for volume in volumes) > 1}


def names_in(records: list[Record]):
    return {(record.directory, name) for record in records for name in record.names}
