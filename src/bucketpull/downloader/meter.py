"""The counters of one process, plain integers that cost an addition each."""

from collections import Counter

from bucketpull.domain.errors import Reason


class Meter:
    """What a process did since its start: objects and bytes that are on their volumes, and reasons of repeats and failures.

    `wasted` counts, by reason, the bytes that were received and thrown away.
    """

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.retries = Counter[str]()
        self.failures = Counter[str]()
        self.wasted = Counter[str]()

    def waste(self, reason: Reason | None, size: int) -> None:
        """Count bytes that were received for nothing."""
        if reason is not None and size:
            self.wasted[reason] += size
