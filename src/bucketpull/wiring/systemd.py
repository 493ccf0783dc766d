"""Tells systemd that a job has begun, how it does, and that it lives: sd_notify(3), one datagram a message."""

import os
import socket
from contextlib import suppress

from bucketpull.domain.job_state import ENDED
from bucketpull.domain.progress import Snapshot
from bucketpull.report.lines import progress_line
from bucketpull.report.words import Words

STATUS_SECONDS = 10.0


class SystemdReporter:
    """A reporter for a unit of Type=notify; it says nothing where there is no systemd that listens.

    It is shown the job from the event loop, so that a loop that is stuck sends no WATCHDOG=1 either.
    """

    def __init__(self, words: Words, address: str | None = None) -> None:
        self._words = words
        self._address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._due = 0.0
        self._state = ""

    def show(self, snapshot: Snapshot) -> None:
        """Say that the job lives, and now and then where it stands; the first time that it has begun."""
        lines = ["WATCHDOG=1"] if self._state else ["READY=1"]
        if snapshot.at >= self._due or snapshot.state != self._state:
            if snapshot.state in ENDED and self._state not in ENDED:
                lines.append("STOPPING=1")
            self._due, self._state = snapshot.at + STATUS_SECONDS, snapshot.state
            lines.append(f"STATUS={progress_line(snapshot, self._words)}")
        self._send("\n".join(lines))

    def note(self, level: str, event: str, text: str) -> None:
        """Say nothing: events go to the journal of systemd by standard error."""

    def close(self, snapshot: Snapshot) -> None:
        """Say that the job has ended; what follows, such as `--on-end`, may take a while."""
        self._send(f"STOPPING=1\nSTATUS={progress_line(snapshot, self._words)}")

    def _send(self, message: str) -> None:
        """Send a message, unless that would block; systemd's end may be gone."""
        if not self._address:
            return
        path = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), path)
