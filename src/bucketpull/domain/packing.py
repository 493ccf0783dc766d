"""How objects are packed: into files of which size, up to which size of an object, and under which names."""

from enum import StrEnum
from typing import Final

import msgspec

PACK_BYTES: Final = 4 << 30
LARGEST_PACKED: Final = 64 << 20


class PackNames(StrEnum):
    """What the members of a pack are named by: the object's key, or numbers, as WebDataset wants them."""

    KEY = "key"
    WDS = "wds"


class Packing(msgspec.Struct, frozen=True):
    """`size` is about what a pack has in the end, `limit` what an object may have to go into one, both in bytes."""

    size: int = PACK_BYTES
    limit: int = LARGEST_PACKED
    names: PackNames = PackNames.KEY
