"""Bytes that others wrote, as values of ours: whatever the bytes are, there is one error.

msgspec raises others where texts are no UTF-8, where what it steps over is nested a thousand deep, and where a length is absurd.
"""

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def json_decoder(kind: type[T]) -> Callable[[bytes | str], T]:
    """Return what decodes JSON as a type, and raises `msgspec.DecodeError` for all that is none."""
    return _total(msgspec.json.Decoder(kind).decode)


def msgpack_decoder(kind: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 - a type, or a union of some
    """Return what decodes MessagePack as a type, and raises `msgspec.DecodeError` for all that is none."""
    return _total(msgspec.msgpack.Decoder(kind).decode)


def inflate(data: bytes, most_bytes: int) -> bytes:
    """Undo `zlib.compress`.

    Raises:
        msgspec.DecodeError: The data are damaged, or more than so many bytes.

    """
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, most_bytes)
    except zlib.error as error:
        raise msgspec.DecodeError(f"damaged: {error}") from None
    if not stream.eof:
        raise msgspec.DecodeError(f"cut off, or more than {most_bytes} bytes")
    return found


def _total(decode: Callable[[Any], T]) -> Callable[[Any], T]:
    def total(data: Any) -> T:  # noqa: ANN401 - bytes, or text where the decoder takes it
        try:
            return decode(data)
        except msgspec.DecodeError:
            raise
        except (ValueError, TypeError, RecursionError, OverflowError, MemoryError) as error:
            raise msgspec.DecodeError(f"not decoded: {type(error).__name__}") from None

    return total
