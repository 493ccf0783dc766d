"""The transfers and the scans of a process, with everything round them in memory and in virtual time."""

import random
from collections.abc import Callable, Sequence

import msgspec

from bucketpull.domain.endpoint_judge import EndpointJudge
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request
from bucketpull.domain.messages import Assignment, Mount, Outcome, ScanAssignment, ScanReceipt
from bucketpull.domain.model import Page, Part, Position
from bucketpull.domain.order import ANY, Order
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.record import Record
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.page_sinks import JobPages
from bucketpull.downloader.parameters import Bounds
from bucketpull.downloader.scans import Scans, WantedPage
from bucketpull.downloader.transfer import Transfer
from bucketpull.downloader.transfers import Transfers
from bucketpull.downloader.watch import Watch
from bucketpull.ports import Source
from bucketpull.testing.memory import MemorySource, MemoryWriter
from bucketpull.testing.virtual import Answer, VirtualClock, VirtualFetcher

LOOK_SECONDS = 0.5
encode = msgspec.msgpack.encode


class Rig:
    """`answer` is asked for each request; `level` transfers may be in transfer at each endpoint, None for what the limiter finds.

    `outcomes`, `receipts` and `fatals` collect what was said; `filled` are the transfers in transfer after the last start.
    """

    def __init__(
        self,
        answer: Callable[[Request], Answer],
        routes: Sequence[str] = ("edge", "origin"),
        level: int | None = 8,
        bounds: Bounds | None = None,
        pages: dict[tuple[bytes, str], Page] | None = None,
        seed: int = 1,
        source: Source | None = None,
        names: dict[str, list[str]] | None = None,
        order: Order = ANY,
    ) -> None:
        self.clock = VirtualClock()
        self.fetcher = VirtualFetcher(self.clock, answer)
        self.memory = MemorySource(routes, pages)
        self.source = source or self.memory
        self.writers: dict[str, MemoryWriter] = {}
        self.meter = Meter()
        self.outcomes: list[Outcome] = []
        self.receipts: list[ScanReceipt] = []
        self.fatals: list[tuple[Reason, str]] = []
        self.filled = 0
        chance = random.Random(seed)
        listing, *fetching = self.source.endpoints
        self.endpoints = {spec.name: Endpoint[Transfer](spec, Limiter(fixed=level)) for spec in fetching}
        listing_endpoint = Endpoint[WantedPage](listing, Limiter(fixed=level))
        self._all_endpoints = (listing_endpoint, *self.endpoints.values())
        self.transfers = Transfers(
            self.source,
            self.fetcher,
            self.endpoints,
            lambda mount: self.writers[mount.id],
            self.clock,
            chance,
            self.meter,
            bounds or Bounds(),
            self.outcomes.append,
        )
        self.scans = Scans(
            self.source,
            self.fetcher,
            listing_endpoint,
            self.clock,
            chance,
            self.meter,
            JobPages(order),
            self.receipts.append,
            lambda reason, detail: self.fatals.append((reason, detail)),
        )

        self.judge = EndpointJudge(tuple(self.source.endpoints), 1)
        self._watch = Watch(
            listing_endpoint, self.endpoints, self.fetcher, self.scans, self.transfers, self.clock
        )
        self.fetcher.names = names or {}
        self._watch.resolve()
        self._looked = 0.0

    def mount(self, volume: str = "v1", verify: str = "size", slow: bool = False) -> MemoryWriter:
        """Make a volume known."""
        writer = self.writers[volume] = MemoryWriter(slow)
        self.transfers.mount(Mount(volume, f"/{volume}", "batch", verify))
        return writer

    def close(self) -> None:
        """Give back what the writers hold: an example of a property test leaves nothing behind."""
        for writer in self.writers.values():
            writer.discard()

    def assign(self, parts: Sequence[Part], volume: str = "v1", id: int = 1, passes: int = 0) -> None:  # noqa: A002
        """Hand over an assignment."""
        self.transfers.assign(Assignment(id, volume, passes, encode(parts)))

    def scan(self, positions: Sequence[Position], work: int = 1) -> None:
        """Hand over a scan."""
        self.scans.add(ScanAssignment(work, encode(positions)))

    def turn(self) -> None:
        """Go once round the loop."""
        now = self.clock.monotonic()
        self.scans.fill(now)
        self.transfers.fill(now)
        self.filled = self.fetcher.in_flight
        self.fetcher.run_once(min(LOOK_SECONDS, *(each.delay(now) for each in self._all_endpoints)))
        if self.clock.seconds - self._looked >= LOOK_SECONDS:
            self._look()

    def _look(self) -> None:
        """Judge the endpoints, as the agent does."""
        self._looked = now = self.clock.seconds
        board = self.judge
        for judged in board.look(0, self._watch.symptoms(), now):
            self._watch.follow(judged[1])
        if board.refusal is not None and not self.fatals:
            self.fatals.append(board.refusal)

    def run(self, until: Callable[[], object], turns: int = 100_000) -> None:
        """Go round until something is so; an assertion fails if it never is."""
        for _ in range(turns):
            if until():
                return
            self.turn()
        raise AssertionError(f"not so after {turns} turns, {self.clock.seconds} s")

    def listed(self) -> int:
        """Give back to the scan what it returned; return how many pages were listed."""
        for receipt in self.receipts:
            if receipt.positions:
                self.scan(receipt.positions)
                receipt.positions = []
        return sum(len(receipt.pages) for receipt in self.receipts)

    def settle(self, outcomes: int = 1) -> list[Outcome]:
        """Run until there are so many outcomes."""
        self.run(lambda: len(self.outcomes) >= outcomes)
        return self.outcomes


def records_of(outcome: Outcome) -> list[Record]:
    """Decode an outcome's records."""
    return msgspec.msgpack.decode(outcome.records, type=list[Record]) if outcome.records else []


def names_of(parts: Sequence[Part] | Sequence[Record]) -> list[bytes]:
    """Return all names in order."""
    return [name for part in parts for name in part.names]
