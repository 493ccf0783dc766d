"""The ways to one endpoint: its URLs, and the addresses of their names. Each has a limiter, and a health of its own.

Requests go where answers come fastest; ways that are about as fast as each other share them. A way that answered slowly is asked again
every second, and believed if it is quick now. One that fails for several requests in a row, or keeps silent while another answers, is
left alone, but for one request now and then that finds out whether it is back.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec

from bucketpull.domain.endpoints import OUTAGE, REFUSALS, SUSPECT, SUSPECT_ANSWERS, THROTTLES
from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Request
from bucketpull.domain.health import FIRST_LOOKS, LOOK_SECONDS
from bucketpull.domain.pacing import Limiter

MOST_ADDRESSES = 16  # of a name; each request looks at all
UNPROVEN = 4  # requests at once over a way from which nothing has come yet
AT_A_TIME = 4
SPREAD = 4.0  # a way that had all of the latest requests is taken for one that has so many more in flight
MEMORY = 0.02  # the weight of a single choice in what a way had lately
FRESH_SECONDS = 1.0  # for so long what a way's last answer took says how quick it is
ALIKE = 2.0  # ways whose answers take at most so many times those of the quickest are given several requests at a time
MISS_SECONDS = 0.05
EASY_SECONDS = 1.0  # after it throttled, a way is no better than another
SILENT_SECONDS = 3.0
SILENT_TRIPS = 8.0  # a way is silent if it has not answered in so many times what another one takes


class Way:
    """One URL of an endpoint, at one address of its name ("" leaves the address to the fetcher).

    `is_away` says that it is left alone, `since` when (monotonic seconds) and `why`.
    """

    __slots__ = (
        "_answered_at",
        "_held_until",
        "_looks",
        "_misses",
        "_refusals",
        "address",
        "is_away",
        "is_listed",
        "limiter",
        "quiet_since",
        "share",
        "since",
        "site",
        "throttled_at",
        "was_good",
        "why",
    )

    def __init__(self, site: str, address: str, limiter: Limiter) -> None:
        self.site = site
        self.address = address
        self.limiter = limiter
        self.is_listed = True
        """Whether the name still has this address."""
        self.is_away = self.was_good = False
        self.since = self.throttled_at = self._held_until = self._answered_at = -math.inf
        self.quiet_since = -math.inf
        """Since when nothing has come of what is under way, where that is kept (see `hosts`)."""
        self.share = 0.0
        """Which part of the latest requests went this way."""
        self.why = ""
        self._misses = self._refusals = self._looks = 0

    @property
    def label(self) -> str:
        """What people are told: the host, and which of its addresses."""
        host = self.site.partition("://")[2]
        return f"{host} ({self.address})" if self.address else host

    def to(self, request: Request) -> Request:
        """Return a request as it goes this way."""
        return msgspec.structs.replace(request, address=self.address) if self.address else request

    def may_start(self, now: float) -> bool:
        """Tell whether a request may start: one at a time if it is away, few as long as nothing came."""
        if now < self._held_until or not self.limiter.may_start(now):
            return False
        in_flight = self.limiter.in_flight
        return in_flight == 0 if self.is_away else self.was_good or in_flight < UNPROVEN

    def delay(self, now: float) -> float:
        """Return in how many seconds it may open by the passing of time, as `Limiter.delay`."""
        return max(self.limiter.delay(now), self._held_until - now)

    def cost(self) -> float:
        """Return what a request costs here that starts now, in seconds of waiting; 0 where that is not known."""
        return (self.limiter.in_flight + 1 + SPREAD * self.share) * self.limiter.trip

    def is_stale(self, now: float) -> bool:
        """Tell whether nothing is known of how quick it is now: it is asked nothing, and has not been for a while."""
        return self.limiter.in_flight == 0 and now - self._answered_at >= FRESH_SECONDS

    def finished(self, now: float, reason: Reason | None, seconds: float, detail: str) -> None:
        """Note an answer that took so long, or that none came."""
        if reason is None and now - seconds - self._answered_at >= FRESH_SECONDS:
            self.limiter.quickened(seconds)
        self._answered_at = now
        if reason in OUTAGE:
            self._misses += 1
            self._held_until = now + MISS_SECONDS
        elif reason in REFUSALS:
            self._refusals += 1
        elif reason in THROTTLES:
            self.throttled_at = now
        elif reason is None:
            self.forgive()
            self.was_good = True
        if self.is_away or self._misses >= SUSPECT or self._refusals >= SUSPECT_ANSWERS:
            self.leave(now, f"{reason}: {detail}")

    def leave(self, now: float, why: str) -> None:
        """Leave it alone for a while: longer each time."""
        if not self.is_away:
            self.is_away, self.since, self._looks = True, now, 0
        patience = FIRST_LOOKS[self._looks] if self._looks < len(FIRST_LOOKS) else LOOK_SECONDS
        self._looks += 1
        self._held_until, self.why = now + patience, why[:200]

    def forgive(self) -> None:
        """Use it as before."""
        if self.is_away:
            self.limiter.recover()
        self.is_away, self._misses, self._refusals, self._held_until = False, 0, 0, -math.inf


class Ways:
    """All ways of an endpoint. `limiter` is that of the only way, and the model of those of several."""

    def __init__(self, sites: Sequence[str], limiter: Limiter) -> None:
        self._model = limiter
        self._turn = 0
        several = len(sites) > 1
        self.all = [
            Way(site, "", self._limiter(len(sites)) if several else limiter) for site in sites or ("",)
        ]
        self.is_plural = several
        self.at_a_time = 1

    def _limiter(self, parts: int) -> Limiter:
        return self._model.share(parts)

    def resolved(self, site: str, addresses: Sequence[str]) -> None:
        """Use all addresses of a site's name; what is under way over others ends in peace."""
        mine = {way.address: way for way in self.all if way.site == site}
        if not addresses or (len(addresses) == 1 and len(mine) == 1):
            return
        addresses = addresses[:MOST_ADDRESSES]
        for address in addresses:
            if address not in mine:
                self.all.append(Way(site, address, self._limiter(len(addresses))))
        for way in self.all:
            if way.site == site:
                way.is_listed = way.address in addresses
        self.is_plural = True

    def __iter__(self) -> Iterator[Way]:
        """Go through all that were ever used: what they counted is to be counted."""
        return iter(self.all)

    def listed(self) -> list[Way]:
        """Return those that are in use."""
        return [way for way in self.all if way.is_listed]

    def choose(self, now: float) -> Way | None:
        """Return where the next requests may go, `at_a_time` of them; where all are away, each is as good as another."""
        most = self._model.fixed or self._model.highest
        if self.in_flight >= most:
            return None
        listed = self.listed()
        open_ones = [way for way in listed if way.may_start(now)]
        due = next((way for way in open_ones if way.is_away or way.is_stale(now)), None)
        if due is not None:
            self.at_a_time = 1
            return due
        if all(way.is_away for way in listed):
            open_ones = [way for way in listed if way.limiter.may_start(now)]
        best = min(open_ones, key=Way.cost, default=None)
        if best is not None:
            self._note(best, listed)
        return best

    def _note(self, chosen: Way, listed: Sequence[Way]) -> None:
        quickest = chosen.limiter.trip
        for way in listed:
            way.share -= way.share * MEMORY
            if way.limiter.trip < quickest and not way.is_away:
                quickest = way.limiter.trip
        chosen.share += MEMORY
        self.at_a_time = AT_A_TIME if chosen.limiter.trip <= ALIKE * quickest else 1

    def in_turn(self) -> Way:
        """Return another one each time, of those that are well if there are any."""
        listed = self.listed()
        well = [way for way in listed if not way.is_away] or listed
        self._turn += 1
        return well[self._turn % len(well)]

    def has_other(self, way: Way) -> bool:
        """Tell whether there is another way that is well."""
        return any(other.was_good and not other.is_away for other in self.listed() if other is not way)

    def has_easy(self, way: Way, now: float) -> bool:
        """Tell whether there is another way that is well and has refused nothing for being too much."""
        return any(
            other.was_good and not other.is_away and now - other.throttled_at > EASY_SECONDS
            for other in self.listed()
            if other is not way
        )

    def leave_silent(self, now: float, silent: Sequence[tuple[Way, float]]) -> list[Way]:
        """Leave those alone, of given ways with the seconds for which they have been silent, that take much longer than others; return them."""
        trips = [way.limiter.trip for way in self.listed() if way.was_good and not way.is_away]
        left = []
        for way, seconds in silent:
            if seconds >= max(SILENT_SECONDS, SILENT_TRIPS * min(trips, default=math.inf)) and self.has_other(
                way
            ):
                way.leave(now, f"{Reason.TIMEOUT}: no answer for {seconds:.0f} s")
                left.append(way)
        return left

    def away(self, now: float) -> dict[str, str]:
        """Return what is to be told of those that are left alone; an address of another family that never worked is nobody's news."""
        return {
            way.label: way.why
            for way in self.listed()
            if way.is_away and now - way.since >= 1.0 and (way.was_good or ":" not in way.address)
        }

    def forgive(self) -> None:
        """Use all as before."""
        for way in self.all:
            way.forgive()
            way.limiter.recover()

    def limit(self, concurrency: int | None) -> None:
        """Change what the user allows, from now on."""
        for limiter in {self._model, *(way.limiter for way in self.all)}:
            limiter.limit(concurrency)

    # --- what they count together

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return sum(way.limiter.in_flight for way in self.all)

    @property
    def good(self) -> int:
        """Answers that were the wanted ones."""
        return sum(way.limiter.good for way in self.all)

    def rest(self, now: float, seconds: float) -> None:
        """Start nothing for a while: the source asked for it."""
        for way in self.all:
            way.limiter.rest(now, seconds)

    @property
    def rests_until(self) -> float:
        """Until when nothing starts, because the source asked for it."""
        return min(way.limiter.rests_until for way in self.listed())
