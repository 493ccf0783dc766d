"""By how many objects and bytes blocks let the totals of their ledger grow."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from bucketpull.domain.decoding import Int, Text, msgpack_decoder
from bucketpull.domain.model import Value
from bucketpull.domain.record import Block, Record


class _Lengths(Value):
    """The first fields of a `Record`, without its names."""

    directory: msgspec.Raw
    cursor: msgspec.Raw
    names: msgspec.Raw
    sizes: list[Int]
    mtimes: msgspec.Raw
    stored: list[Int] = []
    md5s: msgspec.Raw = msgspec.Raw()
    paths: msgspec.Raw = msgspec.Raw()
    pack: Text = ""


_decode_lengths: Callable[[bytes], list[_Lengths]] = msgpack_decoder(list[_Lengths])
_LengthsByName = dict[bytes, dict[bytes, int]]


def growths_of_files(blocks: Iterable[Block]) -> list[tuple[int, int]]:
    """Return the growth by each of some blocks of new objects, which needs no names; nothing where some lie in packs."""
    stored = [_decode_lengths(block.records) for block in blocks]
    if any(record.pack for records in stored for record in records):
        return []
    return [
        (
            sum(len(record.sizes) for record in records),
            sum(sum(record.stored or record.sizes) for record in records),
        )
        for records in stored
    ]


def growths_of(
    stored: Iterable[Iterable[Record]], former: Iterable[Iterable[Record]]
) -> Iterator[tuple[int, int]]:
    """Give by how many objects and bytes each of some blocks lets the totals grow; what it replaces, in one before it too, counts no more."""
    earlier: _LengthsByName = {}
    for records, older in zip(stored, former, strict=True):
        old, objects, size = _lengths_of(older), 0, 0
        for directory, lengths in _lengths_of(records).items():
            known = old.get(directory, {}), earlier.get(directory, {})
            replaced = {name: each[name] for each in known for name in lengths.keys() & each.keys()}
            objects += len(lengths) - len(replaced)
            size += sum(lengths.values()) - sum(replaced.values())
            earlier.setdefault(directory, {}).update(lengths)
        yield objects, size


def _lengths_of(records: Iterable[Record]) -> _LengthsByName:
    """Return the bytes of each object by name, by directory: names have their hashes already, pairs of both would be hashed anew."""
    found: _LengthsByName = {}
    for record in records:
        found.setdefault(record.directory, {}).update(zip(record.names, record.lengths, strict=True))
    return found
