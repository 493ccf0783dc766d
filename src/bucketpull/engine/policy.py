"""What a worker process is told at its start."""

from typing import NamedTuple

import msgspec


class Bounds(NamedTuple):
    """What a process may hold in memory, in bytes and objects.

    `held` bounds the bodies in flight and waiting for writers; `queued` those waiting for one volume's writer.
    `parked` objects of a crowded lane may be overtaken by those of the other. Objects above `poured` bytes go to disk as they
    come.
    """

    held: int = 64 << 20
    queued: int = 16 << 20
    parked: int = 256
    poured: int = 8 << 20


class BatchSize(NamedTuple):
    """How large batches are made."""

    objects: int = 1_000
    bytes: int = 256 << 20


class Levels(NamedTuple):
    """Transfers in flight of one process, by lane: where the limiters begin, and where they end."""

    list_first: int = 4
    list_highest: int = 64
    cdn_first: int = 32
    cdn_highest: int = 1024
    rest_first: int = 16
    rest_highest: int = 1024


class ProcessPolicy(msgspec.Struct, frozen=True):
    """All of it."""

    levels: Levels = Levels()
    bounds: Bounds = Bounds()
    batch: BatchSize = BatchSize()
