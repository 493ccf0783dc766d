"""The checksums that S3 states of a whole object beside its ETag: compared where the ETag is no MD5, at what a body in memory costs.

Names, encoding (base64 of big-endian bytes) and types are those of "Checking object integrity" in the Amazon S3 user guide. A
checksum of parts (COMPOSITE, or with "-N" behind it) says nothing of the whole. CRC32 takes 9 µs for 20 KiB, SHA-256 12 µs.
CRC-32C and CRC-64/NVME take half a microsecond with `awscrt`, and are too slow to compare without it.
"""

import hashlib
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final

from bucketpull.domain.exchange import Chunk

PREFIX: Final = "x-amz-checksum-"
ASKED: Final = (f"{PREFIX}mode", "ENABLED")
"""The request header without which S3 states none."""
_NAMES: Final = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")  # the cheapest first


def checksum_error(chunks: Sequence[Chunk], headers: Mapping[str, str]) -> str:
    """Compare a body with the cheapest checksum that is stated of the whole; "" where it is right, or none can be compared."""
    if headers.get(f"{PREFIX}type", "FULL_OBJECT") != "FULL_OBJECT" or not chunks:
        return ""
    for name, stated, wanted in _stated(headers):
        found = _computed(name, chunks)
        if found is not None:
            return "" if found == wanted else f"{name} {stated} is stated, the bytes have another"
    return ""


def _stated(headers: Mapping[str, str]) -> Iterator[tuple[str, str, bytes]]:
    for name in _NAMES:
        stated = headers.get(PREFIX + name, "")
        if stated and "-" not in stated:
            try:
                yield name, stated, b64decode(stated, validate=True)
            except (Base64Error, ValueError):
                continue


def _computed(name: str, chunks: Sequence[Chunk]) -> bytes | None:
    """Return the checksum of a body; None where what would compute it is not installed."""
    if name in {"sha256", "sha1"}:
        digest = hashlib.new(name, usedforsecurity=False)
        for chunk in chunks:
            digest.update(chunk)
        return digest.digest()
    step = zlib.crc32 if name == "crc32" else getattr(_amazons(), name, None)
    if step is None:
        return None
    value = 0
    for chunk in chunks:
        value = step(chunk, value)
    return value.to_bytes(8 if name == "crc64nvme" else 4, "big")


@cache
def _amazons() -> ModuleType | None:
    """Return the module of Amazon's own implementation; None where it is not installed."""
    try:
        return import_module("awscrt.checksums")
    except ImportError:
        return None
