"""What a bucket will take, from a sample of its listing: objects, space, inodes, requests, time. Pure."""

import math
from collections.abc import Sequence

import msgspec

from bucketpull.domain.budget import Prices

CERTAINTY = 2.0  # standard errors: 95 %
WARN_SHARE = 0.9
FEW_PAGES = 5  # fewer tell nothing of how unlike they are: then half to double is said
BLOCK_BYTES = 4096
PACKED_BYTES = 512 + 256 + 107  # a header, half a block of padding, a row of the index
FILES_A_PACK = 2  # the pack and its index
OWN_INODES = 100  # the ledger, locks, notes of batches in hand
SEEK_SECONDS = 0.006  # of a hard disk, with the rotation
SEQUENTIAL_BYTES_PER_SECOND = 180e6
MANY_OBJECTS = 1e6
VERY_MANY_OBJECTS = 3e7
WASTED_SHARE = 0.03
INODE_SHARE = 0.5


class SampledPage(msgspec.Struct):
    """One listed page. `rounded` are the bytes of its objects in whole blocks; `first` whether it begins a directory."""

    objects: int
    bytes: int
    rounded: int
    first: bool = True


class Guess(msgspec.Struct):
    """A number and the band in which it probably (95 %) lies; `high` is inf where nothing bounds it."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> "Guess":
        """Scale it."""
        if not factor:
            return Guess(0.0, 0.0, 0.0)
        return Guess(self.value * factor, self.low * factor, self.high * factor)


class Demand(msgspec.Struct):
    """What the bucket needs. `disk_bytes` are whole blocks, directories too; `listing_requests` are pages."""

    objects: Guess
    bytes: Guess
    directories: Guess
    disk_bytes: Guess
    inodes: Guess
    listing_requests: Guess


def rounded(size: int) -> int:
    """Return what a file of so many bytes takes in whole blocks."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def mean_size(pages: Sequence[SampledPage]) -> Guess | None:
    """Return the mean size of an object in bytes; None where no object was seen.

    Objects of one page are alike, so the error is that of pages, not of objects.
    """
    objects = sum(page.objects for page in pages)
    if not objects:
        return None
    mean = sum(page.bytes for page in pages) / objects
    count = sum(1 for page in pages if page.objects)
    if count < FEW_PAGES:
        return Guess(mean, mean / 2, mean * 2)
    squares = sum((page.bytes - mean * page.objects) ** 2 for page in pages) * count / (count - 1)
    error = CERTAINTY * math.sqrt(squares) / objects
    return Guess(mean, max(0.0, mean - error), mean + error)


def demand(pages: Sequence[SampledPage], whole: bool, total_bytes: int | None) -> Demand | None:
    """Return what the bucket needs; None where the sample says nothing.

    `whole`: the sample is everything. `total_bytes`: of the bucket, if the source says so; without, and without the whole
    listing, what was seen is the least that there is.
    """
    mean = mean_size(pages)
    seen = sum(page.objects for page in pages)
    seen_bytes = sum(page.bytes for page in pages)
    if whole:
        return _demand(pages, _sure(seen), _sure(seen_bytes))
    if mean is None:
        return None
    if total_bytes is None:
        return _demand(pages, Guess(seen, seen, math.inf), Guess(seen_bytes, seen_bytes, math.inf))
    total = max(total_bytes, seen_bytes)  # the service's own sum lags behind
    likely = max(seen, total / mean.value) if mean.value else seen
    low = max(seen, total / mean.high) if mean.high else seen
    high = max(likely, total / mean.low) if mean.low else math.inf
    return _demand(pages, Guess(likely, low, high), _sure(total))


def _sure(number: float) -> Guess:
    return Guess(number, number, number)


def _demand(pages: Sequence[SampledPage], objects: Guess, size: Guess) -> Demand:
    """Scale what the sample has an object to all objects."""
    seen = sum(page.objects for page in pages) or 1
    full = sum(page.first for page in pages if page.objects)
    # Directories that hold only directories are near the root, where every sample begins: they are not scaled.
    inner = _sure(sum(page.first for page in pages) - full)
    directories = _sum(objects.times(full / seen), inner)
    waste = objects.times(sum(page.rounded - page.bytes for page in pages) / seen)
    own = directories.times(BLOCK_BYTES)
    return Demand(
        objects,
        size,
        directories,
        _sum(size, waste, own),
        _sum(objects, directories),
        objects.times(len(pages) / seen) if objects.value else _sure(len(pages)),
    )


