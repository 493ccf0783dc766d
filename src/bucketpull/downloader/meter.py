"""The counters of one process, plain integers that cost an addition each."""

from bucketpull.domain.errors import Reason


class Meter:
    """What a process did since its start: objects and bytes that are on their volumes, and the reasons of repeated requests and final failures."""

    def __init__(self) -> None:
        self.objects = 0
        self.bytes = 0
        self.retries: dict[str, int] = {}
        self.failures: dict[str, int] = {}

    def retried(self, reason: Reason) -> None:
        """Count a request that is made again."""
        self.retries[reason] = self.retries.get(reason, 0) + 1

    def failed(self, reason: Reason) -> None:
        """Count an object that failed for good."""
        self.failures[reason] = self.failures.get(reason, 0) + 1
