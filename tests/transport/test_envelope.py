"""What a sealed message proves, and that nothing else is ever believed, whatever the bytes are."""

import contextlib
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.errors import ConfigError
from bucketpull.transport.envelope import (
    MAGIC,
    Direction,
    Header,
    Rejected,
    RejectionLog,
    SeenMessages,
    Session,
)
from bucketpull.transport.job_key import JobKey, machine_key, read_key
from bucketpull.transport.wire import answer, down, up

KEY = JobKey(b"the secret of a job, of which the broker knows nothing")
QUEUE = "bucketpull.photos.machine.m1"


def sealer(key=KEY, job="photos", session="s"):
    return Session(key, "1.0", job, session, "journal")


def sealed(body=b"body", way=Direction.DOWN, machine="m1", queue=QUEUE, **changes):
    return sealer(**changes).seal(way, machine, queue, body, meant="worker")


def opened(data, key=KEY, job="photos", queue=QUEUE, way=Direction.DOWN):
    return Session(key, "1.0", job, "").open(data, queue, way)


def test_a_sealed_message_is_opened_with_all_that_it_is_bound_to():
    header, body = opened(sealed(b"what is said"))
    assert body == b"what is said"
    assert (header.machine, header.meant, header.journal, header.number) == ("m1", "worker", "journal", 1)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (sealed(key=JobKey(b"another secret, as long as a secret has to be")), "another job key"),
        (sealed(key=JobKey(b"")), "another job key"),
        (sealed(job="films"), "another job"),
        (sealed(queue="bucketpull.photos.machine.m2"), "another queue"),
        (sealed(way=Direction.UP), "another queue"),
        (b"", "empty"),
        (b"\xc1garbage", "no message of bucketpull"),
        (MAGIC + b"\xff\xff" + bytes(32), "cut off"),
        (MAGIC + struct.pack("<H", 1900) + bytes(32) + b"\x91" * 1900, "cannot be read"),
        (MAGIC + struct.pack("<H", 5) + bytes(32) + b"\x91\xa3\xff\xfe\xfd", "cannot be read"),
    ],
)
def test_what_was_not_sealed_for_here_is_refused_with_the_reason(data, why):
    with pytest.raises(Rejected, match=why):
        opened(data)


@given(st.data())
def test_no_byte_of_a_message_can_be_changed(data):
    whole = sealed(b"\x93\xa4work\x01\x02")
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([data.draw(st.integers(0, 255).filter(lambda it: it != whole[at]))])
    with pytest.raises(Rejected):
        opened(changed + whole[at + 1 :])


@given(st.integers(0, 300), st.binary(max_size=60))
def test_no_message_can_be_cut_off_or_prolonged(cut, more):
    whole = sealed()
    for data in (whole[: min(cut, len(whole) - 1)], whole + more + b"x"):
        with pytest.raises(Rejected):
            opened(data)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_end_in_the_one_documented_error(data):
    with pytest.raises(Rejected):
        opened(MAGIC + data)


NESTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    | st.binary(max_size=200),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=40,
)
TAGS = st.sampled_from(["work", "control", "welcome", "pulse", "scan", "batch", "handback", "fatal", "ask"])


@given(st.one_of(st.builds(lambda tag, rest: [tag, *rest], TAGS, st.lists(NESTED, max_size=14)), NESTED))
def test_any_values_at_all_are_a_message_or_not_understood(value):
    body = msgspec.msgpack.encode(value)
    for reader in (up, down, answer):
        for bytes_ in (body, body[: len(body) // 2], body + b"\xc1"):
            with contextlib.suppress(Rejected):
                reader.read(bytes_)


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 200_000,
        b"\x95\xa8handback\x90\xa1m\xabinterrupted" + b"\x91" * 200_000,
        b"\x94\xa8handback\x90\xa2\xff\xfe\xabinterrupted",
        b"\xdd\xff\xff\xff\xff",
        b"\x98\xa4scan\x01\xa1m\xdd\xff\xff\xff\xff",
        b"\x98\xa4scan\x01\xa1m\xdd\x0f\xff\xff\xff" + b"\xc0" * 100_000,
    ],
    ids=["depth", "depth in what is ignored", "no UTF-8", "array", "list", "long list"],
)
def test_bombs_are_not_understood(body):
    for reader in (up, down, answer):
        with pytest.raises(Rejected):
            reader.read(body)


