"""The whole conversation in virtual time, with a source that changes while it is listed page by page, and disks that burn down."""

import random
from collections import deque

import pytest
from tests.agent.world import SIZE, Machine
from tests.coordinator.harness import UNIX
from tests.coordinator.test_any_order import World

from bucketpull.domain.batching import cut, decode_positions
from bucketpull.domain.messages import ScanReceipt
from bucketpull.domain.model import PageRecord, Part, Position, WorkKind
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.testing.memory_volume import MemoryVolume

PAGE = 4
OFTEN = ("turn", "go", "go", "go", "go", "call", "work", "say", "wait", "list", "list", "list")
SELDOM = (
    "change",
    "change",
    "kill",
    "die",
    "restart",
    "next",
    "abandon",
    "burn",
    "sicken",
    "fill",
    "heal",
    "heal",
)
RUNS = 6
"""Until all is as it should be: what stands in the place of other pages is compared in the second run, and of doubles on both disks some in each."""


class ChangingWorld(World):
    """One machine with two disks, and a folder of objects by name with their dates. The world lists it itself, in pages of four."""

    def __init__(self, journal):
        self.now = 100.0
        self.incarnation = 0
        self.journal = journal
        self.disks = 0
        self.source = {b"n%03d" % number: 1 for number in range(0, 100, 3)}
        self.late = deque()
        self.coming = []
        self.muted = set()
        self.scans = []
        self.machines = [Machine(self, "m0", {volume: MemoryVolume(volume) for volume in ("m0a", "m0b")})]
        self.gone = set()
        self.harness = self.coordinate()

    @property
    def keys(self):
        return {(b"", name) for name in self.source}

    def do_turn(self, machine, number):
        if self.harness.has_ended:
            return
        super().do_turn(machine, number)
        if self.harness.has_ended:
            self.journal.end("complete", UNIX + self.now)

    def give(self, machine, works):
        self.scans += [work for work in works if work.kind is WorkKind.SCAN]
        machine.given.extend(work for work in works if work.kind is WorkKind.BATCH)

    def do_list(self, machine, number):
        if self.scans:
            self.coming.append(self.listed(self.scans.pop(number % len(self.scans))))

    def listed(self, work):
        receipt = ScanReceipt(work.id, "m0")
        parts = []
        for position in decode_positions(work.body):
            names = sorted(name for name in self.source if name > position.cursor.encode())
            shown = names[:PAGE]
            part = Part(b"", position.cursor, shown, [SIZE] * len(shown), [self.source[n] for n in shown])
            digest, ends = repr((shown, part.mtimes)).encode(), (shown[:1] + shown[-1:]) or [b"", b""]
            sums = len(shown), SIZE * len(shown)
            receipt.pages.append(
                PageRecord(b"", position.cursor, *ends, digest, *sums, unchanged=digest == position.digest)
            )
            if len(names) > PAGE:
                receipt.positions.append(Position(b"", shown[-1].decode()))
            if shown and digest != position.digest:
                parts.append(part)
        receipt.batches = cut(parts, 3)
        return receipt

    def do_change(self, machine, number):
        chance = random.Random(number)
        for name in chance.sample(sorted(self.source), chance.choice([0, 1, 1, 2])):
            del self.source[name]
        for name in chance.sample(sorted(self.source), chance.choice([0, 0, 1])):
            self.source[name] += 1
        for _ in range(chance.choice([0, 1, 2])):
            self.source[b"n%03d" % chance.randrange(100)] = 1

    def do_restart(self, machine, number):
        """Kill the coordinator, with its machine or without."""
        self.scans.clear()
        if number % 2:
            for each in self.machines:
                each.start()
        self.harness = self.coordinate()

    def do_next(self, machine, number):
        """Begin another run where one has ended."""
        if self.harness.has_ended:
            self.do_restart(machine, number)

    def do_abandon(self, machine, number):
        self.journal.void_run()
        self.do_restart(machine, 1)

    def do_burn(self, machine, number):
        """Let a disk burn down that the journal knows, and put another one in its place."""
        lost = sorted(machine.volumes)[number % 2]
        if lost in self.journal.counted_on():
            del machine.volumes[lost]
            self.journal.lose(lost)
            self.coming.clear()
            self.disks += 1
            new = f"m0{'ab'[number % 2]}{self.disks}"
            machine.volumes[new] = MemoryVolume(new)
            self.do_restart(machine, 1)

    def run_to_the_end(self):
        self.do_heal(self.machines[0], 0)
        self.do_restart(None, 1)
        for turn in range(4000):
            if self.harness.has_ended:
                return
            while self.scans:
                self.do_list(None, 0)
            (machine,) = self.machines
            for _ in range(4):
                machine.hear()
                machine.call(0)
                machine.say()
            for number in (0, 1, 2):
                machine.work(number)
            self.leave(machine)
            self.do_turn(None, 0)
            self.do_wait(machine, 0 if turn % 50 else 2)
        raise AssertionError(f"never ends: {self.journal.outstanding()}")

    def leave(self, machine):
        self.gone.discard(machine.name)
        super().leave(machine)

    def finish(self):
        self.run_to_the_end()
        self.journal.retry()
        for _ in range(RUNS):
            self.run_to_the_end()


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(6, 300))]
)
def test_in_the_end_each_object_lies_on_one_disk(tmp_path, seed):
    chance = random.Random(seed)
    journal = SqliteJournal.open(tmp_path, "job", {"source": "upyun://b"})
    world = ChangingWorld(journal)
    rate = chance.choice([0.02, 0.05, 0.1])
    for _ in range(chance.choice([100, 300, 800])):
        is_trouble = chance.random() < rate
        verb = chance.choice(SELDOM if is_trouble else OFTEN)
        if world.harness.has_ended:
            verb = chance.choice(("next", "change", "burn", "sicken", "heal"))
        world.step(verb, chance.randrange(1 << 12))

    world.finish()

    world.check()
    journal.close()
