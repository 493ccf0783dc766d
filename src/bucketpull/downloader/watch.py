"""What a process reports of its endpoints, and what it does when the machine has judged them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bucketpull.domain.endpoints import State, Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import Judged, Paces
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.hosts import Host, Hosts
from bucketpull.downloader.scans import Scans
from bucketpull.downloader.targets import Target
from bucketpull.downloader.transfer import Transfer
from bucketpull.downloader.transfers import Transfers

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Fetcher

RESOLVE_SECONDS: Final = 300.0


class Watch:
    """The endpoints of one process, as its machine sees them; `transfers` is None where nothing is fetched."""

    def __init__(
        self,
        listing: Endpoint[Any],
        fetching: dict[str, Endpoint[Transfer]],
        fetcher: Fetcher,
        scans: Scans,
        transfers: Transfers | None,
        clock: Clock,
    ) -> None:
        self._listing = listing
        self._fetching = fetching
        self._fetcher = fetcher
        self._scans = scans
        self._transfers = transfers
        self._clock = clock

    def resolve(self) -> None:
        """Find out all addresses of the endpoints' names, now and then anew."""
        for endpoint in self._endpoints():
            for site in endpoint.spec.sites:
                self._fetcher.resolve(site, partial(endpoint.targets.resolved, site))
        self._fetcher.call_later(RESOLVE_SECONDS, self.resolve)

    def _endpoints(self) -> list[Endpoint[Any]]:
        return [self._listing, *self._fetching.values()]

    def symptoms(self) -> dict[str, Symptoms]:
        """Return what there is to report, by endpoint."""
        found = {self._listing.name: self._symptoms(self._listing, False, False)}
        if self._transfers is not None:
            fresh = self._transfers.volumes.unstarted() > 0
            for name, endpoint in self._fetching.items():
                found[name] = self._symptoms(endpoint, fresh, self._transfers.has_probe(name))
        return found

    def _symptoms(self, endpoint: Endpoint[Any], has_fresh: bool, has_probe: bool) -> Symptoms:
        now = self._clock.monotonic()
        silent = [
            (target, *self._fetcher.waits(target.site, target.address))
            for target in endpoint.targets
            if target.limiter.in_flight
        ]
        if endpoint.hosts is None:
            self._leave(endpoint.targets.silent([(target, seconds) for target, seconds, _ in silent]), now)
        else:
            self._resolve_some(endpoint.hosts, now)
            self._leave(endpoint.hosts.silent(now, endpoint.target.limiter.trip), now)
            endpoint.set_aside([host for host in endpoint.hosts.unheard(now) if self._is_mute(host, now)])
        seconds = min((seconds for _, seconds, _ in silent), default=0.0)
        waiting = sum(waiting for _, _, waiting in silent) if seconds else 0
        has_work = has_fresh or has_probe or endpoint.has_waiting
        return endpoint.symptoms(now, seconds, waiting, has_work, has_probe)

    def _leave(self, silent: Iterable[tuple[Target, float]], now: float) -> None:
        """Leave silent targets alone, and wait for nothing that has had no answer from them."""
        for target, seconds in silent:
            _, waiting = self._fetcher.waits(target.site, target.address)
            if waiting:
                target.leave(now, Reason.TIMEOUT, f"no answer for {seconds:.0f} s")
                self._fetcher.abandon(target.site, Reason.TIMEOUT, target.detail, target.address)

    def _is_mute(self, host: Host, now: float) -> bool:
        """Find out whether no answer of a host has begun."""
        if not host.is_mute and not self._fetcher.waits(host.site)[1]:
            host.hear(now)
            return False
        host.is_mute = True
        return True

    def _resolve_some(self, hosts: Hosts, now: float) -> None:
        for site in hosts.unresolved(now):
            self._fetcher.resolve(site, partial(hosts.resolved, site))

    def pace(self, told: Paces) -> None:
        """Go on at the machine's pace."""
        now = self._clock.monotonic()
        for endpoint in self._endpoints():
            paces = told.paces.get(endpoint.name, {})
            for target in endpoint.targets if paces else ():
                if target.label in paces:
                    target.limiter.lead(now, paces[target.label])

    @property
    def is_paced(self) -> bool:
        """Whether an endpoint refused more than a number: then the machine is to hear soon what came of the pace."""
        return any(
            target.limiter.ceiling is not None
            for endpoint in self._endpoints()
            for target in endpoint.targets
        )

    def follow(self, judged: Judged) -> None:
        """Act on the machine's judgement."""
        now = self._clock.monotonic()
        well = {name for name in self._fetching if judged.states.get(name, State.UP) is State.UP}
        for endpoint in self._endpoints():
            state = judged.states.get(endpoint.name, State.UP)
            others = endpoint.name in self._fetching and bool(well - {endpoint.name})
            endpoint.set_state(state, state is State.UP or (state is State.SLOW and not others), now)
            endpoint.targets.rest(now, judged.rests.get(endpoint.name, 0.0))
            if endpoint.name in judged.cleared:
                endpoint.trust(now)
        if self._transfers is not None:
            self._transfers.endpoints_changed()
        for name in judged.tries:
            if self._transfers is not None and name in self._fetching:
                self._transfers.try_out(name)
            else:
                self._scans.try_out()
