"""How a machine's cap on bandwidth is shared out to its processes: by what each of them received lately. Pure.

A process that receives about what it may gets as much as others that do; of what the rest leave nothing lies idle. What a process
has in hand follows from its share, so that slow answers keep it below: where that is what holds it back, its share grows as well.
"""

import math
from collections.abc import Sequence

from bucketpull.domain.user_limits import near

ROUND_SECONDS = 1.0  # two ticks: the last one measures what came under the present shares alone
SPARE = 1.5  # what a process may come to receive until the next round, of what it receives
LEAST = 0.1  # of an equal share, to begin with
GRAIN = 0.05  # of an equal share: smaller changes are told to nobody


class BandwidthSharing:
    """The parts of the cap that the processes have; they make 1."""

    def __init__(self, processes: int) -> None:
        self.parts = [1.0 / processes] * processes
        self._shared_at = -math.inf

    def look(self, cap: float, received: Sequence[float], is_capped: Sequence[bool], now: float) -> bool:
        """Share out anew, once a second; tell whether the parts have changed.

        `received` is what each process receives, in bytes a second, and `is_capped` whether the cap keeps it from beginning more.
        """
        if now - self._shared_at < ROUND_SECONDS:
            return False
        self._shared_at = now
        equal = 1.0 / len(self.parts)
        parts = by_need(
            [
                math.inf
                if near(cap * part, size)
                else max(LEAST * equal, SPARE * size / cap, 2 * part * held)
                for part, size, held in zip(self.parts, received, is_capped, strict=True)
            ]
        )
        if all(abs(new - old) < GRAIN * equal for new, old in zip(parts, self.parts, strict=True)):
            return False
        self.parts = parts
        return True


def by_need(needs: Sequence[float]) -> list[float]:
    """Cut 1 into parts: who needs less than an equal part of what is left gets that, the others get equal parts; what nobody needs goes to all."""
    parts, left = [0.0] * len(needs), 1.0
    for done, index in enumerate(sorted(range(len(needs)), key=needs.__getitem__)):
        parts[index] = min(needs[index], left / (len(needs) - done))
        left -= parts[index]
    return [part + left / len(needs) for part in parts]
