"""The whole conversation in virtual time, with a listing that gives objects on two of its pages, for machines that do not know of each other."""

import random
from collections import deque
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.world import MTIME, SIZE, Machine, names_in
from tests.coordinator.test_any_order import OFTEN, SELDOM, STEPS, World

from bucketpull.domain.batching import cut, decode_batch, decode_positions, ids_of
from bucketpull.domain.messages import BatchReceipt, ScanReceipt
from bucketpull.domain.model import PageRecord, Part, Position, WorkKind
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.testing.memory_volume import MemoryVolume

PAGE = 8


def list_pages(journal, names, objects, again):
    """Book a listing of the root, as a machine that has ended since would have: each page begins with the last objects of the one before it."""
    journal.begin(Position(b""), 1.0)
    while works := journal.claim(WorkKind.SCAN, 99, "lister", 1.0):
        journal.commit([listed(work, names, objects, again) for work in works], 1.0)


def listed(work, names, objects, again):
    receipt, parts = ScanReceipt(work.id, "lister"), []
    for position in decode_positions(work.body):
        start = int(position.cursor or 0)
        shown = names[max(0, start - again) : start + PAGE]
        digest = repr(shown).encode()
        sums = len(shown), SIZE * len(shown)
        is_unchanged = position.digest == digest
        record = PageRecord(b"", position.cursor, shown[0], shown[-1], digest, *sums, unchanged=is_unchanged)
        receipt.pages.append(record)
        if not is_unchanged:
            parts.append(Part(b"", position.cursor, shown, [SIZE] * len(shown), [MTIME] * len(shown)))
        if start + PAGE < len(names):
            receipt.positions.append(Position(b"", str(start + PAGE)))
    receipt.batches = cut(parts, objects)
    return receipt


class TwoPagesWorld(World):
    """Two machines with two disks each. Each page begins with the last `again` objects of the one before it."""

    def __init__(self, journal, objects=5, again=3, length=24):
        self.now = 100.0
        self.incarnation = 0
        self.journal = journal
        names = [b"n%03d" % number for number in range(length)]
        self.keys = {(b"", name) for name in names}
        self.list = partial(list_pages, journal, names, objects, again)
        self.list()
        self.late = deque()
        self.coming = []
        self.muted = set()
        self.machines = [
            Machine(self, f"m{m}", {v: MemoryVolume(v) for v in (f"m{m}a", f"m{m}b")}) for m in range(2)
        ]
        self.gone = set()
        self.names = {}
        self.untold = set()
        self.harness = self.coordinate()

    def give(self, machine, works):
        super().give(machine, works)
        for work in works:
            self.names[work.id] = ids_of(decode_batch(work.body).parts)

    def hear(self, machine, message):
        super().hear(machine, message)
        if isinstance(message, BatchReceipt) and len({extent.volume for extent in message.extents}) > 1:
            self.untold |= self.names[message.work]

    def finish(self):
        """Go on to the end, and run again.

        What has failed on both pages is fetched by the second run in batches that find other objects in place. Of these it is
        `untold` what they have stored, as of those that are on two disks, so both copies stay.
        """
        self.muted.clear()
        if not self.harness.has_ended:
            self.run_to_the_end()
        self.untold |= self.failures()
        self.list()
        self.harness = self.coordinate()
        self.run_to_the_end()

    def lose(self, volume):
        """Lose a disk and what is on it, have its objects fetched again, and hold the disks against the listing."""
        [machine] = [each for each in self.machines if volume in each.volumes]
        del machine.volumes[volume]
        machine.volumes[f"{volume}2"] = MemoryVolume(f"{volume}2")
        self.journal.end("complete", self.now)
        self.journal.lose(volume)
        self.finish()
        self.check(most=4)

    def failures(self):
        return {(failure.directory, failure.name) for failure in self.journal.failures()}

    def check(self, most=1):
        """Hold the disks against the listing: each object that did not fail lies where the journal says, and on no more disks than `most`."""
        failed = self.failures()
        volumes = {volume.id: volume for machine in self.machines for volume in machine.volumes.values()}
        for directory, name in self.keys - failed:
            there = [
                extent
                for extent in self.journal.where(directory, name)
                if volumes[extent.volume].blocks[extent.offset] is not None
                and (directory, name) in names_in(volumes[extent.volume].read(extent.offset))
            ]
            assert any((directory, name) in volumes[extent.volume].files for extent in there), (
                f"{name} is on no disk that the journal knows of"
            )
        lie = {key: sum(key in volume.files for volume in volumes.values()) for key in self.keys}
        more = {key: count for key, count in lie.items() if count > most and key not in self.untold}
        assert not more, f"on several disks: {more}"


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=20, max_size=120), st.integers(1, 4))
def test_of_an_object_of_two_pages_one_copy_stays(in_memory, steps, again):
    world = TwoPagesWorld(in_memory(), again=again)
    for verb, number in steps:
        world.step(verb, number)
    world.finish()
    world.check()


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=20, max_size=120), st.integers(9, 20))
def test_of_an_object_of_several_pages_one_copy_stays_at_least(in_memory, steps, again):
    world = TwoPagesWorld(in_memory(), again=again)
    for verb, number in steps:
        world.step(verb, number)
    world.finish()
    world.check(most=4)


def play(journal, chance, troubles, again, most):
    world = TwoPagesWorld(journal, again=again, length=64)
    for _ in range(500):
        is_trouble = chance.random() < 0.03
        world.step(chance.choice(troubles if is_trouble else OFTEN), chance.randrange(1 << 12))
    world.finish()
    world.check(most)
    world.lose(chance.choice(sorted(journal.counted_on())))


@pytest.mark.parametrize(("again", "most"), [(3, 1), (12, 4)])
@pytest.mark.parametrize("trouble", [*SELDOM, "all"])
def test_long_histories_with_one_kind_of_trouble_or_all(tmp_path, trouble, again, most):
    troubles = SELDOM if trouble == "all" else (trouble, "heal", "kill", "restart")
    journal = SqliteJournal.open(tmp_path, "job", {"source": "upyun://b"})
    play(journal, random.Random(f"{trouble} {again}"), troubles, again, most)
    journal.close()
