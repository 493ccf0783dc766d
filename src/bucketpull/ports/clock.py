"""Time, injected."""

from typing import Protocol


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def today(self) -> str:
        """Today's date in the machine's time zone, as 2026-05-01."""
        ...
