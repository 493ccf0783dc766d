"""Bytes that somebody damaged, spliced or made up: no error but the documented one, no hang, no more memory than they are worth."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.damage import damages
from tests.fuzz.targets import TARGETS, corpus

FEW, MANY = 15, 5_000
_QUICK = settings(max_examples=FEW, suppress_health_check=list(HealthCheck))
_LONG = settings(max_examples=MANY, suppress_health_check=list(HealthCheck))


def tried(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    seeds = target.seeds()
    seed, other = data.draw(st.sampled_from(seeds)), data.draw(st.sampled_from(seeds))
    place = data.draw(st.floats(0, 1))
    spliced = seed[: int(place * len(seed))] + other[int(data.draw(st.floats(0, 1)) * len(other)) :]
    target.run(
        data.draw(
            damages(seed) | damages(damages_of(data, seed)) | st.just(spliced) | st.binary(max_size=200)
        )
    )


def damages_of(data: st.DataObject, seed: bytes) -> bytes:
    return data.draw(damages(seed))


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_sound_and_what_once_failed_is_taken(name):
    for data in (*TARGETS[name].seeds(), *corpus(name), b""):
        TARGETS[name].run(data)


@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
@_QUICK
def test_whatever_the_bytes_are_there_is_one_error(name, data):
    tried(name, data)


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
@given(st.data())
@_LONG
def test_whatever_the_bytes_are_there_is_one_error_for_long(name, data):
    tried(name, data)
