"""How objects become batches, and directories become scans.

A batch is the unit of delivery, receipt, durability and retry: large enough that its price an object vanishes
(1,000 objects: below 1 µs an object for the whole way), small enough that little is done twice after a crash.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice, pairwise
from operator import attrgetter
from typing import TypeVar

import msgspec

from bucketpull.domain.decoding import Count, Int, msgpack_decoder
from bucketpull.domain.model import Id, Objects, Part, Position, Span, Value

MAX_OBJECTS = 1000
REPORT_SECONDS = 5.0
"""What has ended of a batch is reported so long after it was seen, although the rest has not."""
MAX_BYTES = 256 * 1024 * 1024
LARGE_BYTES = 64 * 1024 * 1024
# Large objects in one batch: few, so that no thousand small ones wait for one receipt with them.
LARGE_OBJECTS = 16
UNKNOWN_BYTES = 64 * 1024  # what is kept free for an object whose size the listing does not tell
MAX_DIRECTORIES = 64  # in one scan
WANTED_SCANS = 256  # outstanding, before directories share one

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
# What decodes raises `msgspec.DecodeError` for bytes that are none.
encode_parts: Callable[[Sequence[Part]], bytes] = _encode
decode_parts: Callable[[bytes], list[Part]] = msgpack_decoder(list[Part])
encode_positions: Callable[[Sequence[Position]], bytes] = _encode
decode_positions: Callable[[bytes], list[Position]] = msgpack_decoder(list[Position])


class Batch(Value, dict=True, gc=True):
    """Objects that are delivered, fetched, booked and tried again together. `body` is their encoded `list[Part]`.

    The rest is for those who only carry and count them, and need no names. `bytes` are those of the objects whose size is listed;
    that of `unsized` ones is not. `spans` say how many are of which page.
    """

    body: bytes
    objects: Count
    bytes: Int
    spans: list[Span]
    unsized: Count = 0

    @cached_property
    def parts(self) -> list[Part]:
        """The objects."""
        return decode_parts(self.body)

    @property
    def expected_bytes(self) -> int:
        """The bytes for which room is needed."""
        return self.bytes + self.unsized * UNKNOWN_BYTES


encode_batch: Callable[[Batch], bytes] = _encode
decode_batch: Callable[[bytes], Batch] = msgpack_decoder(Batch)


def groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Give items in lists of at most `size`, as they come."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


def known_bytes(sizes: Sequence[int]) -> int:
    """Add up the sizes that are known."""
    return sum(sizes) + sizes.count(-1)


def objects_in(parts: Iterable[Objects]) -> int:
    """Count the objects of some parts."""
    return sum(len(part.names) for part in parts)


def ids_of(parts: Iterable[Objects]) -> set[Id]:
    """Return directory and name of all objects of some parts."""
    return {each for part in parts for each in part.ids()}


def among(parts: Iterable[Part], wanted: Container[Id]) -> list[Part]:
    """Return those objects of some parts that are wanted."""
    kept = ((part, part.matching(wanted)) for part in parts)
    return [part.take(indexes) for part, indexes in kept if indexes]


def without(parts: Iterable[Part], others: Iterable[Objects]) -> list[Part]:
    """Return parts without the objects of others."""
    parts = list(parts)
    return among(parts, ids_of(parts) - ids_of(others))


def span_of(part: Objects) -> Span:
    """Say which piece of its directory a part with at least one object covers."""
    names = part.names
    return Span(part.directory, part.cursor, min(names), max(names), len(names), b"/" in b"".join(names))


def spans_of(parts: Iterable[Objects]) -> list[Span]:
    """Say what parts cover, one span a page."""
    return merged_spans(map(span_of, parts))


def merged_spans(spans: Iterable[Span]) -> list[Span]:
    """Say what spans cover together, one span a page."""
    merged: dict[tuple[bytes, str], Span] = {}
    for span in spans:
        page = span.directory, span.cursor
        known = merged.setdefault(page, span)
        if known is not span:
            first, last = min(known.first, span.first), max(known.last, span.last)
            objects, is_nested = known.objects + span.objects, known.is_nested or span.is_nested
            merged[page] = Span(*page, first, last, objects, is_nested)
    return list(merged.values())


def are_apart(spans: Iterable[Span]) -> bool:
    """Whether no object can be in two of some spans: no two of one directory overlap."""
    ordered = sorted(spans, key=attrgetter("directory", "first"))
    return not any(
        before.directory == span.directory and span.first <= before.last for before, span in pairwise(ordered)
    )


def batch_of(parts: Sequence[Part]) -> Batch:
    """Make one batch of all objects of some parts."""
    return Batch(
        encode_parts(parts),
        objects_in(parts),
        sum(known_bytes(part.sizes) for part in parts),
        spans_of(parts),
        sum(part.sizes.count(-1) for part in parts),
    )


def cut(parts: Iterable[Part], max_objects: int = MAX_OBJECTS, max_bytes: int = MAX_BYTES) -> list[Batch]:
    """Cut the objects of pages into batches: small parts share one, large parts are split.

    Every object is in exactly one batch, in the order given, and in no batch twice: what two pages name is in one of each.
    A batch exceeds `max_bytes` only if it is one object.
    Objects above 64 MiB go into batches of their own kind, of at most 16 objects.
    """
    once, again = _without_repeats(parts)
    usual, large = _sorted_out(once)
    batches = [batch_of(pieces) for pieces in _pack(usual, max_objects, max_bytes)]
    batches.extend(batch_of(pieces) for pieces in _pack(large, min(LARGE_OBJECTS, max_objects), max_bytes))
    return batches + cut(again, max_objects, max_bytes) if again else batches


def split(parts: Iterable[Part], objects: int) -> tuple[list[Part], list[Part]]:
    """Return the first so many objects of some parts, and the rest."""
    first: list[Part] = []
    rest: list[Part] = []
    for part in parts:
        count = min(objects, len(part.names))
        objects -= count
        if count:
            first.append(part.slice(0, count))
        if count < len(part.names):
            rest.append(part.slice(count, len(part.names)))
    return first, rest


def bundle(positions: Sequence[Position], outstanding: int) -> list[list[Position]]:
    """Share positions out over scans, given how many scans are outstanding already.

    The beginnings of directories share a scan, up to 64, once there are enough scans to keep every process busy.
    The later pages of a directory are a scan each: the directory is large.
    """
    beginnings = [position for position in positions if not position.cursor]
    bundles = [[position] for position in positions if position.cursor]
    wanted = -(-(len(beginnings) + outstanding) // WANTED_SCANS)
    size = max(1, min(MAX_DIRECTORIES, wanted))
    bundles.extend(beginnings[start : start + size] for start in range(0, len(beginnings), size))
    return bundles


def _without_repeats(parts: Iterable[Part]) -> tuple[list[Part], list[Part]]:
    """Return parts without the objects that one before names too, and these: a folder that changes while it is listed has some on two pages."""
    parts = list(parts)
    pages = Counter(part.directory for part in parts)
    seen: defaultdict[bytes, set[bytes]] = defaultdict(set)
    once: list[Part] = []
    again: list[Part] = []
    for part in parts:
        names = seen[part.directory]
        if names.isdisjoint(part.names):
            once.append(part)
        else:
            repeated = part.take([place for place, name in enumerate(part.names) if name in names])
            again.append(repeated)
            once += without([part], [repeated])
        if pages[part.directory] > 1:
            names.update(part.names)
    return once, again


def _sorted_out(parts: Iterable[Part]) -> tuple[list[Part], list[Part]]:
    """Separate large objects from the others."""
    usual: list[Part] = []
    large: list[Part] = []
    for part in parts:
        if not part.names:
            continue
        if max(part.sizes) <= LARGE_BYTES:
            usual.append(part)
            continue
        heavy = [index for index, size in enumerate(part.sizes) if size > LARGE_BYTES]
        light = [index for index, size in enumerate(part.sizes) if size <= LARGE_BYTES]
        large.append(part.take(heavy))
        if light:
            usual.append(part.take(light))
    return usual, large


def _pack(parts: Sequence[Part], max_objects: int, max_bytes: int) -> Iterator[list[Part]]:
    """Fill batches one after the other, as evenly as the number of objects allows (1,001 make 501 and 500)."""
    total = objects_in(parts)
    even = -(-total // max(1, -(-total // max_objects)))
    packed: list[Part] = []
    objects = size = 0
    for part in parts:
        start, end = 0, len(part.names)
        while start < end:
            count, count_bytes = _fitting(part, start, even - objects, max_bytes - size, alone=not packed)
            if count:
                packed.append(part.slice(start, start + count))
            start, objects, size = start + count, objects + count, size + count_bytes
            if start < end or objects == even:
                yield packed
                packed, objects, size = [], 0, 0
    if packed:
        yield packed


def _fitting(part: Part, start: int, objects: int, room: int, alone: bool) -> tuple[int, int]:
    """Count the objects of a part, from `start` on, that fit into the rest of a batch, and their bytes."""
    sizes = part.sizes[start : start + objects]
    total = sum(sizes)
    if total <= room:
        return len(sizes), total
    sums = list(accumulate(sizes))
    count = bisect_right(sums, room)
    if not count and alone:
        count = 1
    return count, sums[count - 1] if count else 0
