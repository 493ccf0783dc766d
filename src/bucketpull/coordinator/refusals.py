"""Refusals of the source: whether one of another machine's is the end of the job. Its credentials are its own."""

from bucketpull.coordinator.fleet import Fleet
from bucketpull.domain.messages import Fatal


class RefusalsElsewhere:
    """The first refusal that is not forgotten: it is when other machines go on. Times are monotonic seconds.

    Args:
        patience_seconds: For so long nobody else may be there before the refusal ends the job.

    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._first: tuple[Fatal, float] | None = None

    def heard(self, fatal: Fatal, now: float) -> None:
        """Note a refusal."""
        self._first = self._first or (fatal, now)

    def final(self, fleet: Fleet, now: float) -> Fatal | None:
        """Return the refusal that ends the job, if one does by now."""
        if self._first is None:
            return None
        fatal, since = self._first
        if fleet.drains > 1 or (fleet.drains and fatal.machine not in fleet.members):
            self._first = None
        elif now - since > self._patience and not fleet.drains:
            return fatal
        return None
