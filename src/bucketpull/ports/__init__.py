"""The seams: what the coordinator, the agents and the downloaders need of the outside, and what each implementation promises.

Each is a Protocol of a few verbs. An implementation is chosen in `wiring`. Those of a journal, of a volume, of the two ends of a
transport and of a source pass one suite each: `tests/contracts`, `tests/sources/conformance`.
"""

from typing import Protocol

from bucketpull.domain.progress import Snapshot
from bucketpull.ports.fetcher import Fetcher
from bucketpull.ports.journal import Journal
from bucketpull.ports.source import Source
from bucketpull.ports.transport import Inbox, ProcessPool, Transport
from bucketpull.ports.volume import Stream, Volume, Writer

__all__ = [
    "Clock",
    "Fetcher",
    "Inbox",
    "Journal",
    "ProcessPool",
    "Reporter",
    "Source",
    "Stream",
    "Transport",
    "Volume",
    "Writer",
]


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> float:
        """Unix seconds."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    def today(self) -> str:
        """Today's date in the machine's time zone, as 2026-05-01."""


class Reporter(Protocol):
    """Shows a job to a person or a program. Called from the event loop, twice a second and at the end."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where the job stands."""

    def note(self, level: str, event: str, text: str) -> None:
        """Tell one event, such as a sick disk."""

    def close(self, snapshot: Snapshot) -> None:
        """Show the end."""
