"""Which listed objects lie on a volume already, unchanged or not. Pure."""

from collections.abc import Iterable, Sequence

import msgspec

from bucketpull.domain.model import Extent, Part
from bucketpull.domain.record import Record


class Comparison(msgspec.Struct):
    """What was found: `skipped` objects are in place (`extents` say where), `changed` by volume lie there in another version.

    `fresh` objects were found nowhere.
    """

    skipped: int
    skipped_bytes: int
    extents: list[Extent]
    changed: dict[str, list[Part]]
    fresh: list[Part]


def compare(parts: Sequence[Part], known: Iterable[tuple[Extent, Sequence[Record]]]) -> Comparison:
    """Compare listed objects with ledger blocks, given oldest first: a later block overrides an earlier one.

    An object is in place when its size (bytes) and mtime (Unix seconds) are those of the listing.
    """
    found = _index({part.directory for part in parts}, known)
    result = Comparison(0, 0, [], {}, [])
    extents: dict[Extent, None] = {}
    for part in parts:
        fresh: list[int] = []
        changed: dict[str, list[int]] = {}
        for index, (name, size, mtime) in enumerate(zip(part.names, part.sizes, part.mtimes, strict=True)):
            old = found.get((part.directory, name))
            if old is None:
                fresh.append(index)
            elif old[:2] == (size, mtime):
                result.skipped += 1
                result.skipped_bytes += old[3]
                extents[old[2]] = None
            else:
                changed.setdefault(old[2].volume, []).append(index)
        if fresh:
            result.fresh.append(part.take(fresh))
        for volume, indexes in changed.items():
            result.changed.setdefault(volume, []).append(part.take(indexes))
    result.extents = list(extents)
    return result


def _index(
    directories: set[bytes], known: Iterable[tuple[Extent, Sequence[Record]]]
) -> dict[tuple[bytes, bytes], tuple[int, int, Extent, int]]:
    found: dict[tuple[bytes, bytes], tuple[int, int, Extent, int]] = {}
    for extent, records in known:
        for record in records:
            if record.directory in directories:
                stored = record.stored or record.sizes
                for name, size, mtime, there in zip(
                    record.names, record.sizes, record.mtimes, stored, strict=True
                ):
                    found[record.directory, name] = (size, mtime, extent, size if size >= 0 else there)
    return found
