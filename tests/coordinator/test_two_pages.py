"""The whole conversation in virtual time, with a listing that gives objects on two of its pages, for machines that do not know of each other."""

import random
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.world import MTIME, SIZE
from tests.coordinator.test_any_order import SELDOM, STEPS, World

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

    def __init__(self, journal, again=3, length=24):
        self.again = again
        self.names = {}
        self.untold = set()
        super().__init__(journal, length)

    def listing(self, names, objects):
        return partial(list_pages, self.journal, names, objects, self.again)

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

    def check(self, most=1):
        """Hold the disks against the listing: each object that did not fail lies where the journal says, and on no more disks than `most`."""
        for key in self.keys - self.failures():
            assert self.is_on_disk(key), f"{key} is on no disk that the journal knows of"
        lie = {key: sum(key in volume.files for volume in self.volumes().values()) for key in self.keys}
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
    world.live(chance, troubles)
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
