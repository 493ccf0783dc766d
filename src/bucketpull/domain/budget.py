"""What a job may use up: objects in a session, bytes and requests in all or a day. What was used is counted over all machines."""

from collections.abc import Mapping
from enum import Enum

import msgspec

from bucketpull.domain.model import LaneStatus


class Budget(msgspec.Struct, frozen=True):
    """None is no bound. Bytes are those received, wasted ones too; requests are all, retries too."""

    objects: int | None = None
    bytes: int | None = None
    bytes_a_day: int | None = None
    requests: int | None = None
    requests_a_day: int | None = None


class Spending(msgspec.Struct):
    """What a job has used, in all and on `day` (a calendar day where the coordinator runs, as 2026-05-01)."""

    bytes: int = 0
    requests: int = 0
    day: str = ""
    bytes_of_day: int = 0
    requests_of_day: int = 0

    def add(self, size: int, requests: int, day: str) -> None:
        """Count bytes and requests of a day."""
        if day != self.day:
            self.day, self.bytes_of_day, self.requests_of_day = day, 0, 0
        self.bytes += size
        self.requests += requests
        self.bytes_of_day += size
        self.requests_of_day += requests


class Verdict(Enum):
    """Whether a job may use more."""

    GO_ON = 0
    WAIT_FOR_TOMORROW = 1
    END = 2


def judged(budget: Budget, spent: Spending, day: str) -> Verdict:
    """Tell whether bytes and requests are left."""
    if _is_used_up(budget.bytes, spent.bytes) or _is_used_up(budget.requests, spent.requests):
        return Verdict.END
    today = spent.day == day
    if today and (
        _is_used_up(budget.bytes_a_day, spent.bytes_of_day)
        or _is_used_up(budget.requests_a_day, spent.requests_of_day)
    ):
        return Verdict.WAIT_FOR_TOMORROW
    return Verdict.GO_ON


def _is_used_up(bound: int | None, used: int) -> bool:
    return bound is not None and used >= bound


class Usage:
    """What each machine used since it was heard last, from counters that begin at 0 whenever it starts."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int, int]] = {}

    def since_last(self, machine: str, incarnation: str, lanes: Mapping[str, LaneStatus]) -> tuple[int, int]:
        """Return the bytes and requests that are new."""
        size = sum(lane.received for lane in lanes.values())
        requests = sum(lane.requests for lane in lanes.values())
        known, size_before, requests_before = self._seen.get(machine, ("", 0, 0))
        self._seen[machine] = incarnation, size, requests
        if known != incarnation:
            size_before = requests_before = 0
        return max(0, size - size_before), max(0, requests - requests_before)
