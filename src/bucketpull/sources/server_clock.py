"""How much the service's clock is ahead of ours, learnt when it refuses the date of a request."""

import math
from typing import Final

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Response
from bucketpull.sources.headers import seconds_of

_TOLERANCE_SECONDS: Final = 60.0
_ON_THE_WAY_SECONDS: Final = 90.0


class ServerClock:
    """`offset` in seconds is what to add to our time. Requests that were on their way when it was learnt are refused too, and sent again."""

    def __init__(self) -> None:
        self.offset = 0.0
        self._learnt_at = -math.inf

    def learn(self, response: Response, now: float, *, alone: bool = False) -> Reason:
        """Take the service's time from an answer that came at `now` (Unix seconds, ours), and say what the refusal means.

        If our time, as corrected, is right already, the clock is not what is wrong, but for those on their way meanwhile;
        `alone` tells that this request was not.
        """
        stated = seconds_of(response.headers().get("date", ""))
        if stated is None:
            return Reason.CREDENTIALS
        if abs(now + self.offset - stated) < _TOLERANCE_SECONDS:
            is_late = not alone and 0 <= now - self._learnt_at < _ON_THE_WAY_SECONDS
            return Reason.CLOCK if is_late else Reason.CREDENTIALS
        self.offset, self._learnt_at = stated - now, now
        return Reason.CLOCK
