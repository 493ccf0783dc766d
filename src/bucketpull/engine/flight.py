"""One object between its assignment and its end, and the lines in which it waits for its turn."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Response
from bucketpull.domain.model import Lane
from bucketpull.engine.bay import Bay
from bucketpull.engine.lanes import Gate
from bucketpull.engine.pour import Pour
from bucketpull.engine.sheet import Leaf, Sheet
from bucketpull.ports import Fetcher


class Handler(Protocol):
    """Who decides about flights."""

    def answered(self, flight: "Flight", response: Response) -> None:
        """Take the answer with the body in memory."""
        ...

    def poured(self, flight: "Flight", response: Response) -> None:
        """Take the end of a transfer whose body went to disk."""
        ...

    def rested(self, flight: "Flight") -> None:
        """Take it back after its rest."""
        ...


class Flight(msgspec.Struct, gc=False, eq=False):
    """One object that was taken from its assignment and has not ended.

    `at` is the index of its lane; `tries` counts requests on that lane, `asked` all of them. `held` is what it counts in
    the memory's bound, `stored` the size of what came. `doubt` is why the answer before the last was not believed; `blemish`
    says what is wrong with an object that is kept nevertheless.
    """

    handler: Handler
    bay: Bay
    sheet: Sheet
    leaf: Leaf
    index: int
    name: bytes
    size: int
    mtime: int
    lanes: tuple[Lane, ...]
    gate: "Gate[Flight]"
    at: int = 0
    tries: int = 0
    asked: int = 0
    held: int = 0
    stored: int = 0
    status: int = 0
    doubt: Reason | None = None
    blemish: str = ""
    pour: Pour | None = None

    def done(self, response: Response) -> None:
        """Take the answer."""
        self.handler.answered(self, response)

    def poured(self, response: Response) -> None:
        """Take the end of a transfer whose body went to disk."""
        self.handler.poured(self, response)

    def again(self) -> None:
        """End its rest."""
        self.handler.rested(self)


class Lines:
    """Where flights wait: in line at their gate, resting after a bad answer, or put off until their volume catches up."""

    def __init__(
        self, gates: Sequence[Gate[Flight]], fetcher: Fetcher, most_queued: int, parked: int
    ) -> None:
        self._gates = gates
        self._fetcher = fetcher
        self._most_queued = most_queued
        self._parked = parked
        self._resting: set[Flight] = set()
        self._put_off: dict[Bay, deque[Flight]] = {}

    def next(self, gate: Gate[Flight]) -> Flight | None:
        """Take the first at a gate whose volume takes bytes."""
        waiting, most = gate.waiting, self._most_queued
        while waiting:
            flight = waiting.popleft()
            if flight.bay.queued <= most:
                return flight
            self._put_off.setdefault(flight.bay, deque()).append(flight)
        return None

    def call_back(self) -> None:
        """Put those in line whose volumes have caught up, or will never."""
        for bay, flights in self._put_off.items():
            while flights and (bay.queued <= self._most_queued or bay.trouble is not None):
                flight = flights.popleft()
                flight.gate.waiting.append(flight)
                if len(flight.gate.waiting) > self._parked:
                    break

    def rest(self, flight: Flight, seconds: float) -> None:
        """Keep a flight from its gate for a while."""
        self._resting.add(flight)
        self._fetcher.call_later(seconds, flight.again)

    def rested(self, flight: Flight) -> None:
        """Put a flight in line after its rest."""
        if flight in self._resting:
            self._resting.remove(flight)
            flight.gate.waiting.append(flight)

    def clear(self) -> list[Flight]:
        """Send everybody away; return them."""
        lines = [gate.waiting for gate in self._gates] + list(self._put_off.values())
        flights = [flight for line in lines for flight in line] + list(self._resting)
        for line in lines:
            line.clear()
        self._resting.clear()
        return flights

    def __len__(self) -> int:
        """Count those in line and put off."""
        return sum(len(gate.waiting) for gate in self._gates) + sum(map(len, self._put_off.values()))
