"""How objects are packed: into files of which size, up to which size of an object, and under which names."""

from enum import StrEnum
from typing import Final

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import parse_size

DEFAULT_SIZE: Final = "4G"
DEFAULT_LIMIT: Final = "64M"


class PackNames(StrEnum):
    """What the members of a pack are named by: the object's key, or numbers, as WebDataset wants them."""

    KEY = "key"
    WDS = "wds"


class Packing(msgspec.Struct, frozen=True):
    """`size` is about what a pack has in the end, `limit` what an object may have to go into one, both in bytes."""

    size: int = parse_size("--pack", DEFAULT_SIZE)
    limit: int = parse_size("--pack-limit", DEFAULT_LIMIT)
    names: PackNames = PackNames.KEY


_LARGEST_LIMIT: Final = 4 << 30


def parse_packing(size: str, limit: str, names: str) -> Packing:
    """Return what `--pack`, `--pack-limit` and `--pack-names` ask for. Raises ConfigError where they cannot be had."""
    try:
        pack_bytes = parse_size("--pack", size)
    except ConfigError as error:
        raise ConfigError(f"{error}; without a size write --pack last, or before another option") from error
    limit_bytes = parse_size("--pack-limit", limit)
    if pack_bytes < 1 << 16:
        raise ConfigError(f"--pack {size}: a pack has at least 64K; write more")
    if limit_bytes >= _LARGEST_LIMIT:
        raise ConfigError(f"--pack-limit {limit}: only objects of less than 4G are packed; write less")
    return Packing(pack_bytes, limit_bytes, PackNames(names))
