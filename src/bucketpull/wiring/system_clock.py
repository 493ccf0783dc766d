"""The clock of the machine; tests have one that they set."""

import time


class SystemClock:
    """See `ports.Clock`."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def today(self) -> str:
        """Return today's date in the machine's time zone, as 2026-05-01."""
        return time.strftime("%Y-%m-%d")
