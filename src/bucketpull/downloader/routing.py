"""Where an object is asked for: at the first endpoint that is well, of those that may have it and have not denied it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from bucketpull.domain.endpoints import REFUSALS, SYMPTOMS, THROTTLES, State
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Response, Verdict, Wanted
from bucketpull.downloader.endpoint import HOPELESS_SECONDS, Endpoint
from bucketpull.downloader.targets import Target
from bucketpull.downloader.transfer import Transfer

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Fetcher, Source

PROBE_BYTES = 1 << 20  # of a larger object its last byte is asked for, and the whole is not waited for
PROBE_AGAIN_SECONDS = 1.0  # until a probe that was throttled is asked for again
TRIALS = 8  # at once, where nothing else is to be had and nothing proves an endpoint well
HOSTS_TRIALS = 64  # the same where objects are of many hosts, of which some may be well


class Blame(Enum):
    """What is at fault for an answer that was not the wanted one; OPEN until a probe has told."""

    OBJECT = 0
    ENDPOINT = 1
    OPEN = 2


Decided = Callable[[Transfer, Verdict, Blame], None]


class Routing:
    """The endpoints of one process, and what is done about those in trouble."""

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        endpoints: Mapping[str, Endpoint[Transfer]],
        clock: Clock,
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._endpoints = endpoints
        self._order = tuple(endpoints.values())
        self._clock = clock
        self._awaiting_probe: dict[str, list[tuple[Transfer, Verdict, Decided]]] = {}

    def first(self) -> Endpoint[Transfer]:
        """Return the endpoint that most objects go to now."""
        first = self._order[0]
        if first.is_up or first.trials:
            return first
        return next((endpoint for endpoint in self._order if endpoint.is_up), first)

    def choose(self, transfer: Transfer) -> None:
        """Choose where to ask for an object next; if no endpoint is well, leave it where it waits."""
        endpoints, routes, at = self._endpoints, transfer.routes, transfer.least
        now = self._clock.monotonic()
        while at < len(routes) and not endpoints[routes[at]].gives(transfer, now):
            at += 1
        if at < len(routes) and at != transfer.at:
            self._move(transfer, at)

    def go_on(self, transfer: Transfer) -> None:
        """Ask only elsewhere from now on: this endpoint does not have the object."""
        transfer.least = transfer.at + 1
        self._move(transfer, transfer.least)
        self.choose(transfer)

    def _move(self, transfer: Transfer, at: int) -> None:
        transfer.at, transfer.tries = at, 0
        transfer.endpoint = self._endpoints[transfer.routes[at]]
        if transfer.large is not None:
            transfer.large.restart()

    def blame(self, transfer: Transfer, verdict: Verdict, decided: Decided) -> Blame:
        """Note a bad answer, and decide whether the endpoint or the object is to blame.

        If a probe is to tell, `decided` is called with the object when it has.
        """
        endpoint, now = transfer.endpoint, self._clock.monotonic()
        reason = transfer.target.read(verdict.reason)
        assert reason is not None
        if endpoint.ways.is_of_target(transfer.target, now):
            return Blame.ENDPOINT
        if reason in REFUSALS and self.note_refusal(transfer):
            return Blame.OBJECT
        key = (transfer.directory, transfer.name)
        is_suspect = endpoint.failed(key, reason, verdict.detail, now, verdict.retry_after_seconds)
        is_doubtful = endpoint.is_doubtful(reason) and not self._is_own_probe(endpoint, transfer)
        if not is_suspect and not is_doubtful:
            return Blame.OBJECT
        if endpoint.is_up and self._probe(endpoint):
            self._awaiting_probe.setdefault(endpoint.name, []).append((transfer, verdict, decided))
            return Blame.OPEN
        if is_doubtful and not endpoint.was_good:
            endpoint.probe_failed(reason)  # there is no probe, as after a restart in an outage
            is_suspect = True
        return Blame.ENDPOINT if is_suspect else Blame.OBJECT

    def note_refusal(self, transfer: Transfer) -> bool:
        """Note that an endpoint did not give an object which another may have; tell whether it gives none of its group, though others come."""
        return transfer.at + 1 < len(transfer.routes) and transfer.endpoint.note_refusal(
            transfer, self._clock.monotonic()
        )

    def _probe(self, endpoint: Endpoint[Transfer]) -> bool:
        """Probe an endpoint with an object that it gave before; tell whether there is one."""
        probe = self._probe_for(endpoint)
        if probe is None:
            return False
        if not endpoint.is_tried:
            endpoint.is_tried = True
            self._ask_for(endpoint, probe)
            self._fetcher.call_later(HOPELESS_SECONDS, lambda: self._decide(endpoint, Blame.ENDPOINT))
        return True

    def _ask_for(self, endpoint: Endpoint[Transfer], probe: Wanted) -> None:
        target, start = endpoint.targets.in_turn(), _start_of(probe)
        request = self._source.object_request(probe, endpoint.name, target.site, self._clock.now(), start)
        request = msgspec.structs.replace(request, max_bytes=PROBE_BYTES)
        if endpoint.hosts is not None:
            target = endpoint.hosts.choose(request.url, self._clock.monotonic())
        self._fetcher.submit(
            target.to(request),
            lambda response: self._probe_answered(endpoint, probe, target, response),
        )

    def has_probe(self, endpoint: Endpoint[Transfer]) -> bool:
        """Whether there is an object to ask for that tells how an endpoint does."""
        return self._probe_for(endpoint) is not None

    def _probe_for(self, endpoint: Endpoint[Transfer]) -> Wanted | None:
        """Return an object that an endpoint must have: it gave it before, or another endpoint of the same origin did."""
        if endpoint.probe is not None:
            return endpoint.probe
        for other in self._order:
            wanted = other.probe
            if wanted is not None and endpoint.name in self._source.routes(
                wanted.directory, wanted.name, wanted.size
            ):
                return wanted
        return None

    def _is_own_probe(self, endpoint: Endpoint[Transfer], wanted: Wanted) -> bool:
        """Tell whether the only probe is this object itself, given by another endpoint: it proves nothing."""
        probe = self._probe_for(endpoint) if endpoint.probe is None else None
        return probe is not None and (probe.directory, probe.name) == (wanted.directory, wanted.name)

    def _probe_answered(
        self, endpoint: Endpoint[Transfer], probe: Wanted, target: Target, response: Response
    ) -> None:
        verdict = self._source.judge(probe, endpoint.name, response, self._clock.now(), _start_of(probe))
        reason = None if _is_large(response) else target.read(verdict.reason)
        if reason in THROTTLES and endpoint.name in self._awaiting_probe:
            self._fetcher.call_later(PROBE_AGAIN_SECONDS, lambda: self._ask_for(endpoint, probe))
            return  # it says nothing of the others
        endpoint.is_tried = False
        is_well = reason is None or reason is Reason.GONE
        if is_well:
            endpoint.probe_came(self._clock.monotonic(), response.seconds, target.site)
        elif reason is not None:
            endpoint.probe_failed(reason)
        self._decide(endpoint, Blame.OBJECT if is_well else Blame.ENDPOINT)
        if reason is not None and (reason is Reason.MISSING or reason not in SYMPTOMS):
            endpoint.probe = None  # it may have been deleted, or changed: it tells nothing any more
            endpoint.is_attentive = True

    def _decide(self, endpoint: Endpoint[Transfer], blame: Blame) -> None:
        for transfer, verdict, decided in self._awaiting_probe.pop(endpoint.name, []):
            decided(transfer, verdict, blame)

    def clear(self) -> list[Transfer]:
        """Remove and return those that wait for a probe."""
        awaiting = [transfer for waiting in self._awaiting_probe.values() for transfer, *_ in waiting]
        self._awaiting_probe.clear()
        return awaiting

    def try_out(self, endpoint: Endpoint[Transfer]) -> None:
        """Find out whether an endpoint is back: by its probe, or by some of the objects that wait. Of many hosts one proves nothing."""
        hosts = endpoint.hosts
        looks_further = hosts is not None and (
            hosts.is_unproven or hosts.looks_further(self._clock.monotonic())
        )
        if not self._probe(endpoint) or looks_further:
            most = HOSTS_TRIALS if looks_further else TRIALS
            endpoint.trials = most if endpoint.has_waiting else 1
            endpoint.is_fresh_trial = not endpoint.is_fresh_trial
        self._fetcher.call_later(HOPELESS_SECONDS, lambda: endpoint.give_up(self._fetcher))

    def is_hopeless(self, transfer: Transfer) -> bool:
        """Tell whether one endpoint does not have an object, and the next refuses everything."""
        return transfer.least > 0 and transfer.endpoint.refuses

    def reroute(self) -> list[Transfer]:
        """Move objects that wait to endpoints that are well; return those that no endpoint can give.

        Answers that will not come are not waited for any longer.
        """
        hopeless: list[Transfer] = []
        for endpoint in self._order:
            waiting, endpoint.waiting = endpoint.waiting, deque()
            for transfer in waiting:
                self.choose(transfer)
                line = hopeless if self.is_hopeless(transfer) else transfer.endpoint.waiting
                line.append(transfer)
        for endpoint in self._order:
            if endpoint.state is State.DOWN:
                endpoint.give_up(self._fetcher)
        return hopeless


def _start_of(probe: Wanted) -> int:
    """Return from which byte on a probe is asked for."""
    return probe.size - 1 if probe.size > PROBE_BYTES else 0


def _is_large(response: Response) -> bool:
    """Tell whether a large object is there, though not in parts, or not as long as listed (416): an image version seldom is."""
    return response.status == 416 or (response.failure is Reason.SIZE and response.status in {200, 206})