# --- keys


def test_a_machines_key_speaks_for_that_machine_alone():
    key = read_key(machine_key(KEY, "m1"), "here")
    assert opened(sealed(key=key))[1] == b"body"
    with pytest.raises(ConfigError, match="machine m1: give --machine m1"):
        sealed(key=key, machine="m2")
    other = read_key(machine_key(KEY, "m2"), "here")
    with pytest.raises(Rejected, match="the key of another machine"):
        opened(sealed(), key=other)
    forged = sealed(key=read_key(machine_key(KEY, "m1"), "x")._replace(machine="m2"), machine="m2")
    with pytest.raises(Rejected, match="seal is wrong"):
        opened(forged)


@pytest.mark.parametrize(
    "text", ["", "short", "two words that are thirty-two letters long", "machine:x:y:z", "a" * 31]
)
def test_what_is_no_key_is_refused_without_being_repeated(text):
    with pytest.raises(ConfigError, match="is not a job key") as refused:
        read_key(text, "FILE")
    assert not text or text not in str(refused.value)


# --- numbers


def header(number, machine="m1", session="s", way=Direction.UP):
    return Header("1", "photos", "", way, machine, session, number, QUEUE)


@given(st.lists(st.integers(1, 9000), max_size=60))
def test_each_number_is_new_once_at_most(numbers):
    seen = SeenMessages()
    new = [number for number in numbers if seen.is_new(header(number))]
    assert len(new) == len(set(new))


def test_numbers_may_come_in_another_order_but_not_after_long():
    seen = SeenMessages()
    assert all(seen.is_new(header(number)) for number in (5, 3, 4, 1, 4096 + 2))
    assert not seen.is_new(header(2))
    assert seen.is_new(header(7))
    assert not seen.is_new(header(7))


def test_one_machine_cannot_make_another_ones_numbers_be_forgotten():
    seen = SeenMessages()
    assert seen.is_new(header(1))
    for session in range(100):
        seen.is_new(header(1, "m2", str(session)))
    assert not seen.is_new(header(1))


def test_what_somebody_kept_of_earlier_sessions_and_of_questions_makes_no_order_be_forgotten():
    """Who could make this session's numbers be forgotten could have its messages obeyed a second time."""
    seen = SeenMessages()
    assert seen.is_new(header(1))
    for session in range(500):
        seen.is_new(header(1, session=f"q{session}", way=Direction.QUESTION))
    for session in range(60):
        seen.is_new(header(1, session=f"earlier {session}"))
    assert not seen.is_new(header(1))


# --- telling


def test_a_flood_is_told_at_once_and_then_once_a_minute():
    now, told = [0.0], []
    rejections = RejectionLog(lambda: now[0])
    rejections.told = told.append
    for number in range(1000):
        now[0] = number / 10
        rejections.note("its seal is wrong", " (it claims to be of machine m1)")
    assert told == [
        "a message at the broker was not believed: its seal is wrong (it claims to be of machine m1)",
        "600 messages at the broker were not believed: its seal is wrong (it claims to be of machine m1)",
    ]
    assert rejections.counts == {"its seal is wrong": 1000}


def test_one_session_lasts_over_several_connections():
    me = Session(KEY, "1", "photos", "s")
    first = me.seal(Direction.UP, "m1", QUEUE, b"")
    second = me.seal(Direction.UP, "m1", QUEUE, b"")
    assert first != second


def test_dropped_messages_have_an_end_that_is_told_once():
    now = [1000.0]
    rejections = RejectionLog(lambda: now[0])
    assert rejections.ending() == ""
    rejections.note("it came before")
    rejections.note("it came before")
    now[0] += 599
    assert rejections.ending() == ""
    now[0] += 1
    assert rejections.ending() == "no message at the broker was dropped for 10 min; since the start: 2"
    assert rejections.ending() == ""
