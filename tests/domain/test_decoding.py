"""Whatever the bytes are, decoding ends in a value or in the one documented error."""

import contextlib
import subprocess
import sys
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.batching import decode_parts, decode_positions
from bucketpull.domain.decoding import inflate, json_decoder, msgpack_decoder
from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import Part
from bucketpull.domain.record import Record

DEEP = 200_000
PACKED = {
    "nothing": b"",
    "depth": b"\x91" * DEEP,
    "depth in what is stepped over": b"\x91\x98\xc4\x01a\xa0\x90\x90\x90\x90\x90" + b"\x91" * DEEP,
    "a map in a map": b"\x81\xa1a" * DEEP,
    "text that is no UTF-8": b"\x91\x95\xc4\x01a\xa2\xff\xfe\x90\x90\x90",
    "a length beyond all": b"\x91\x95\xc4\x01a\xa0\xdd\xff\xff\xff\xff",
    "a long text that is not there": b"\xdb\xff\xff\xff\xff",
    "an extension": b"\xc7\xff\x05",
    "a number beyond a journal's": b"\x91\x95\xc4\x01a\xa0\x91\xc4\x01a\x91\xcf" + b"\xff" * 8 + b"\x91\x00",
}
JSON = {
    "nothing": b"",
    "depth": b"[" * DEEP,
    "depth in what is stepped over": b'{"x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "no UTF-8": b'{"machine": "\xff"}',
    "a number of a million digits": b'{"processes": ' + b"9" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("packed", PACKED.values(), ids=PACKED)
def test_bombs_in_messagepack_raise_the_documented_error(packed):
    for decode in (decode_parts, decode_positions, msgpack_decoder(list[Record]), msgpack_decoder(Pulse)):
        with pytest.raises(msgspec.DecodeError):
            decode(packed)


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_bombs_in_json_raise_the_documented_error(text):
    with pytest.raises(msgspec.DecodeError):
        json_decoder(Pulse)(text)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_batch_or_raise_the_documented_error(data):
    for decode in (decode_parts, decode_positions, msgpack_decoder(list[Record]), json_decoder(list[Part])):
        with contextlib.suppress(msgspec.DecodeError):
            decode(data)


@given(st.binary(max_size=5000))
def test_what_was_compressed_comes_back_and_nothing_longer_than_allowed(data):
    packed = zlib.compress(data, 1)
    assert inflate(packed, len(data) or 1) == data
    for broken in (packed[:-1], b"\0" + packed):
        with pytest.raises(msgspec.DecodeError):
            inflate(broken, 5000)


def test_a_compressed_bomb_is_never_unpacked():
    bomb = zlib.compress(bytes(300 << 20), 9)
    assert len(bomb) < 400_000
    with pytest.raises(msgspec.DecodeError, match="more than 1000 bytes"):
        inflate(bomb, 1000)


THREADS = """
import sys, threading
import msgspec
from bucketpull.domain.decoding import Int, msgpack_decoder
sys.setswitchinterval(1e-6)
for _ in range(100):
    fields = {"one": "Int", "two": "tuple[Int, ...] | None", "three": "Int"}
    kind = type(msgspec.Struct)("Kind", (msgspec.Struct,), {"__annotations__": fields, "__module__": __name__}, array_like=True)
    decoders, start = [msgpack_decoder(list[kind]) for _ in range(4)], threading.Barrier(4)
    def use(decode):
        start.wait()
        assert decode(msgspec.msgpack.encode([[1, None, 3]]))[0].three == 3
    threads = [threading.Thread(target=use, args=(each,)) for each in decoders]
    [each.start() for each in threads]
    [each.join() for each in threads]
"""


def test_threads_that_decode_one_class_for_the_first_time_at_once_end_no_process():
    """msgspec fills in what it knows of a class while others may use it already: volumes are opened by a thread each."""
    assert subprocess.run([sys.executable, "-c", THREADS], check=False).returncode == 0
