"""The end of a job waits for no slow machine: others that have nothing to do get what it has not begun."""

from tests.coordinator.harness import Harness
from tests.coordinator.test_coordinator import NAMES, pulse, stored

from bucketpull.coordinator.dispatch import IDLE_SECONDS
from bucketpull.domain.batching import batch_of, decode_batch
from bucketpull.domain.messages import BatchReceipt


def is_asked(harness, machine):
    return any(control.release for control in harness.controls(machine))


def shared(in_memory):
    """Start a job of four batches: the slow machine has three, the other one."""
    harness = Harness(in_memory(NAMES, 5))
    harness.hear(pulse("slow", window=3))
    harness.hear(pulse("fast", window=2))
    (last,) = harness.works("fast")
    return harness, harness.works("slow"), last


def test_a_machine_hands_back_what_it_has_not_begun_when_another_was_idle_for_a_while(in_memory):
    harness, works, last = shared(in_memory)
    holds = [work.id for work in works]
    harness.hear(stored(last, "fast"))
    alive = pulse("slow", window=3, holds=holds), pulse("fast", window=2)

    harness.wait(IDLE_SECONDS - 2, *alive)
    assert not is_asked(harness, "slow")
    harness.wait(3, *alive)
    assert is_asked(harness, "slow")
    assert not is_asked(harness, "fast")
    harness.wait(5, *alive)
    assert not is_asked(harness, "slow")

    rest = batch_of(decode_batch(works[2].body).parts)
    harness.hear(pulse("slow", window=4, holds=holds[:2]), BatchReceipt(works[2].id, "slow", returned=rest))
    assert [len(harness.works(machine)) for machine in ("slow", "fast")] == [0, 1]


def test_nobody_is_asked_while_every_machine_has_work_or_none_wants_more(in_memory):
    harness, works, last = shared(in_memory)
    holds = [work.id for work in works]

    harness.wait(30, pulse("slow", window=3, holds=holds), pulse("fast", window=2, holds=[last.id]))
    harness.hear(stored(last, "fast"))
    harness.wait(30, pulse("slow", window=3, holds=holds), pulse("fast", window=0))

    assert not is_asked(harness, "slow")
    assert not is_asked(harness, "fast")