def _sum(*guesses: Guess) -> Guess:
    return Guess(
        sum(guess.value for guess in guesses),
        sum(guess.low for guess in guesses),
        sum(guess.high for guess in guesses),
    )


class Packed(msgspec.Struct):
    """What the bucket needs in packs, and what reading it back takes from a hard disk: in packs, and one seek a file."""

    disk_bytes: Guess
    inodes: Guess
    read_seconds: float
    read_seconds_as_files: float


def packed(needed: Demand, pack_bytes: int) -> Packed:
    """Return what the bucket needs in packs of so many bytes: a header and half a block of padding an object, and its index."""
    disk = _sum(needed.bytes, needed.objects.times(PACKED_BYTES))
    inodes = _sum(disk.times(FILES_A_PACK / pack_bytes), _sure(OWN_INODES))
    return Packed(
        disk,
        inodes,
        disk.value / SEQUENTIAL_BYTES_PER_SECOND,
        needed.objects.value * SEEK_SECONDS + needed.bytes.value / SEQUENTIAL_BYTES_PER_SECOND,
    )


def is_better_packed(needed: Demand, fit_as_files: "Fit") -> bool:
    """Tell whether a bucket should go into packs: its files are many, or small, or need more inodes than half of what there are."""
    waste = needed.disk_bytes.value - needed.bytes.value
    return needed.objects.value >= MANY_OBJECTS and (
        waste > WASTED_SHARE * needed.bytes.value
        or needed.objects.value >= VERY_MANY_OBJECTS
        or fit_as_files.inodes.value > INODE_SHARE
    )


class FreeSpace(msgspec.Struct):
    """What is free on one file system above the reserve; `inodes` None is without limit."""

    path: str
    bytes: int
    inodes: int | None
    held_objects: int = 0
    held_bytes: int = 0


class Fit(msgspec.Struct):
    """How much of the room is used at the end: shares of bytes and inodes (0..1, above 1 it does not fit)."""

    bytes: Guess
    inodes: Guess

    @property
    def share(self) -> float:
        """The scarcer of both."""
        return max(self.bytes.value, self.inodes.value)

    @property
    def highest(self) -> float:
        """The same at the upper end of the band."""
        return max(self.bytes.high, self.inodes.high)


def fit(needed: Demand, rooms: Sequence[FreeSpace]) -> Fit:
    """Compare what is needed, less what the volumes hold already, with the room on all of them."""
    held = sum(room.held_bytes for room in rooms)
    held_objects = sum(room.held_objects for room in rooms)
    limited = [room.inodes for room in rooms if room.inodes is not None]
    inodes = sum(limited) if len(limited) == len(rooms) else None
    return Fit(
        _share(_less(needed.disk_bytes, held), sum(room.bytes for room in rooms)),
        Guess(0.0, 0.0, 0.0) if inodes is None else _share(_less(needed.inodes, held_objects), inodes),
    )


def fit_packed(needed: Demand, rooms: Sequence[FreeSpace], pack_bytes: int) -> Fit:
    """Do the same for packs of so many bytes."""
    in_packs = packed(needed, pack_bytes)
    held = msgspec.structs.replace(needed, disk_bytes=in_packs.disk_bytes, inodes=in_packs.inodes)
    return fit(held, [msgspec.structs.replace(room, held_objects=0) for room in rooms])


def _less(guess: Guess, held: float) -> Guess:
    return Guess(max(0.0, guess.value - held), max(0.0, guess.low - held), max(0.0, guess.high - held))


def _share(needed: Guess, room: int) -> Guess:
    if room <= 0:
        full = 0.0 if needed.value == 0 else math.inf
        return Guess(full, full, full)
    return needed.times(1 / room)


def cost(needed: Demand, prices: Prices) -> Guess | None:
    """Return what a job costs; None where nothing has a price."""
    if not prices:
        return None
    parts = [needed.bytes.times(prices.per_gb / 1e9)] if prices.per_gb else []
    if prices.per_10k:
        parts.append(_sum(needed.objects, needed.listing_requests).times(prices.per_10k / 10_000))
    return _sum(*parts)


def seconds(needed: Demand, objects_per_second: float | None, bytes_per_second: float | None) -> float | None:
    """Return how long the job takes at these speeds (None: no limit); None where neither is known."""
    times = []
    if objects_per_second:
        times.append(needed.objects.value / objects_per_second)
    if bytes_per_second:
        times.append(needed.bytes.value / bytes_per_second)
    return max(times, default=None)
