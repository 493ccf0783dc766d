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
        fresh = _empty(part)
        for name, size, mtime in zip(part.names, part.sizes, part.mtimes, strict=True):
            old = found.get((part.directory, name))
            if old is None:
                _add(fresh, name, size, mtime)
            elif old[:2] == (size, mtime):
                result.skipped += 1
                result.skipped_bytes += size
                extents[old[2]] = None
            else:
                _add(_changed(result, old[2].volume, part), name, size, mtime)
        if fresh.names:
            result.fresh.append(fresh)
    result.extents = list(extents)
    return result


def _index(
    directories: set[bytes], known: Iterable[tuple[Extent, Sequence[Record]]]
) -> dict[tuple[bytes, bytes], tuple[int, int, Extent]]:
    found: dict[tuple[bytes, bytes], tuple[int, int, Extent]] = {}
    for extent, records in known:
        for record in records:
            if record.directory in directories:
                for name, size, mtime in zip(record.names, record.sizes, record.mtimes, strict=True):
                    found[record.directory, name] = (size, mtime, extent)
    return found


def _empty(part: Part) -> Part:
    return Part(part.directory, part.cursor, [], [], [])


def _add(part: Part, name: bytes, size: int, mtime: int) -> None:
    part.names.append(name)
    part.sizes.append(size)
    part.mtimes.append(mtime)


def _changed(result: Comparison, volume: str, part: Part) -> Part:
    parts = result.changed.setdefault(volume, [])
    if not parts or parts[-1].directory != part.directory or parts[-1].cursor != part.cursor:
        parts.append(_empty(part))
    return parts[-1]
