"""The blobs in which rows keep ledger blocks: MessagePack, a few bytes a block.

An entry of a page is (volume, offset) where the block covers the whole page, else (volume, offset, first, last) with the
smallest and largest name that it covers.
"""

from collections.abc import Iterable
from operator import itemgetter

import msgspec

from bucketpull.domain.decoding import msgpack_decoder
from bucketpull.journal.journal_connection import ImpossibleRow

Whole = tuple[int, int]
Piece = tuple[int, int, bytes, bytes]
Entry = Whole | Piece

_SHAPES = {(int, int), (int, int, bytes, bytes)}

_encode = msgspec.msgpack.Encoder().encode
_entries = msgpack_decoder(list[list[int | bytes]])


def pack_entries(entries: Iterable[Entry]) -> bytes:
    """Write the blocks of a page."""
    listed = list(entries)
    return _encode(listed) if listed else b""


def unpack_entries(blob: bytes | None) -> list[Entry]:
    """Read the blocks of a page. Raises ImpossibleRow where it has others than these, and msgspec.DecodeError where it has none."""
    if not blob:
        return []
    entries: list[Entry] = [tuple(entry) for entry in _entries(blob)]
    if not all(tuple(map(type, entry)) in _SHAPES for entry in entries):
        raise ImpossibleRow("a page names blocks of ledgers that cannot be")
    return entries


def merged(entries: list[Entry], new: Iterable[Entry]) -> list[Entry]:
    """Append blocks; a block that is there already comes to cover more, and keeps its place."""
    places = {entry[:2]: index for index, entry in enumerate(entries)}
    result = list(entries)
    for entry in new:
        place = places.setdefault(entry[:2], len(result))
        if place == len(result):
            result.append(entry)
        else:
            result[place] = _wider(result[place], entry)
    return result


def in_ledger_order(entries: Iterable[Entry]) -> list[Entry]:
    """Put the blocks of each volume in the order of its ledger, where later ones tell of newer versions; volumes keep their places."""
    listed = list(entries)
    offsets: dict[int, list[Entry]] = {}
    for entry in listed:
        offsets.setdefault(entry[0], []).append(entry)
    ordered = {volume: iter(sorted(found, key=itemgetter(1))) for volume, found in offsets.items()}
    return [next(ordered[entry[0]]) for entry in listed]


def covers(entry: Entry, first: bytes, last: bytes) -> bool:
    """Say whether a block may hold objects of a range of names."""
    return len(entry) == 2 or (entry[2] <= last and entry[3] >= first)


def _wider(one: Entry, other: Entry) -> Entry:
    if len(one) == 2 or len(other) == 2:
        return one[:2]
    return one[0], one[1], min(one[2], other[2]), max(one[3], other[3])
