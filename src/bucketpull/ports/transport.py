"""The way between a coordinator and its workers, both ends, and from a worker to its processes."""

from collections.abc import Sequence
from typing import Protocol

from bucketpull.domain.messages import Control, FromProcess, FromWorker, ToProcess, Work


class Transport(Protocol):
    """The coordinator's end of the way to its workers. All calls from one event loop."""

    async def send(self, works: Sequence[Work], machine: str) -> None:
        """Give work to a machine. Durable when it returns, if the transport is."""

    async def receive(self) -> Sequence[FromWorker]:
        """Wait for messages of workers; each is given again after a restart until `acknowledge`."""

    async def acknowledge(self, messages: Sequence[FromWorker]) -> None:
        """Say that the messages are in the journal."""

    @property
    def hears(self) -> bool:
        """Whether workers can be heard at present; while they cannot, their silence means nothing."""

    async def control(self, control: Control, machine: str) -> None:
        """Send a control message to a machine."""

    async def forget(self, machine: str) -> None:
        """Drop what waits for a machine that is taken for dead: it is given to others."""

    async def close(self) -> None:
        """Leave; what was sent stays with the workers."""


class Inbox(Protocol):
    """A worker's end of the transport. All calls from one event loop."""

    async def receive(self) -> Sequence[Work | Control]:
        """Wait for work or a word from the coordinator."""

    async def reply(self, message: FromWorker) -> None:
        """Send a receipt (durable when it returns, and only then is its work acknowledged), a handback or a pulse."""

    async def close(self) -> None:
        """Leave; what is not acknowledged goes to others."""


class ProcessPool(Protocol):
    """A worker's processes. All calls from one event loop.

    One that dies is heard of (`Died`), and hears nothing until `start` has put a new one in its place: what was meant for
    the old one never reaches the new one, which knows neither volumes nor limits.
    """

    @property
    def size(self) -> int:
        """How many processes there are."""

    def send(self, process: int, message: ToProcess) -> None:
        """Hand a message to a process, at once; one that has died hears nothing."""

    async def receive(self) -> list[tuple[int, FromProcess]]:
        """Wait for messages of the processes."""

    def kill(self, process: int) -> None:
        """End a process that hangs; `Died` is heard of it, if it was not already."""

    def start(self, process: int) -> None:
        """Make a new process in place of one of which `Died` was heard."""

    async def close(self, seconds: float) -> None:
        """Wait so long for the processes to leave, then end them."""
