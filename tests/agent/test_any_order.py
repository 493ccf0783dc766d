"""Whatever happens to machines, disks, processes and messages, in whatever order: each object ends once, and lies where it counts."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.agent.world import World

OFTEN = ("give", "go", "go", "go", "go", "call", "work", "say", "wait", "release")
SELDOM = ("redeliver", "die", "kill", "release", "lose", "fill", "sicken", "hang", "heal", "relieve", "stop")
STEPS = st.tuples(st.sampled_from(OFTEN * 5 + SELDOM), st.integers(0, 1 << 12))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=20, max_size=150))
def test_each_object_ends_in_one_field_of_one_counted_receipt_and_one_copy_of_it_counts(steps):
    world = World()
    for verb, number in steps:
        world.step(verb, number)
    world.finish()
    world.check()


@pytest.mark.parametrize("trouble", [*SELDOM, "all"])
@pytest.mark.parametrize("seed", range(6))
def test_long_histories_with_one_kind_of_trouble_or_all(seed, trouble):
    chance = random.Random(f"{seed} {trouble}")
    world = World(batches=8, objects=7)
    troubles = SELDOM if trouble == "all" else (trouble, "heal", "kill")
    for _ in range(600):
        is_trouble = chance.random() < 0.03
        world.step(chance.choice(troubles if is_trouble else OFTEN), chance.randrange(1 << 12))
    world.finish()
    world.check()
