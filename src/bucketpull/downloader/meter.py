"""The counters of one process, plain integers that cost an addition each."""

from bucketpull.domain.errors import Reason

LATENCIES = 20  # powers of two of milliseconds: up to nine minutes


class Meter:
    """What a process did since its start: objects and bytes that are on their volumes, and times of transfers.

    Reasons are those of repeated requests and of final failures.
    """

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.retries: dict[str, int] = {}
        self.failures: dict[str, int] = {}
        self.latency = [0] * LATENCIES

    def timed(self, seconds: float) -> None:
        """Count the duration of a transfer."""
        place = int(seconds * 1000).bit_length()
        self.latency[place if place < LATENCIES else -1] += 1

    def retried(self, reason: Reason) -> None:
        """Count a request that is made again."""
        self.retries[reason] = self.retries.get(reason, 0) + 1

    def failed(self, reason: Reason) -> None:
        """Count an object that failed for good."""
        self.failures[reason] = self.failures.get(reason, 0) + 1
