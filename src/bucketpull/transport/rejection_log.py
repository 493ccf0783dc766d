"""What is said of messages that are not believed: the first of a kind at once, then how many more, once a minute."""

from collections import Counter
from collections.abc import Callable
from typing import Final

TOLD_SECONDS: Final = 60.0
MOST_KINDS: Final = 100


class RejectionLog:
    """Counts messages that are dropped, by reason, and tells of them so seldom that nobody can flood a log by them.

    `told` gets a sentence; `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.told: Callable[[str], None] = lambda _: None
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._untold: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}

    def note(self, why: str, claims: str = "") -> None:
        """Count a message; `claims` says whose it says that it is."""
        kind = why if why in self.counts or len(self.counts) < MOST_KINDS else "other reasons"
        self.counts[kind] += 1
        self._untold[kind] += 1
        now = self._clock()
        if now - self._told_at.get(kind, now - TOLD_SECONDS) >= TOLD_SECONDS:
            self._told_at[kind] = now
            count = self._untold.pop(kind)
            what = "a message at the broker was" if count == 1 else f"{count:,} messages at the broker were"
            self.told(f"{what} not believed: {why}{claims}")
