"""The real clock."""

import time


class SystemClock:
    """See `ports.Clock`."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
