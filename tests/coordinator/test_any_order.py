"""The whole conversation, coordinator and agents, in virtual time: whatever happens, each object ends once, and lies where it counts."""

import random
from collections import deque
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.world import MTIME, SIZE, Machine, names_in
from tests.agent.world import World as AgentWorld
from tests.coordinator.conftest import list_page
from tests.coordinator.harness import Harness

from bucketpull.domain.messages import BatchReceipt, Goodbye, Handback
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.testing.memory_volume import MemoryVolume

OFTEN = ("turn", "go", "go", "go", "go", "call", "work", "say", "wait")
SELDOM = ("redeliver", "die", "kill", "restart", "lose", "fill", "sicken", "hang", "heal", "stop", "mute")
STEPS = st.tuples(st.sampled_from(OFTEN * 5 + SELDOM), st.integers(0, 1 << 12))


class World(AgentWorld):
    """Agents as in the agent's own world; in the place of its bookkeeper the coordinator, with the journal."""

    def __init__(self, journal, length=15, objects=5, machines=2):
        self.now = 100.0
        self.incarnation = 0
        self.journal = journal
        names = [b"n%03d" % number for number in range(length)]
        self.keys = {(b"", name) for name in names}
        self.list = self.listing(names, objects)
        self.list()
        self.late = deque()
        self.coming = []
        self.muted = set()
        self.machines = [
            Machine(self, f"m{m}", {v: MemoryVolume(v) for v in (f"m{m}a", f"m{m}b")})
            for m in range(machines)
        ]
        self.gone = set()
        self.harness = self.coordinate()

    def listing(self, names, objects):
        """Return what books a listing of these names, in batches of so many objects."""
        return partial(list_page, self.journal, names, objects, SIZE, MTIME)

    def coordinate(self):
        return Harness(self.journal, self.now, local_machine="lister")

    def hear(self, machine, message):
        """Bring a message to the coordinator; what is not settled with it comes again when it is started anew."""
        if machine.name not in self.muted:
            self.coming.append(message)
            if isinstance(message, BatchReceipt):
                self.late.append(message)

    def do_turn(self, machine, number):
        if self.harness.has_ended:
            return
        self.harness.now = self.now
        self.harness.hear(*self.coming, after=0.0)
        self.coming.clear()
        for each in self.machines:
            each.given.extend(self.harness.controls(each.name))
            self.give(each, self.harness.works(each.name))

    def give(self, machine, works):
        machine.given.extend(works)

    def do_kill(self, machine, number):
        if number % 3 == 0:
            for volume in machine.volumes.values():
                volume.cut_power()
        machine.start()

    def do_restart(self, machine, number):
        """Kill the coordinator; the next one goes on from the journal. After the end it would begin a new run."""
        if self.journal.outstanding().batches:
            self.harness = self.coordinate()

    def do_redeliver(self, machine, number):
        if self.late:
            self.coming.append(self.late[number % len(self.late)])

    def do_mute(self, machine, number):
        """Let a machine not be heard, or be heard again."""
        self.muted ^= {machine.name}

    def finish(self):
        """Heal everything, and go on to the end of the job; then list again, for those that were away at its end."""
        self.muted.clear()
        self.run_to_the_end()
        self.list()
        self.harness = self.coordinate()
        self.run_to_the_end()

    def run_to_the_end(self):
        """Start every machine anew, and go on until the coordinator says that the job has ended."""
        self.gone.clear()
        for machine in self.machines:
            self.do_heal(machine, 0)
            self.do_kill(machine, 1)
        for turn in range(4000):
            if self.harness.has_ended:
                return
            for machine in self.machines:
                for _ in range(4):
                    machine.hear()
                    machine.call(0)
                    machine.say()
                for number in range(4):
                    machine.work(number)
                self.leave(machine)
            self.do_turn(None, 0)
            self.do_wait(self.machines[0], 0 if turn % 50 else 2)
        raise AssertionError(f"never ends: {self.journal.outstanding()}")

    def leave(self, machine):
        """Let a machine go that was told to, when it has nothing left to do or to hear."""
        agent = machine.agent
        if agent.is_empty and agent.is_quiet and not machine.queue and machine.name not in self.gone:
            self.gone.add(machine.name)
            self.coming += [agent.pulse(), Goodbye(machine.name, str(self.incarnation))]

    def live(self, chance, troubles):
        """Take 500 steps at random, some of which are of troubles."""
        for _ in range(500):
            is_trouble = chance.random() < 0.03
            self.step(chance.choice(troubles if is_trouble else OFTEN), chance.randrange(1 << 12))

    def failures(self):
        return {(failure.directory, failure.name) for failure in self.journal.failures()}

    def blocks_with(self, key):
        """Return the blocks that tell of an object, of those that the journal knows for it."""
        volumes = self.volumes()
        return [
            extent
            for extent in self.journal.where(*key)
            if volumes[extent.volume].blocks[extent.offset] is not None
            and key in names_in(volumes[extent.volume].read(extent.offset))
        ]

    def is_on_disk(self, key):
        """Whether one of these blocks is on a disk that has the file too."""
        volumes = self.volumes()
        return any(key in volumes[extent.volume].files for extent in self.blocks_with(key))

    def volumes(self):
        return {volume.id: volume for machine in self.machines for volume in machine.volumes.values()}

    def check(self):
        counters, failed = self.journal.counters(), self.failures()
        assert (counters.listed, counters.failed) == (len(self.keys), len(failed))
        assert counters.stored + counters.skipped + counters.failed == counters.listed
        for key in self.keys - failed:
            assert self.blocks_with(key), (
                f"{key} counts as stored, and no block that the journal knows has it"
            )
            assert self.is_on_disk(key), f"{key} is on no disk"
        assert self.second_copies() == set()


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=20, max_size=120))
def test_each_object_is_counted_once_and_lies_where_the_journal_says(in_memory, steps):
    world = World(in_memory())
    for verb, number in steps:
        world.step(verb, number)
    world.finish()
    world.check()


@pytest.mark.parametrize("trouble", [*SELDOM, "all"])
@pytest.mark.parametrize("seed", range(3))
def test_long_histories_with_one_kind_of_trouble_or_all(in_memory, seed, trouble):
    troubles = SELDOM if trouble == "all" else (trouble, "heal", "kill", "restart")
    play(in_memory(), random.Random(f"{seed} {trouble}"), troubles)


def test_long_histories_with_the_journal_on_disk(tmp_path):
    journal = SqliteJournal.open(tmp_path, "job", {"source": "upyun://b"})
    play(journal, random.Random(1), SELDOM)
    journal.close()


def play(journal, chance, troubles):
    world = World(journal, length=56, objects=7)
    world.live(chance, troubles)
    world.finish()
    world.check()


def test_the_machines_hear_of_the_end(in_memory):
    world = World(in_memory())
    world.finish()
    for _ in range(60):
        for machine in world.machines:
            for _ in range(3):
                machine.hear()
                machine.call(0)
                machine.say()
        world.do_turn(None, 0)
        world.do_wait(world.machines[0], 0)
    assert all(machine.agent.stopping for machine in world.machines)
    assert not any(isinstance(message, Handback) for message in world.coming)
