"""The hosts of objects that bring their own URLs, each with the ways to it: all addresses of its name are used, by what each bears.

How many requests are under way is the endpoint's to limit; here it is chosen where each goes. A host of which nothing comes, while
others answer, is left alone but for a look now and then: its objects are put off, and hold up nobody else's.
"""

import math
from collections.abc import Iterator
from typing import Final

from bucketpull.domain.endpoints import OUTAGE, THROTTLES
from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Verdict
from bucketpull.domain.pacing import Limiter
from bucketpull.downloader.ways import SILENT_SECONDS, SILENT_TRIPS, Way, Ways

MOST_HOSTS: Final = 1024  # that are known at once; what was learnt of the one known longest is forgotten
RESOLVED_FROM: Final = 16  # requests on: of a list of a million hosts nobody asks for a million names
RESOLVE_SECONDS: Final = 300.0
MOST_NAMES: Final = 8  # that are asked for at a time
MOST_TOLD: Final = 16
WELL_SECONDS: Final = 60.0  # so long ago another host answered, and it is not the network that fails
UNHEARD_SECONDS: Final = (
    8.0  # as `SILENT_SECONDS`, of a host from which nothing ever came: some think for long each time
)
GIVEN_UP_SECONDS: Final = 60.0  # in the last pass objects are asked for even so, as long as that
_UNLIMITED: Final = 1 << 20


class Host:
    """One host; `site` is what its URLs begin with. Times are monotonic seconds."""

    __slots__ = ("requests", "resolved_at", "site", "ways")

    def __init__(self, site: str) -> None:
        self.site = site
        self.ways = Ways((site,), Limiter(fixed=_UNLIMITED))
        self.requests = 0
        self.resolved_at = -math.inf

    def best(self, now: float) -> Way:
        """Return where a request goes that starts now."""
        ways = self.ways
        if not ways.is_plural:
            return ways.all[0]
        listed = ways.listed()
        well = [way for way in listed if not way.is_away]
        return ways.choose(now) or min(well or listed, key=Way.cost)

    def is_closed(self, now: float) -> bool:
        """Tell whether it is left alone as a whole, and it is not yet time for a look."""
        return all(way.is_away and not way.may_start(now) for way in self.ways.listed())


class Hosts:
    """All hosts of one endpoint of one process."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._well = self._other_well = ("", -math.inf)
        self._names: set[str] = set()

    def choose(self, url: str, now: float) -> Way:
        """Return the way for an object's URL."""
        return self._host(url, now).best(now)

    def trouble(self, url: str, now: float, is_last: bool) -> tuple[Reason, str] | None:
        """Return why nothing is asked of a URL's host now; None if it is. `is_last`: there is no later pass."""
        host = self._host(url, now)
        if not host.ways.all[-1].is_away or not host.is_closed(now) or not self._has_well(host.site, now):
            return None
        latest = max(host.ways.listed(), key=lambda way: way.since)
        if is_last and now - latest.since < GIVEN_UP_SECONDS:
            return None
        return Reason.CONNECT, f"{latest.label} is left alone: {latest.why}"

    def _host(self, url: str, now: float) -> Host:
        site = url[: url.find("/", 8)]
        host = self._hosts.get(site)
        if host is None:
            if len(self._hosts) >= MOST_HOSTS:
                del self._hosts[next(iter(self._hosts))]
            host = self._hosts[site] = Host(site)
        host.requests += 1
        if host.requests >= RESOLVED_FROM and now - host.resolved_at >= RESOLVE_SECONDS:
            self._names.add(site)
        return host

    def start(self, url: str, now: float) -> Way:
        """Count a request that starts; return the way that it goes."""
        way = self.choose(url, now)
        if not way.limiter.in_flight:
            way.quiet_since = now
        way.limiter.started(now)
        return way

    def finished(
        self, way: Way, now: float, verdict: Verdict, seconds: float, received: int
    ) -> Reason | None:
        """Count an answer; return what it says of all hosts together: what is one's own trouble says nothing of the others."""
        reason = verdict.reason
        way.limiter.finished(now, reason, seconds, received, verdict.retry_after_seconds)
        is_plural = self._is_plural(way)
        if reason is None or reason in OUTAGE or is_plural:
            way.finished(now, reason, seconds, verdict.detail)
        if reason not in OUTAGE:
            way.quiet_since = now
            self._note_well(way.site, now)
        if (reason in OUTAGE and self.is_of_way(way, now)) or (
            reason in THROTTLES and self.has_easy(way, now)
        ):
            return Reason.INTERRUPTED
        return reason

    def _is_plural(self, way: Way) -> bool:
        host = self._hosts.get(way.site)
        return host is not None and host.ways.is_plural

    def _note_well(self, site: str, now: float) -> None:
        if self._well[0] != site:
            self._other_well = self._well
        self._well = (site, now)

    def _has_well(self, site: str, now: float) -> bool:
        return any(other != site and now - at < WELL_SECONDS for other, at in (self._well, self._other_well))

    def is_of_way(self, way: Way, now: float) -> bool:
        """Tell whether a host, or one of its addresses, is to blame for what just failed: it is left alone, and others are well."""
        return way.is_away and self._has_other(way, now)

    def _has_other(self, way: Way, now: float) -> bool:
        host = self._hosts.get(way.site)
        return (host is not None and host.ways.has_other(way)) or self._has_well(way.site, now)

    def has_easy(self, way: Way, now: float) -> bool:
        """Tell whether the same host has another address that is well and has refused nothing for being too much."""
        host = self._hosts.get(way.site)
        return host is not None and host.ways.is_plural and host.ways.has_easy(way, now)

    def acquit(self, now: float) -> None:
        """Note that the network is well, whatever single hosts do."""
        self._note_well("", now)

    def forgive(self) -> None:
        """Use all as before."""
        for host in self._hosts.values():
            host.ways.forgive()

    # --- what is looked at now and then

    def unresolved(self, now: float) -> list[str]:
        """Return some sites whose addresses are to be found out, each once in a while."""
        sites = [self._names.pop() for _ in range(min(MOST_NAMES, len(self._names)))]
        for site in sites:
            if site in self._hosts:
                self._hosts[site].resolved_at = now
        return sites

    def resolved(self, site: str, addresses: list[str]) -> None:
        """Use all addresses of a site's name."""
        if site in self._hosts:
            self._hosts[site].ways.resolved(site, addresses)

    def silent(self, now: float, usual_seconds: float) -> list[tuple[Way, float]]:
        """Return the ways from which nothing whole has come for much longer than usual, while others answer, and for how long."""
        found = []
        for way in self._busy():
            seconds = now - way.quiet_since
            least = SILENT_SECONDS if way.was_good or way.address else UNHEARD_SECONDS
            bar = max(least, SILENT_TRIPS * (way.limiter.trip or usual_seconds))
            if seconds >= bar and self._has_other(way, now):
                found.append((way, seconds))
        return found

    def _busy(self) -> Iterator[Way]:
        for host in self._hosts.values():
            for way in host.ways:
                if way.limiter.in_flight and not way.is_away:
                    yield way

    def away(self, now: float) -> dict[str, str]:
        """Return what is to be told of those that are left alone."""
        found: dict[str, str] = {}
        for host in self._hosts.values():
            found |= host.ways.away(now)
            if len(found) >= MOST_TOLD:
                break
        return found
