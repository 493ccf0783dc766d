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
