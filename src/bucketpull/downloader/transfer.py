"""One object between its assignment and its end, and the lines in which it waits for its turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bucketpull.domain.errors import Reason
from bucketpull.domain.evidence import Body
from bucketpull.domain.http_exchange import Wanted
from bucketpull.domain.pacing import Limiter
from bucketpull.downloader.batch_progress import BatchProgress, PartProgress
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.hosts import Host, Hosts
from bucketpull.downloader.large_object import LargeObject
from bucketpull.downloader.targets import Target, Targets
from bucketpull.downloader.volume_queue import VolumeQueue

if TYPE_CHECKING:
    from bucketpull.ports import Fetcher

(_NO_TARGET,) = Targets((), Limiter())


class Transfer(Wanted, gc=False, eq=False):
    """One object that was taken from its assignment and has not ended.

    `at` is the index of its endpoint in `routes`, `least` that of the first which has not denied it; `tries` counts requests there, `asked` all
    of this pass, neither those for which the endpoint is to blame. `held` is what it counts in the memory's bound, `stored` the size of what came. `doubt` is why the last answer was not believed, `earlier` the body of one
    that was whole. `unsure` is what was doubted in an answer that is believed all the same. `accepts` are the contents, by MD5,
    that a large object may have, with what is doubted then; None is any. `is_large` says that it is streamed although it is listed as
    smaller than what is. `claim` is the MD5 of a file of others that lies in its place,
    b"" for none: the object is asked for only if it differs. `target` is where its last request went.
    """

    queue: VolumeQueue
    batch: BatchProgress
    progress: PartProgress
    index: int
    routes: tuple[str, ...]
    endpoint: Endpoint[Transfer]
    at: int = 0
    least: int = 0
    tries: int = 0
    asked: int = 0
    held: int = 0
    stored: int = 0
    status: int = 0
    doubt: Reason | None = None
    earlier: Body | None = None
    unsure: Reason | None = None
    accepts: dict[bytes, Reason | None] | None = None
    is_large: bool = False
    large: LargeObject | None = None
    claim: bytes = b""
    target: Target = _NO_TARGET


class WaitingTransfers:
    """Where transfers wait: in line at their endpoint, resting after a bad answer, or put off until their volume catches up, or for their host to answer."""

    def __init__(
        self, endpoints: Sequence[Endpoint[Transfer]], fetcher: Fetcher, most_queued: int, parked: int
    ) -> None:
        self._endpoints = endpoints
        self._fetcher = fetcher
        self._most_queued = most_queued
        self._parked = parked
        self._resting: set[Transfer] = set()
        self._put_off: dict[VolumeQueue, deque[Transfer]] = {}
        self._held_back: dict[Host, deque[Transfer]] = {}

    def next(self, endpoint: Endpoint[Transfer]) -> Transfer | None:
        """Take the first at an endpoint whose volume takes bytes."""
        waiting, most = endpoint.waiting, self._most_queued
        while waiting:
            transfer = waiting.popleft()
            if transfer.queue.queued <= most:
                return transfer
            self._put_off.setdefault(transfer.queue, deque()).append(transfer)
        return None

    def line_up_caught_up(self) -> None:
        """Put those in line whose volumes have caught up, or will never."""
        for queue, transfers in self._put_off.items():
            while transfers and (queue.queued <= self._most_queued or queue.trouble is not None):
                transfer = transfers.popleft()
                transfer.endpoint.waiting.append(transfer)
                if len(transfer.endpoint.waiting) > self._parked:
                    break

    def hold_back(self, transfer: Transfer, host: Host) -> None:
        """Keep a transfer for the first answer of its host."""
        self._held_back.setdefault(host, deque()).append(transfer)
        transfer.endpoint.held_back += 1

    def line_up_held_back(self, hosts: Hosts, now: float, is_crowded: bool) -> None:
        """Put those in line whose hosts may be asked, or make way for others."""
        for host, transfers in list(self._held_back.items()):
            is_passed = hosts.is_passed_over(host, now, transfers[0].endpoint.is_up, is_crowded)
            for _ in range(len(transfers) if is_passed else min(len(transfers), host.room(now))):
                transfer = transfers.popleft()
                transfer.endpoint.held_back -= 1
                transfer.endpoint.waiting.append(transfer)
            if not transfers:
                del self._held_back[host]

    def rest(self, transfer: Transfer, seconds: float, then: Callable[[], None]) -> None:
        """Keep a transfer from its endpoint for so long; `then` is to call `rested`."""
        self._resting.add(transfer)
        self._fetcher.call_later(seconds, then)

    def rested(self, transfer: Transfer) -> None:
        """Put a transfer in line after its rest; one that was refused before those never asked for, which may be thousands."""
        if transfer in self._resting:
            self._resting.remove(transfer)
            waiting = transfer.endpoint.waiting
            (waiting.appendleft if transfer.doubt is Reason.THROTTLED else waiting.append)(transfer)

    def clear(self) -> list[Transfer]:
        """Remove and return all that wait."""
        waiting = [endpoint.waiting for endpoint in self._endpoints]
        waiting += [*self._put_off.values(), *self._held_back.values()]
        transfers = [transfer for line in waiting for transfer in line] + list(self._resting)
        for line in waiting:
            line.clear()
        for endpoint in self._endpoints:
            endpoint.held_back = 0
        self._resting.clear()
        return transfers

    def __len__(self) -> int:
        """Count those in line and put off."""
        return sum(len(endpoint.waiting) for endpoint in self._endpoints) + sum(
            map(len, self._put_off.values())
        )
