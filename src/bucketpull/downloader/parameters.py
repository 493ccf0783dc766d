"""Fixed settings that a downloader gets at its start."""

import msgspec

from bucketpull.domain.order import ANY, Order


class Bounds(msgspec.Struct, frozen=True):
    """What a process may hold in memory, in bytes and objects.

    `held` bounds the bodies in flight and waiting for writers; `queued` those waiting for one volume's writer.
    `parked` objects of a crowded endpoint may be overtaken by those of another, `stranded` ones of an endpoint that is down. Objects above `streamed` bytes go to disk as they
    come. `in_flight` bounds the transfers, None by nothing but their limiters.
    """

    held: int = 64 << 20
    queued: int = 16 << 20
    parked: int = 256
    stranded: int = 16_384
    streamed: int = 8 << 20
    in_flight: int | None = None


class DownloaderParameters(msgspec.Struct, frozen=True):
    """What a downloader is told at its start; `order` says which of the listed objects come first."""

    bounds: Bounds = Bounds()
    order: Order = ANY
