"""The checksums that S3 states of a whole object beside its ETag: compared where the ETag is no MD5, at what a body in memory costs.

Names, encoding (base64 of big-endian bytes) and types are those of "Checking object integrity" in the Amazon S3 user guide. A
checksum of parts (COMPOSITE, or with "-N" behind it) says nothing of the whole. CRC32 takes 9 µs for 20 KiB, SHA-256 12 µs.
CRC-32C and CRC-64/NVME take half a microsecond with `awscrt`, and are too slow to compare without it.
"""

import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha1, sha256
from importlib import import_module
from typing import Any, Final

from bucketpull.domain.exchange import Chunk

PREFIX: Final = "x-amz-checksum-"
ASKED: Final = (f"{PREFIX}mode", "ENABLED")
"""The request header without which S3 states none."""


def checksum_error(chunks: Sequence[Chunk], headers: Mapping[str, str]) -> str:
    """Compare a body with the cheapest checksum that is stated of the whole; "" where it is right, or none can be compared."""
    if headers.get(f"{PREFIX}type", "FULL_OBJECT") != "FULL_OBJECT" or not chunks:
        return ""
    for name, stated, wanted in _stated(headers):
        compute = _COMPUTE[name]()
        if compute is not None:
            return "" if compute(chunks) == wanted else f"{name} {stated} is stated, the bytes have another"
    return ""


def _stated(headers: Mapping[str, str]) -> Iterator[tuple[str, str, bytes]]:
    for name in _COMPUTE:
        stated = headers.get(PREFIX + name, "")
        if stated and "-" not in stated:
            try:
                yield name, stated, b64decode(stated, validate=True)
            except (Base64Error, ValueError):
                continue


_Compute = Callable[[Sequence[Chunk]], bytes]


@cache
def _amazons() -> Any:  # noqa: ANN401 - an extension without types
    """Return the module of Amazon's own implementation; None where it is not installed."""
    try:
        return import_module("awscrt.checksums")
    except ImportError:
        return None


def _crc64nvme() -> _Compute | None:
    module = _amazons()
    return None if module is None else lambda chunks: _running(module.crc64nvme, chunks, 8)


def _crc32c() -> _Compute | None:
    module = _amazons()
    return None if module is None else lambda chunks: _running(module.crc32c, chunks, 4)


def _running(step: Callable[[Chunk, int], int], chunks: Sequence[Chunk], length: int) -> bytes:
    value = 0
    for chunk in chunks:
        value = step(chunk, value)
    return value.to_bytes(length, "big")


def _sha256(chunks: Sequence[Chunk]) -> bytes:
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


def _sha1(chunks: Sequence[Chunk]) -> bytes:
    digest = sha1(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


_COMPUTE: Final[dict[str, Callable[[], _Compute | None]]] = {
    "crc64nvme": _crc64nvme,
    "crc32c": _crc32c,
    "crc32": lambda: lambda chunks: _running(zlib.crc32, chunks, 4),
    "sha256": lambda: _sha256,
    "sha1": lambda: _sha1,
}
