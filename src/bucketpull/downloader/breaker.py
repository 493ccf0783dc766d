"""Notices that an endpoint refuses everything in the same way, after a few objects instead of 300 million.

Pure. Only answers count that are final for their object there (a 403, a redirect, an HTML page); passing trouble
is the limiter's affair. One good answer closes the case.
"""

from enum import Enum

from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.trouble import REMEDIES

ALIKE = 20  # equal refusals in a row: 200 in transfer are enough to see them within a second
STOPS = (
    3  # refused credentials in a row: one may be a name that was signed in another way than the service does
)
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 600.0


class Trip(Enum):
    """What the breaker says after a refusal."""

    NOTHING = 0
    PAUSE = 1
    FATAL = 2


class Breaker:
    """One endpoint's run of equal refusals.

    Args:
        alike: Refusals for the same reason in a row that trip it.
        stops: The same for reasons that refuse us as a whole (remedy `stop`).

    """

    def __init__(self, alike: int = ALIKE, stops: int = STOPS) -> None:
        self._alike = alike
        self._stops = stops
        self._reason: Reason | None = None
        self.streak = 0
        self.proven = False
        self.pause_seconds = FIRST_PAUSE_SECONDS

    def good(self) -> None:
        """Note an answer that was what we wanted."""
        self.streak = 0
        if not self.proven or self.pause_seconds != FIRST_PAUSE_SECONDS:
            self.proven = True
            self.pause_seconds = FIRST_PAUSE_SECONDS

    def bad(self, reason: Reason) -> Trip:
        """Note a refusal; say whether the job should end, or the endpoint rest for `pause_seconds`."""
        self.streak = self.streak + 1 if reason is self._reason else 1
        self._reason = reason
        if REMEDIES[reason] is Remedy.STOP:
            return Trip.FATAL if self.streak >= self._stops else Trip.NOTHING
        if self.streak < self._alike:
            return Trip.NOTHING
        return Trip.PAUSE if self.proven else Trip.FATAL

    def rested(self) -> None:
        """Note the end of a pause: one more refusal of that kind and the endpoint rests twice as long."""
        self.streak = self._alike - 1
        self.pause_seconds = min(self.pause_seconds * 2, LONGEST_PAUSE_SECONDS)
