"""The hosts of objects that bring their own URLs, each with its targets: all addresses of its name are used, by what each bears.

The endpoint limits how many requests are in flight; where each goes is chosen here. A host that sends nothing while others answer
is left alone, except for a request now and then: its objects are put off, and hold up no others.
One that never sent anything gets few requests, which soon hold no places: whether others send something is seen meanwhile.
"""

import math
from collections.abc import Iterator
from typing import Final

from bucketpull.domain.endpoints import OUTAGE, THROTTLES
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Verdict
from bucketpull.domain.pacing import Limiter
from bucketpull.downloader.targets import SILENT_SECONDS, SILENT_TRIPS, Target, Targets

MOST_HOSTS: Final = 1024  # that are known at once; what was learnt of the one known longest is forgotten
RESOLVED_FROM: Final = 16  # requests on: of a list of a million hosts nobody asks for a million names
RESOLVE_SECONDS: Final = 300.0
MOST_NAMES: Final = 8  # that are asked for at a time
MOST_TOLD: Final = 16
WELL_SECONDS: Final = 60.0  # so long ago another host answered, and it is not the network that fails
# As `SILENT_SECONDS`, for a host that never answered: some need long for each answer.
UNHEARD_SECONDS: Final = 8.0
GIVEN_UP_SECONDS: Final = 60.0  # in the last pass objects are asked for even so, as long as that
UNHEARD_AT_ONCE: Final = 2  # requests to a host that never answered
LOOK_SECONDS: Final = 2.0  # between requests to one that is left alone, while nothing comes from another
MUTE_SECONDS: Final = 1.0  # without an answer of such hosts, and their requests hold no places
MOST_ASIDE: Final = 256  # requests that hold no places
AT_ONCE: Final = 8  # requests to a host from which nothing comes, while nothing comes from any
# An outage of all hosts is waited for so long, and then too, but for so many objects a process: others may be behind them.
WAITED_SECONDS: Final = 600.0
MOST_MADE_WAY: Final = 4096
MADE_WAY_PER_SECOND: Final = 200.0  # beside these, as long as nothing ever came from any host
_UNLIMITED: Final = 1 << 20


