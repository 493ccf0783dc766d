"""Decodes bytes that others wrote, within bounds: whatever the bytes are, there is one error, `msgspec.DecodeError`.

msgspec raises others where texts are not UTF-8, where skipped fields are nested a thousand deep, and where a length is absurd.
Decoders are made with their modules, and not at their first use: what two threads make of one class at once ends the process.
"""

import zlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

T = TypeVar("T")

# What fields of decoded values may hold; anything beyond is refused.
Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Fits 64 bits and the journal's columns."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Float = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
"""Neither NaN nor infinite: those are beyond any bound."""
Text = Annotated[str, msgspec.Meta(max_length=65_536)]
"""Longer than any key that a file system or a source allows."""


def json_decoder(kind: type[T]) -> Callable[[bytes | str], T]:
    """Return what decodes JSON as a type, and raises `msgspec.DecodeError` for all that is none."""
    return _total(msgspec.json.Decoder(kind).decode)


def msgpack_decoder(kind: Any) -> Callable[[bytes], Any]:  # noqa: ANN401 - a type, or a union of some
    """Return what decodes MessagePack as a type, and raises `msgspec.DecodeError` for all that is none."""
    return _total(msgspec.msgpack.Decoder(kind).decode)


def inflate(data: bytes, most_bytes: int) -> bytes:
    """Undo `zlib.compress`. Raises msgspec.DecodeError where the data are damaged, or more than so many bytes."""
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
