"""What a process reports of its endpoints, and what it does when the machine has judged them."""

from typing import Any

from bucketpull.domain.endpoints import State, Symptoms
from bucketpull.domain.record import Judged
from bucketpull.downloader.drain import Drain
from bucketpull.downloader.endpoint import Endpoint
from bucketpull.downloader.scan import Scan
from bucketpull.downloader.transfer import Transfer
from bucketpull.ports import Clock, Fetcher


class Watch:
    """The endpoints of one process, as its machine sees them; `drain` is None where nothing is fetched."""

    def __init__(
        self,
        listing: Endpoint[Any],
        fetching: dict[str, Endpoint[Transfer]],
        fetcher: Fetcher,
        scan: Scan,
        drain: Drain | None,
        clock: Clock,
    ) -> None:
        self._listing = listing
        self._fetching = fetching
        self._fetcher = fetcher
        self._scan = scan
        self._drain = drain
        self._clock = clock

    def symptoms(self) -> dict[str, Symptoms]:
        """Return what there is to report, by endpoint."""
        fresh = self._drain is not None and self._drain.volumes.unstarted() > 0
        found = {
            name: self._symptoms(endpoint, fresh or endpoint.witness is not None)
            for name, endpoint in self._fetching.items()
        }
        found[self._listing.name] = self._symptoms(self._listing, False)
        return found

    def _symptoms(self, endpoint: Endpoint[Any], could_ask: bool) -> Symptoms:
        seconds, waiting = 0.0, 0
        if endpoint.limiter.in_flight:
            seconds, waiting = self._fetcher.waits(endpoint.site)
        has_work = could_ask or bool(endpoint.waiting)
        return endpoint.symptoms(self._clock.monotonic(), seconds, waiting, has_work)

    def heed(self, judged: Judged) -> None:
        """Act on the machine's judgement."""
        now = self._clock.monotonic()
        well = {name for name in self._fetching if judged.states.get(name, State.UP) is State.UP}
        endpoints: list[Endpoint[Any]] = [self._listing, *self._fetching.values()]
        for endpoint in endpoints:
            state = judged.states.get(endpoint.name, State.UP)
            others = endpoint.name in self._fetching and bool(well - {endpoint.name})
            endpoint.turn(state, state is State.UP or (state is State.SLOW and not others))
            endpoint.limiter.rest(now, judged.rests.get(endpoint.name, 0.0))
            if endpoint.name in judged.innocent:
                endpoint.presume_innocent(now)
        if self._drain is not None:
            self._drain.turned()
        for name in judged.tries:
            if self._drain is not None and name in self._fetching:
                self._drain.try_out(name)
            else:
                self._scan.try_out()
