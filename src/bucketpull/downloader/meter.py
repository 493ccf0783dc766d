"""What one process counts, in plain integers that cost an addition each: what it did, and how many bytes it holds."""

from collections import Counter
from typing import Final

from bucketpull.domain.errors import Reason

CAPPED_SECONDS: Final = 2.0
_SMOOTHING: Final = 0.05


class Meter:
    """What a process did since its start: objects and bytes that are on their volumes, and reasons of repeats and failures.

    `wasted` counts, by reason, the bytes that were received and thrown away. `partial` are those of large objects that came by
    transfers that have ended, and do not count in `bytes` yet.
    """

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = self.partial = 0
        self.retries = Counter[str]()
        self.failures = Counter[str]()
        self.wasted = Counter[str]()

    def waste(self, reason: Reason | None, size: int) -> None:
        """Count bytes that were received for nothing."""
        if reason is not None and size:
            self.wasted[reason] += size


class Memory:
    """`held` are the bytes of bodies in transfer, and of those that writers have still to write; `most` bounds them.

    `share` is which part of the size that is listed a body has on average, at most 1: versions of images are smaller.
    """

    __slots__ = ("_bound", "held", "most", "share")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self.most = bound
        self.held = 0
        self.share = 1.0

    def note_size(self, size: int, listed: int) -> None:
        """Learn from one body how large others will be."""
        self.share += _SMOOTHING * (min(1.0, size / max(listed, 1)) - self.share)

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """Hold no more in transfer than a cap lets through in some seconds: more connections would only wait for each other."""
        capped = self._bound if bytes_per_second is None else int(bytes_per_second * CAPPED_SECONDS)
        self.most = min(self._bound, capped)

    @property
    def is_capped(self) -> bool:
        """Whether it is the cap on bandwidth that keeps more from being begun."""
        return self.most < self._bound and self.held >= self.most
