"""Whom a job is shown to."""

from typing import Protocol

from bucketpull.domain.progress import Snapshot


class Reporter(Protocol):
    """Shows a job to a person or a program. Called from the event loop, twice a second and at the end."""

    def show(self, snapshot: Snapshot) -> None:
        """Show where the job stands."""
        ...

    def note(self, level: str, event: str, text: str) -> None:
        """Tell one event, such as a sick disk."""
        ...

    def close(self, snapshot: Snapshot) -> None:
        """Show the end."""
        ...