class Host:
    """One host; `site` is what its URLs begin with. Times are monotonic seconds."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.targets = Targets((site,), Limiter(fixed=_UNLIMITED))
        self.requests = 0
        self.resolved_at = -math.inf
        self.is_mute = False
        """Whether its first requests have no answer, and hold no places."""

    def best(self, now: float) -> Target:
        """Return where a request goes that starts now."""
        targets = self.targets
        if not targets.is_plural:
            return targets.all[0]
        listed = targets.listed()
        well = [target for target in listed if not target.is_away]
        return targets.choose(now) or min(well or listed, key=Target.cost)

    def is_closed(self, now: float) -> bool:
        """Tell whether it is left alone as a whole, and it is not yet time for a look."""
        return all(target.is_away and not target.may_start(now) for target in self.targets.listed())

    @property
    def latest(self) -> Target:
        """The target that was left alone last."""
        return max(self.targets.listed(), key=lambda target: target.since)

    def trouble(self, now: float) -> tuple[Reason, str]:
        """Return why its objects are put off."""
        latest = self.latest
        if latest.reason is None:
            return Reason.TIMEOUT, f"{latest.label}: no answer for {self.quiet_seconds(now):.0f} s"
        return latest.reason, f"{latest.label} is left alone: {latest.detail}"

    def quiet_seconds(self, now: float) -> float:
        """Return for how long nothing has come of what is under way; 0 where nothing is."""
        busy = [target.quiet_since for target in self.targets if target.limiter.in_flight]
        return now - max(busy) if busy else 0.0

    def hear(self, now: float) -> None:
        """Note that an answer has begun."""
        for target in self.targets:
            target.quiet_since = now

    def is_out(self, now: float) -> bool:
        """Tell whether it does not answer, as far as can be seen."""
        return self.is_away or (self.is_mute and self.quiet_seconds(now) >= SILENT_SECONDS)

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return sum(target.limiter.in_flight for target in self.targets)

    @property
    def was_good(self) -> bool:
        """Whether it ever gave something."""
        return any(target.was_good for target in self.targets)

    @property
    def is_away(self) -> bool:
        """Whether it is left alone."""
        return all(target.is_away for target in self.targets.listed())

    def room(self, now: float) -> int:
        """Return how many requests may start now as far as this host goes: few where nothing ever came."""
        if self.was_good:
            return _UNLIMITED
        if not self.is_away:
            return max(0, UNHEARD_AT_ONCE - self.in_flight)
        latest = max(target.answered_at for target in self.targets)
        return int(not self.in_flight and now - latest >= LOOK_SECONDS)


class Hosts:
    """All hosts of one endpoint of one process."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._well = self._other_well = ("", -math.inf)
        self._fruitful_at = math.inf  # when something came last, or the first request began
        self._made_way = 0
        self.has_news = False
        """Whether hosts that never gave anything may be asked for more, or now did."""
        self._names: set[str] = set()

    def choose(self, url: str, now: float) -> Target:
        """Return the target for an object's URL."""
        return self.host(url).best(now)

    def trouble(self, url: str, now: float, is_last: bool) -> tuple[Reason, str] | None:
        """Return why nothing is asked of a URL's host now; None if it is. `is_last`: there is no later pass."""
        host = self.host(url)
        if not host.targets.all[-1].is_away or not host.is_closed(now) or not self._has_well(host.site, now):
            return None
        if is_last and now - host.latest.since < GIVEN_UP_SECONDS:
            return None
        return host.trouble(now)

    def looks_further(self, now: float) -> bool:
        """Tell whether nothing came from any host for so long that those of objects further on are looked for."""
        return now - self._fruitful_at >= WAITED_SECONDS and self._made_way < MOST_MADE_WAY

    def makes_way(self, url: str, now: float, is_tried: bool) -> bool:
        """Tell whether an object makes way for those of other hosts, while nothing comes from any: these may be dead, and others not.

        `is_tried`: it was asked for, and there are some that were not.
        """
        if not self.looks_further(now):
            return False
        host = self.host(url)
        makes_way = is_tried or (host.in_flight >= AT_ONCE and host.is_away)
        self._made_way += makes_way
        return makes_way

    def is_passed_over(self, host: Host, now: float, is_up: bool, is_crowded: bool) -> bool:
        """Tell whether objects of a host from which nothing ever came make way for others: these come (`is_up`), or there are too many to wait."""
        if host.was_good or not host.is_out(now):
            return False
        if is_up and self._has_well(host.site, now):
            return True
        if not is_crowded or any(target.throttles for target in host.targets):
            return False  # one that refuses what is too much does answer
        seconds = max(0.0, now - self._fruitful_at) if self.is_unproven else 0.0
        return self._made_way < MOST_MADE_WAY + MADE_WAY_PER_SECOND * seconds

    @property
    def is_unproven(self) -> bool:
        """Whether nothing ever came from any."""
        return self._well[1] == -math.inf

    def pass_over(self, host: Host, now: float) -> tuple[Reason, str]:
        """Have an object make way; return why."""
        self._made_way += not self._has_well(host.site, now)
        return host.trouble(now)

    def host(self, url: str) -> Host:
        """Return the host of a URL."""
        site = url[: url.find("/", 8)]
        host = self._hosts.get(site)
        if host is None:
            if len(self._hosts) >= MOST_HOSTS:
                del self._hosts[next(iter(self._hosts))]
            host = self._hosts[site] = Host(site)
        return host

    def start(self, url: str, now: float) -> Target:
        """Count a request that starts; return where it goes."""
        host = self.host(url)
        self._fruitful_at = min(self._fruitful_at, now)
        host.requests += 1
        if host.requests >= RESOLVED_FROM and now - host.resolved_at >= RESOLVE_SECONDS:
            self._names.add(host.site)
        target = host.best(now)
        if not target.limiter.in_flight:
            target.quiet_since = now
        target.limiter.started(now)
        return target

    def finished(
        self, target: Target, now: float, verdict: Verdict, seconds: float, received: int, is_retry: bool
    ) -> Reason | None:
        """Count an answer; return what it says of all hosts together: what is one's own trouble says nothing of the others."""
        reason = target.read(verdict.reason)
        is_unheard = not target.was_good
        self.has_news |= is_unheard
        target.limiter.finished(now, reason, seconds, received, verdict.retry_after_seconds, is_retry)
        if reason is None or reason in OUTAGE or target.has_siblings:
            target.finished(now, reason, seconds, verdict.detail)
        if reason not in OUTAGE:
            target.quiet_since = now
            self._note_well(target.site, now)
        if (reason in OUTAGE and (is_unheard or self.is_of_target(target, now))) or (
            reason in THROTTLES and target.has_easy(now)
        ):
            return Reason.INTERRUPTED
        return reason

    def _note_well(self, site: str, now: float) -> None:
        self._fruitful_at, self._made_way = now, 0
        if self._well[0] != site:
            self._other_well = self._well
        self._well = (site, now)

    def _has_well(self, site: str, now: float) -> bool:
        return any(other != site and now - at < WELL_SECONDS for other, at in (self._well, self._other_well))

    def is_of_target(self, target: Target, now: float) -> bool:
        """Tell whether a host, or one of its addresses, is to blame for what just failed: it is left alone, and others are well."""
        return target.is_away and self._has_other(target, now)

    def _has_other(self, target: Target, now: float) -> bool:
        return bool(target.others) or self._has_well(target.site, now)

    def probe_came(self, site: str, now: float) -> None:
        """Note that a site answered a look at it, and with it the network, whatever others do: it is not left alone."""
        self._note_well(site, now)
        host = self._hosts.get(site)
        if host is not None and not host.targets.is_plural:
            host.targets.forgive()
            host.targets.all[0].reason = None

    def forgive(self) -> None:
        """Use all as before."""
        for host in self._hosts.values():
            host.targets.forgive()

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
            self._hosts[site].targets.resolved(site, addresses)

    def silent(self, now: float, usual_seconds: float) -> list[tuple[Target, float]]:
        """Return the targets from which nothing whole has come for much longer than usual, while others answer, and for how long."""
        found = []
        for target in self._busy():
            seconds = now - target.quiet_since
            least = SILENT_SECONDS if target.was_good or target.address else UNHEARD_SECONDS
            bar = max(least, SILENT_TRIPS * (target.limiter.trip or usual_seconds))
            if seconds >= bar and self._has_other(target, now):
                found.append((target, seconds))
        return found

    def unheard(self, now: float) -> list[Host]:
        """Return the hosts that never gave anything, or are left alone, from which nothing has come for a while though they are asked."""
        return [
            host
            for host in self._hosts.values()
            if (host.is_away or not host.was_good) and host.quiet_seconds(now) >= MUTE_SECONDS
        ]

    def _busy(self) -> Iterator[Target]:
        for host in self._hosts.values():
            for target in host.targets:
                if target.limiter.in_flight and not target.is_away:
                    yield target

    def away(self, now: float) -> dict[str, str]:
        """Return what is to be told of those that are left alone."""
        found: dict[str, str] = {}
        for host in self._hosts.values():
            found |= host.targets.away(now)
            if len(found) >= MOST_TOLD:
                break
        return found
