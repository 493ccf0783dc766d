"""What the coordinator wants done: its effects, which its shell carries out, and what came of each is sent back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from bucketpull.domain.messages import BatchReceipt, Control, FromWorker, Handback, ScanReceipt, Work

if TYPE_CHECKING:
    from bucketpull.ports import Journal

T = TypeVar("T")


class Moment(msgspec.Struct, frozen=True):
    """The time at which something is decided: monotonic seconds, Unix seconds, and the date as 2026-05-01."""

    monotonic: float
    unix: float
    today: str


class UseJournal(msgspec.Struct, frozen=True):
    """Use the journal; what the function returns is the answer, and a `JournalError` is raised where the effect was yielded."""

    function: Callable[[Journal], object]


class Hear(msgspec.Struct, frozen=True):
    """Wait at most so many seconds for messages of workers; the answer is a `Heard`."""

    seconds: float


class Heard(msgspec.Struct, frozen=True):
    """What workers said; `hears` tells whether they can be heard at all (`ports.Transport.hears`)."""

    messages: Sequence[FromWorker]
    hears: bool


class SendControl(msgspec.Struct, frozen=True):
    """Send a control message to a machine."""

    control: Control
    machine: str


class SendWork(msgspec.Struct, frozen=True):
    """Give work to a machine."""

    works: Sequence[Work]
    machine: str


class Acknowledge(msgspec.Struct, frozen=True):
    """Say that messages are in the journal."""

    messages: Sequence[FromWorker]


class Forget(msgspec.Struct, frozen=True):
    """Drop what waits for a machine that is taken for dead, or has left."""

    machine: str


Effect = UseJournal | Hear | SendControl | SendWork | Acknowledge | Forget
Routine = Generator[Effect, Any, T]
Entry = ScanReceipt | BatchReceipt | Handback


def once_each(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Group messages, in their order, for one transaction each: no work is named twice in a group, since only one of two may count."""
    groups: list[list[Entry]] = []
    seen: set[int] = set()
    for entry in entries:
        works = set(entry.works) if isinstance(entry, Handback) else {entry.work}
        if not groups or works & seen:
            groups.append([])
            seen = set()
        groups[-1].append(entry)
        seen |= works
    return groups
