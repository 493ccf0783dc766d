"""What a job may use up: objects in a session, bytes and requests in all or a day; and what that costs.

What was used is counted over all machines.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec

from bucketpull.domain.counting import add_counts, growth
from bucketpull.domain.messages import Pulse
from bucketpull.domain.user_input import Price


class Budget(msgspec.Struct, frozen=True):
    """None is no bound. Bytes are those received, wasted ones too; requests are all, retries too."""

    objects: int | None = None
    bytes: int | None = None
    bytes_a_day: int | None = None
    requests: int | None = None
    requests_a_day: int | None = None


class BudgetLeft(msgspec.Struct, frozen=True):
    """How much more may be given out: so many objects, and objects of so many bytes in all, of which the last may go beyond it.

    None is any number.
    """

    objects: int | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        """Whether anything may be given out."""
        return all(bound is None or bound > 0 for bound in (self.objects, self.bytes))

    def less(self, objects: int, size: int) -> "BudgetLeft":
        """Return what is left after so many objects and bytes."""
        return BudgetLeft(
            None if self.objects is None else self.objects - objects,
            None if self.bytes is None else self.bytes - size,
        )

    def fitting(self, sizes: Sequence[int]) -> int:
        """Return how many of some objects in a row may be given out, by their sizes in bytes (-1 is not known, and counts nothing)."""
        most = len(sizes) if self.objects is None else min(self.objects, len(sizes))
        size = 0
        for count, each in enumerate(sizes[:most]):
            if self.bytes is not None and size >= self.bytes:
                return count
            size += max(0, each)
        return most


ANY_ROOM: Final = BudgetLeft()


class Used(msgspec.Struct, frozen=True):
    """What a machine has used since it started, as its `incarnation` says: of the bytes, `wasted` were thrown away, by reason."""

    incarnation: str = ""
    bytes: int = 0
    requests: int = 0
    wasted: dict[str, int] = {}


_NOTHING: Final = Used()


class Spending(msgspec.Struct):
    """What a job has used, in all and on `day` (a calendar day where the coordinator runs, as 2026-05-01).

    `bytes` are all that were received, `wasted` those of them that were thrown away, by reason. `machines` is what each was heard to
    have used last: so nothing is counted twice, or left out, when the coordinator was away.
    """

    bytes: int = 0
    requests: int = 0
    day: str = ""
    bytes_of_day: int = 0
    requests_of_day: int = 0
    wasted: dict[str, int] = {}
    machines: dict[str, Used] = {}

    def add(self, size: int, requests: int, day: str, wasted: Mapping[str, int] | None = None) -> None:
        """Count bytes and requests of a day. A clock that is put back begins no new day: what was used stays used."""
        if day > self.day:
            self.bytes_of_day = self.requests_of_day = 0
        self.day = day
        self.bytes += size
        self.requests += requests
        self.bytes_of_day += size
        self.requests_of_day += requests
        add_counts(self.wasted, wasted or {})

    def see(self, pulse: Pulse, day: str) -> bool:
        """Count what a machine used since it was heard last; tell whether it is anything."""
        endpoints = pulse.endpoints.values()
        now = Used(
            pulse.incarnation,
            sum(endpoint.received for endpoint in endpoints),
            sum(endpoint.requests for endpoint in endpoints),
            pulse.wasted,
        )
        before = self.machines.get(pulse.machine, _NOTHING)
        self.machines[pulse.machine] = now
        if before.incarnation != now.incarnation:
            before = _NOTHING
        size, requests = max(0, now.bytes - before.bytes), max(0, now.requests - before.requests)
        wasted = growth(before.wasted, now.wasted)
        if size or requests or wasted:
            self.add(size, requests, day, wasted)
        return bool(size or requests or wasted)

    def copy(self) -> "Spending":
        """Return one that no longer changes."""
        return msgspec.structs.replace(self, wasted=dict(self.wasted), machines=dict(self.machines))


class Prices(msgspec.Struct, frozen=True):
    """What 1,000,000,000 bytes and 10,000 requests cost, in any currency; None where nobody said it."""

    per_gb: Price | None = None
    per_10k: Price | None = None

    def __bool__(self) -> bool:
        """Tell whether anything has a price."""
        return self.per_gb is not None or self.per_10k is not None

    def of(self, spent: Spending) -> float | None:
        """Return what was spent in money; None where nothing has a price."""
        if not self:
            return None
        return spent.bytes / 1e9 * (self.per_gb or 0.0) + spent.requests / 10_000 * (self.per_10k or 0.0)


NO_PRICES: Final = Prices()


class BudgetState(Enum):
    """Whether a job may use more."""

    GO_ON = 0
    WAIT_FOR_TOMORROW = 1
    END = 2


def judged(budget: Budget, spent: Spending, day: str) -> BudgetState:
    """Tell whether bytes and requests are left."""
    if _is_used_up(budget.bytes, spent.bytes) or _is_used_up(budget.requests, spent.requests):
        return BudgetState.END
    if spent.day >= day and (
        _is_used_up(budget.bytes_a_day, spent.bytes_of_day)
        or _is_used_up(budget.requests_a_day, spent.requests_of_day)
    ):
        return BudgetState.WAIT_FOR_TOMORROW
    return BudgetState.GO_ON


def left(budget: Budget, spent: Spending, day: str) -> BudgetLeft:
    """Return how many requests and bytes are left; never less than none."""
    today = spent if spent.day >= day else Spending()
    return BudgetLeft(
        _least(budget.requests, spent.requests, budget.requests_a_day, today.requests_of_day),
        _least(budget.bytes, spent.bytes, budget.bytes_a_day, today.bytes_of_day),
    )


def _least(total: int | None, used: int, a_day: int | None, used_today: int) -> int | None:
    rests = [bound - gone for bound, gone in ((total, used), (a_day, used_today)) if bound is not None]
    return max(0, min(rests)) if rests else None


def _is_used_up(bound: int | None, used: int) -> bool:
    return bound is not None and used >= bound
