"""The objects in hand of one process: from an assignment's columns to files, with no barrier between assignments.

Each ended transfer frees a slot that the next object takes, whichever assignment it belongs to. This is the hot path: an
ordinary object costs one `Transfer` and a handful of calls. What starts is decided here, what becomes of it in `answers`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from bucketpull.domain.errors import AnswerError, Reason, VolumeError
from bucketpull.domain.http_exchange import Request
from bucketpull.domain.messages import Assignment, Mount, Outcome, Unmount
from bucketpull.domain.retry import next_try
from bucketpull.downloader.answers import Answers
from bucketpull.downloader.batch_progress import BatchProgress, Item
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.hosts import Hosts
from bucketpull.downloader.large_object import PAUSED_BYTES, STREAM_BYTES, LargeObject, most_bytes
from bucketpull.downloader.meter import Memory, Meter
from bucketpull.downloader.parameters import Bounds
from bucketpull.downloader.remedies import Remedies
from bucketpull.downloader.routing import Routing
from bucketpull.downloader.transfer import Transfer, WaitingTransfers
from bucketpull.downloader.volume_queue import VolumeQueue, VolumeQueues

if TYPE_CHECKING:
    from random import Random

    from bucketpull.ports import Clock, Fetcher, Source, Writer

CATCH_UP_SECONDS = 0.2
LOOK_SECONDS = 0.25  # at what is held back for hosts
# Volumes take turns by so many objects: finding the next one costs as much as beginning it.
RUN = 16


class Transfers:
    """All assignments of one process. `mount` and `outcome` are as in `VolumeQueues`."""

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        endpoints: dict[str, Endpoint[Transfer]],
        mount: Callable[[Mount], Writer],
        clock: Clock,
        random: Random,
        meter: Meter,
        bounds: Bounds,
        outcome: Callable[[Outcome], None],
    ) -> None:
        self.volumes = VolumeQueues(mount, outcome)
        self.paused = False
        self._concurrency = bounds.in_flight
        self._source = source
        self._fetcher = fetcher
        self._endpoints = endpoints
        self._order = tuple(endpoints.values())
        self._clock = clock
        self._meter = meter
        self._bounds = bounds
        self.memory = Memory(bounds.held)
        self._waiting = WaitingTransfers(self._order, fetcher, bounds.queued, bounds.parked)
        self._routing = Routing(source, fetcher, endpoints, clock)
        self._remedies = Remedies(self._routing, clock, random, meter, self.volumes, self._waiting)
        self._answers = Answers(source, fetcher, clock, meter, self.volumes, self._remedies, self.memory)
        self._answered = self._answers.answered
        self._now = clock.monotonic()
        self._unix = clock.now()
        self._held_back_at = -math.inf
        self._stopping = False

    def mount(self, mount: Mount) -> None:
        """Use a volume; reopen one that was sick."""
        queue = self.volumes.mount(mount, self._clock.monotonic())
        if queue is not None and queue.writer is not None:
            self._fetcher.watch(queue.writer.wake_fd, lambda: self._answers.collect(queue))

    def unmount(self, unmount: Unmount) -> None:
        """Hand back what was not begun for a sick volume, and close it when nothing is in hand for it, until it is mounted again."""
        queue = self.volumes.queues.get(unmount.id)
        if queue is not None and queue.writer is not None:
            self.volumes.troubled(queue, Reason.VOLUME_SICK, "is left alone", self._clock.monotonic())
            if self.volumes.has_in_hand(unmount.id):
                return
            self._fetcher.unwatch(queue.writer.wake_fd)
            queue.writer.leave()
            queue.writer = None

    def try_out(self, name: str) -> None:
        """Find out whether an endpoint is back."""
        self._routing.try_out(self._endpoints[name])

    def has_probe(self, name: str) -> bool:
        """Whether there is an object to ask for that tells how an endpoint does."""
        return self._routing.has_probe(self._endpoints[name])

    def endpoints_changed(self) -> None:
        """Act on changed states of endpoints."""
        self._remedies.endpoints_changed()

    def assign(self, assignment: Assignment) -> None:
        """Take an assignment; its last outcome is sent when all its objects have ended."""
        queue = self.volumes.queues.get(assignment.volume)
        if queue is not None and queue.is_unopened:
            self.mount(queue.mount)
        self.volumes.assign(assignment, self._clock.monotonic(), self._stopping)

    def limit(self, concurrency: int | None) -> None:
        """Limit the transfers in flight, within the bound of the process."""
        limits = [limit for limit in (concurrency, self._bounds.in_flight) if limit is not None]
        self._concurrency = min(limits, default=None)

    def fill(self, now: float) -> None:
        """Start what the limiters, the memory's bound and the volumes allow: first objects in line, then new ones."""
        self._now, self._unix = now, self._clock.now()
        self._answers.begin_turn(now, self._unix)
        room = 0 if self.paused or self._stopping else self._room()
        self._waiting.line_up_caught_up()
        for endpoint in self._order:
            if endpoint.hosts is not None and endpoint.held_back:
                self._line_up_held_back(endpoint, endpoint.hosts)
            if endpoint.open(now) and endpoint.waiting and not self._tries_fresh(endpoint):
                room = self._start_waiting(endpoint, room)
        # While the first endpoint is full, nobody searches among its objects for those of another one.
        first = self._routing.first()
        if room > 0 and (first.free > 0 or first.open(now)):
            self._start_fresh(room, first)

    def _tries_fresh(self, endpoint: Endpoint[Transfer]) -> bool:
        """Tell whether to try an endpoint that is down with a new object: those that failed there may be to blame."""
        return endpoint.trials > 0 and endpoint.is_fresh_trial and self.volumes.unstarted() > 0

    def _start_waiting(self, endpoint: Endpoint[Transfer], room: int) -> int:
        memory = self.memory
        while (
            room > 0
            and memory.held < memory.most
            and endpoint.waiting
            and (endpoint.free > 0 or endpoint.open(self._now))
        ):
            transfer = self._waiting.next(endpoint)
            if transfer is not None:
                room -= self._start(transfer, endpoint)
        return room

    def _start_fresh(self, room: int, first: Endpoint[Transfer]) -> None:
        bounds, now, is_crowded = self._bounds, self._now, False
        memory = self.memory
        while room > 0 and memory.held < memory.most and not is_crowded:
            run = self.volumes.take(min(room, RUN, max(first.free, 1)), bounds.queued)
            if run is None:
                return
            for transfer in self._transfers(*run):
                endpoint = transfer.endpoint
                if memory.held < memory.most and (endpoint.free > 0 or endpoint.open(now)):
                    held_back = endpoint.held_back
                    room -= self._start(transfer, endpoint)
                    is_crowded |= endpoint.held_back > held_back and self._is_crowded(endpoint)
                else:
                    endpoint.waiting.append(transfer)
                    most = bounds.parked if endpoint.is_up else bounds.stranded
                    is_crowded |= endpoint is first or len(endpoint.waiting) >= most

    def _room(self) -> int:
        if self._concurrency is None:
            return 1 << 30
        return self._concurrency - sum(endpoint.in_flight for endpoint in self._order)

    def _transfers(self, queue: VolumeQueue, batch: BatchProgress, run: list[Item]) -> Iterator[Transfer]:
        routes_of, endpoints, claims = self._source.routes, self._endpoints, batch.claims
        for progress, index, name, size, mtime in run:
            part = progress.part
            directory, versions, urls = part.directory, part.versions, part.urls
            try:
                routes = routes_of(directory, name, size)
            except AnswerError as error:
                self._meter.failures[error.reason] += 1
                batch.fail(progress, index, error.reason, 0, 0, error.detail)
                self.volumes.report(batch)
                continue
            version, url = versions[index] if versions else "", urls[index] if urls else ""
            first = endpoints[routes[0]]
            transfer = Transfer(
                directory, name, size, mtime, version, url, queue, batch, progress, index, routes, first
            )
            if first.refused_groups.known or not (first.is_up or first.trials):
                self._routing.choose(transfer)
            if claims:
                transfer.claim = claims.get((directory, name), b"")
            yield transfer

    def _start(self, transfer: Transfer, endpoint: Endpoint[Transfer]) -> int:
        """Send an object's request; return how many transfers that made."""
        if transfer.queue.trouble is not None:
            self._remedies.displace(transfer)
            return 0
        if endpoint.hosts is not None and not self._may_ask_host(transfer, endpoint.hosts):
            return 0
        if transfer.is_large or transfer.size > self._bounds.streamed:
            return self._start_large(transfer, endpoint)
        transfer.tries += 1
        transfer.asked += 1
        memory = self.memory
        transfer.held = held = int(transfer.size * memory.share)
        memory.held += held
        request = self._source.object_request(transfer, endpoint.name, endpoint.target.site, self._unix)
        transfer.target = target = endpoint.start(self._now, request.url)
        if transfer.claim:
            request = _unless_claimed(request, transfer)
        self._fetcher.submit(
            target.to(request) if target.address else request, partial(self._answered, transfer)
        )
        return 1

    def _may_ask_host(self, transfer: Transfer, hosts: Hosts) -> bool:
        """Tell whether an object's own host may be asked now; if not it waits for the host, is deferred, or given up."""
        endpoint, now, is_last = transfer.endpoint, self._now, next_try(transfer.batch.passes) is None
        url = transfer.url or self._source.object_request(transfer, endpoint.name, "", self._unix).url
        trouble = None
        if endpoint.is_up:
            trouble = hosts.trouble(url, now, is_last)
        elif not is_last:
            is_tried = transfer.target.site != "" and self.volumes.unstarted() > 0
            trouble = endpoint.trouble if hosts.makes_way(url, now, is_tried) else None
        host = hosts.host(url)
        if trouble is None:
            if is_last or host.room(now) > 0:  # in the last pass nothing is behind it
                return True
            if not hosts.is_passed_over(host, now, endpoint.is_up, self._is_crowded(endpoint)):
                self._waiting.hold_back(transfer, host)
                return False
            trouble = hosts.pass_over(host, now)
        self._remedies.host_left_alone(transfer, *trouble)
        return False

    def _is_crowded(self, endpoint: Endpoint[Transfer]) -> bool:
        """Tell whether no more objects may wait for their hosts."""
        return endpoint.held_back >= self._bounds.stranded

    def _line_up_held_back(self, endpoint: Endpoint[Transfer], hosts: Hosts) -> None:
        """Go through those that wait for their hosts, where there is news of these, or now and then."""
        if hosts.has_news or self._now - self._held_back_at >= LOOK_SECONDS:
            hosts.has_news, self._held_back_at = False, self._now
            self._waiting.line_up_held_back(hosts, self._now, self._is_crowded(endpoint))

    def _start_large(self, transfer: Transfer, endpoint: Endpoint[Transfer]) -> int:
        if transfer.large is None and not self._open_large(transfer):
            return 0
        large = transfer.large
        assert large is not None
        if large.is_behind:
            self._remedies.line_up(transfer, CATCH_UP_SECONDS)
            return 0
        transfer.tries += 1
        transfer.asked += 1
        transfer.held = STREAM_BYTES
        self.memory.held += STREAM_BYTES
        large.begin()
        request = self._source.object_request(
            transfer, endpoint.name, endpoint.target.site, self._unix, large.began, large.version
        )
        transfer.target = target = endpoint.start(self._now, request.url)
        if transfer.claim and not large.began:
            request = _unless_claimed(request, transfer)
        request = msgspec.structs.replace(target.to(request), max_bytes=large.most)
        answers = self._answers
        self._fetcher.submit(
            request, partial(answers.streamed, transfer), large.take, partial(answers.begun, transfer)
        )
        return 1

    def _open_large(self, transfer: Transfer) -> bool:
        queue, size = transfer.queue, transfer.size
        assert queue.writer is not None
        hashed = queue.compares and queue.states_md5
        try:
            stream = queue.writer.stream(transfer.directory, transfer.name, size, transfer.mtime, hashed)
        except VolumeError as error:
            transfer.tries += 1
            self._remedies.unwritten(transfer, error.reason, error.detail)
            return False
        transfer.large = LargeObject(
            stream,
            queue.writer,
            self._meter,
            self._bounds.queued,
            most_bytes(size),
            lambda paused: self._paused(transfer, paused),
        )
        return True

    def _paused(self, transfer: Transfer, is_paused: bool) -> None:
        """Give the slot and the memory of a transfer to others while it waits for its disk."""
        transfer.endpoint.paused(transfer.target, is_paused)
        held = PAUSED_BYTES if is_paused else STREAM_BYTES
        self.memory.held += held - transfer.held
        transfer.held = held

    def unstarted(self) -> int:
        """Return how many objects wait for a slot."""
        return self.volumes.unstarted() + len(self._waiting)

    def delay(self, now: float) -> float:
        """Return in how many seconds an object that waits may be asked for; `math.inf` where none waits, or as `Endpoint.delay`."""
        has_room = self._room() > 0 and self.memory.held < self.memory.most
        return self._routing.first().delay(now) if has_room and self.unstarted() else math.inf

    # --- the end

    def stop(self) -> None:
        """Begin nothing more, and hand back what is not in transfer."""
        self._stopping = True
        self.volumes.stop()
        self._remedies.stop()

    def abandon(self) -> None:
        """Hand back everything that has not ended, after all transfers were abandoned and the writers have finished."""
        for queue in self.volumes.queues.values():
            if queue.writer is not None:
                queue.writer.close()
                self._answers.collect(queue)
        self.volumes.hand_back_all()


def _unless_claimed(request: Request, transfer: Transfer) -> Request:
    """Ask for an object unless its MD5 is that of the file: ETags are MD5s where the source states any (RFC 9110, 13.1.2)."""
    condition = f'If-None-Match: "{transfer.claim.hex()}"'
    return msgspec.structs.replace(request, headers=(*request.headers, condition))
