"""Tells systemd that a job has begun, how it does, and that it lives: sd_notify(3), one datagram a message."""

import os
import socket
from contextlib import suppress

from bucketpull.domain.progress import ENDED, Snapshot
from bucketpull.report.printable import printable
from bucketpull.report.reporters import Regular
from bucketpull.report.summary import progress_line
from bucketpull.report.words import Words

STATUS_SECONDS = 10.0


class SystemdReporter:
    """A reporter for a unit of Type=notify; it does nothing where systemd does not listen.

    It is shown the job from the event loop, so that a loop that is stuck sends no WATCHDOG=1 either.
    """

    def __init__(self, words: Words) -> None:
        self._words = words
        self._notify = Notify()
        self._lines = Regular(STATUS_SECONDS)
        self._state = ""

    def show(self, snapshot: Snapshot) -> None:
        """Say that the job lives, and now and then where it stands; the first time that it has begun."""
        lines = ["WATCHDOG=1"] if self._state else ["READY=1"]
        if self._lines.are_due(snapshot):
            if snapshot.state in ENDED and self._state not in ENDED:
                lines.append("STOPPING=1")
            self._state = snapshot.state
            lines.append(f"STATUS={progress_line(snapshot, self._words)}")
        self._notify.send(*lines)

    def note(self, level: str, event: str, text: str) -> None:
        """Say nothing: events go to the journal of systemd by standard error."""

    def close(self, snapshot: Snapshot) -> None:
        """Say that the job has ended; what follows, such as `--on-end`, may take a while."""
        self._notify.send("STOPPING=1", f"STATUS={progress_line(snapshot, self._words)}")


class WorkerNotices:
    """Tells systemd of a worker. It has begun when it asks for work: its coordinator may start any time later."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._notify = Notify()
        self._begun = False

    def alive(self, status: str = "") -> None:
        """Say that the worker lives, and what it does where that is new."""
        lines = ["WATCHDOG=1"] if self._begun else ["READY=1"]
        self._begun = True
        self._notify.send(*lines, *([f"STATUS={self._words.message(status)}"] if status else []))

    def stopping(self) -> None:
        """Say that the worker hands back what it holds, and leaves."""
        self._notify.send("STOPPING=1")


class Notify:
    """The socket on which systemd listens to its service, if there is one."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")

    def send(self, *lines: str) -> None:
        """Send a message, unless that would block; systemd's end may be gone."""
        if not self._address:
            return
        path = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(map(printable, lines)).encode(), path)  # a line is an order
