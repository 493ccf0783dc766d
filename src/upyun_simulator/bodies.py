"""The bodies of objects: each is computed from its key, nothing is stored.

The bytes of every object are a window on one ring of random bytes. Key and version choose one of 256 places where the
window starts; the last 16 bytes are a digest of key and version, so no two objects and no two versions are alike.
The ring's length is prime, so bytes taken from a wrong offset never happen to be right.
The MD5 of objects up to 256 KiB costs at most 4 KiB of hashing: the states of the ring's prefixes are kept.
"""

import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from hashlib import _Hash

RING_SIZE: Final = 1_048_583  # the first prime above 1 MiB
CHUNK: Final = 256 * 1024  # the longest piece that one slice of the ring gives
TAIL: Final = 16
PLACES: Final = 256
_STEP: Final = 4096
_MAGIC: Final = b"\xff\xd8\xff\xe0"  # of a JPEG file, so that nothing takes an object for an HTML page


def _make_ring() -> bytes:
    ring = bytearray(random.Random("bucketpull").randbytes(RING_SIZE))
    for place in range(PLACES):
        ring[place * _STEP : place * _STEP + len(_MAGIC)] = _MAGIC
    return bytes(ring + ring[:CHUNK])


_RING: Final = _make_ring()
_VIEW: Final = memoryview(_RING)


def content(key: str, size: int, version: int = 0) -> bytes:
    """Return the whole object: `size` bytes."""
    return content_range(key, size, 0, size, version)


def content_range(key: str, size: int, start: int, stop: int, version: int = 0) -> bytes:
    """Return the bytes `start` to `stop` (exclusive) of the object of `size` bytes, at any offset at the same cost."""
    place, tail = _identity(key, version)
    body = max(0, size - TAIL)
    parts: list[bytes | memoryview] = list(_window(place, start, min(stop, body)))
    if stop > body:
        parts.append(tail[max(0, start - body) : min(stop, size) - body])
    return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)


def md5_hex(key: str, size: int, version: int = 0) -> str:
    """Return the MD5 of the content, 32 lower-case hexadecimal digits."""
    place, tail = _identity(key, version)
    body = max(0, size - TAIL)
    state = _prefix_state(place, body) if body <= CHUNK else _long_state(place, body)
    state = state.copy()
    state.update(tail[: size - body])
    return state.hexdigest()


def _identity(key: str, version: int) -> tuple[int, bytes]:
    """Return where in the ring the object starts, and its last bytes."""
    name = key.encode("utf-8", "surrogatepass")
    place = (crc32(name) + 101 * version) % PLACES
    return place * _STEP, hashlib.md5(b"%d:%b" % (version, name)).digest()


def _window(place: int, start: int, stop: int) -> Iterator[memoryview]:
    while start < stop:
        offset = (place + start) % RING_SIZE
        length = min(stop - start, CHUNK, len(_RING) - offset)
        yield _VIEW[offset : offset + length]
        start += length


_states: dict[int, list["_Hash"]] = {}


def _prefix_state(place: int, length: int) -> "_Hash":
    """Return the MD5 state after `length` bytes, from the nearest state kept (one each 4 KiB)."""
    kept = _states.setdefault(place, [hashlib.md5()])
    steps = length // _STEP
    while len(kept) <= steps:
        state = kept[-1].copy()
        _feed(state, place, (len(kept) - 1) * _STEP, len(kept) * _STEP)
        kept.append(state)
    state = kept[steps].copy()
    _feed(state, place, steps * _STEP, length)
    return state


@lru_cache(maxsize=4096)
def _long_state(place: int, length: int) -> "_Hash":
    state = hashlib.md5()
    _feed(state, place, 0, length)
    return state


def _feed(state: "_Hash", place: int, start: int, stop: int) -> None:
    for piece in _window(place, start, stop):
        state.update(piece)
