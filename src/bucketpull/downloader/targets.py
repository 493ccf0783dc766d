"""Where requests for one endpoint go: its URLs, and the addresses of their names. Each has a limiter, and a health of its own.

Requests go where answers come fastest, not counting the time that all answers wait in this machine; targets that are about
as fast as each other share them. A target that answered slowly is asked again
every second, and believed if it is quick now. One that fails for several requests in a row, or keeps silent while another answers, is
left alone, but for one request now and then that finds out whether it is back.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec

from bucketpull.domain.endpoint_judge import THROTTLED_SECONDS, trial_seconds
from bucketpull.domain.endpoints import OUTAGE, REFUSALS, SUSPECT, SUSPECT_ANSWERS, THROTTLES
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request
from bucketpull.domain.pacing import Limiter

MOST_ADDRESSES = 16  # of a name; each request looks at all
UNPROVEN = 4  # requests at once to a target from which nothing has come yet
AT_A_TIME = 4
SPREAD = 4.0  # a target that had all of the latest requests is taken for one that has so many more in flight
MEMORY = 0.02  # the weight of a single choice in what a target had lately
FRESH_SECONDS = 1.0  # for so long what a target's last answer took says how quick it is
ALIKE = 2.0  # targets whose answers take at most so many times those of the quickest are given several requests at a time
SLOWER = 4.0  # a target whose answers take so many times longer than those of another is no help to that one
LEAST_SECONDS = (
    600.0  # for so long the quickest of a target's answers says what one takes that waits for nothing
)
MISS_SECONDS = 0.05
EASY_SECONDS = 1.0  # after it throttled, a target is no better than another
SILENT_SECONDS = 3.0
SILENT_TRIPS = 8.0  # a target is silent if it has not answered in so many times what another one takes


class Target:
    """One URL of an endpoint, at one address of its name ("" leaves the address to the fetcher).

    `is_away` says that it is left alone, `since` when (monotonic seconds), `reason` and `detail` why; they stay until it gives something again.
    """

    def __init__(self, site: str, address: str, limiter: Limiter, siblings: "Targets") -> None:
        self.site = site
        self.address = address
        self.limiter = limiter
        self._siblings = siblings
        self.is_listed = True
        """Whether the name still has this address."""
        self.is_away = self.was_good = self._is_out = False
        self.since = self.throttled_at = self._held_until = self.answered_at = -math.inf
        self.aside = 0
        """Requests under way that hold no places (see `hosts`)."""
        self.throttles = 0
        """Refusals of what exceeds a limit since it last gave something."""
        self._throttled_since = -math.inf
        self.quiet_since = self.fruitless_since = -math.inf
        """Since when nothing has come of what is under way, where that is kept (see `hosts`)."""
        self.share = 0.0
        """Which part of the latest requests went here."""
        self.reason: Reason | None = None
        self.detail = ""
        self._least = self._former_least = math.inf
        self._least_ends = -math.inf
        self._misses = self._refusals = self._trials = 0

    @property
    def label(self) -> str:
        """What people are told: the host, and which of its addresses."""
        host = self.site.partition("://")[2]
        return f"{host} ({self.address})" if self.address else host

    def to(self, request: Request) -> Request:
        """Return a request as it is sent here."""
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

    @property
    def has_siblings(self) -> bool:
        """Whether its endpoint, or host, has other targets."""
        return self._siblings.is_plural

    @property
    def others(self) -> list["Target"]:
        """The other targets of the same endpoint, or host, that are well."""
        siblings = self._siblings.listed()
        return [other for other in siblings if other is not self and other.was_good and not other.is_away]

    def has_easy(self, now: float) -> bool:
        """Tell whether there is another target that is well and has refused nothing for being too much."""
        return any(now - other.throttled_at > EASY_SECONDS for other in self.others)

    @property
    def is_full(self) -> bool:
        """Whether as much is under way as it is believed to bear."""
        return self.limiter.in_flight >= self.limiter.level

    @property
    def queueing(self) -> float:
        """By how many seconds its answers take longer now than the quickest of late."""
        return self.limiter.trip - min(self._least, self._former_least)

    def cost(self, common: float = 0.0) -> float:
        """Return what a request costs here that starts now, in seconds of waiting; 0 where that is not known.

        `common` are the seconds by which the answers of all targets take longer than they could.
        """
        trip = self.limiter.trip - common if self.was_good else self.limiter.trip
        return (self.limiter.in_flight + 1 + SPREAD * self.share) * trip

    def is_stale(self, now: float) -> bool:
        """Tell whether nothing is known of how quick it is now: it is asked nothing, and has not been for a while."""
        return self.limiter.in_flight == 0 and now - self.answered_at >= FRESH_SECONDS

    def note_throttle(self, now: float, reason: Reason | None) -> None:
        """Note whether an answer refused what exceeds a limit. A limit lets some through: where nothing comes for seconds, all is refused."""
        if reason is None:
            self.throttles, self._is_out = 0, False
        elif reason is Reason.THROTTLED:
            self._throttled_since = self._throttled_since if self.throttles else now
            self.throttles += 1
            self._is_out = self.throttles >= SUSPECT and now - self._throttled_since >= THROTTLED_SECONDS

    def read(self, reason: Reason | None) -> Reason | None:
        """Tell what an answer says of this target. Servers refuse alike, with 429 or 503, what exceeds a limit and all while they are out."""
        return Reason.SERVER_ERROR if self._is_out and reason is Reason.THROTTLED else reason

    def finished(self, now: float, reason: Reason | None, seconds: float, detail: str) -> None:
        """Note an answer that took so long, or that none came."""
        if reason is None and now - seconds - self.answered_at >= FRESH_SECONDS:
            self.limiter.quickened(seconds)
        self.answered_at = now
        if reason in OUTAGE:
            self._misses += 1
            self._held_until = now + MISS_SECONDS
        elif reason in REFUSALS:
            self._refusals += 1
        elif reason in THROTTLES:
            self.throttled_at = now
        elif reason is None:
            self.forgive()
            self.was_good, self.reason = True, None
            self._note_least(now, seconds)
        if reason is not None and (
            self.is_away or self._misses >= SUSPECT or self._refusals >= SUSPECT_ANSWERS
        ):
            self.leave(now, reason, detail)

    def _note_least(self, now: float, seconds: float) -> None:
        if now >= self._least_ends:
            self._former_least, self._least, self._least_ends = self._least, seconds, now + LEAST_SECONDS
        elif seconds < self._least:
            self._least = seconds

    def leave(self, now: float, reason: Reason, detail: str) -> None:
        """Leave it alone for a while: longer each time."""
        if not self.is_away:
            self.is_away, self.since, self._trials = True, now, 0
        if self.reason is None:
            self.fruitless_since = now
        self._held_until = now + trial_seconds(self._trials)
        self.reason, self.detail = reason, detail[:200]
        self._trials += 1

    def forgive(self) -> None:
        """Use it as before."""
        if self.is_away:
            self.limiter.recover()
        self.is_away, self._misses, self._refusals, self._held_until = False, 0, 0, -math.inf


class Targets:
    """All targets of an endpoint. `limiter` is that of the only one, and the model of those of several."""

    def __init__(self, sites: Sequence[str], limiter: Limiter) -> None:
        self._model = limiter
        self._turn = 0
        several = len(sites) > 1
        self.all = [
            Target(site, "", limiter.share(len(sites)) if several else limiter, self)
            for site in sites or ("",)
        ]
        self.is_plural = several
        self.at_a_time = limiter.highest
        """How many requests may go where `choose` says, before it is asked again."""

    def resolved(self, site: str, addresses: Sequence[str]) -> None:
        """Use all addresses of a site's name; what is in transfer at others is left to finish.

        Where they are of two families, of which one may lead nowhere, the fetcher tries both for the first requests (RFC 8305).
        """
        mine = {target.address: target for target in self.all if target.site == site}
        if not addresses or (len(addresses) == 1 and len(mine) == 1):
            return
        addresses = addresses[:MOST_ADDRESSES]
        for address in addresses:
            if address not in mine:
                self.all.append(Target(site, address, self._model.share(len(addresses)), self))
        is_mixed = len({":" in address for address in addresses}) > 1
        is_proven = any(target.was_good and target.address for target in mine.values())
        for target in self.all:
            if target.site == site:
                by_fetcher = not target.address and is_mixed and not is_proven
                target.is_listed = target.address in addresses or by_fetcher
        self.is_plural = True

    def __iter__(self) -> Iterator[Target]:
        """Go through all that were ever used: what they counted is to be counted."""
        return iter(self.all)

    def listed(self) -> list[Target]:
        """Return those that are in use."""
        return [target for target in self.all if target.is_listed]

    def choose(self, now: float) -> Target | None:
        """Return where the next requests may go; None where they have to wait, or wait better for a place at a much quicker target.

        Where all are away, each is as good as another.
        """
        if not self.is_plural:
            return self.all[0] if self.all[0].limiter.may_start(now) else None
        most = self._model.fixed or self._model.highest
        if self.in_flight >= most:
            return None
        listed = self.listed()
        open_ones = [target for target in listed if target.may_start(now)]
        due = next((target for target in open_ones if target.is_away or self._is_due(target, now)), None)
        if due is not None:
            self.at_a_time = 1
            return due
        if all(target.is_away for target in listed):
            open_ones = [target for target in listed if target.limiter.may_start(now)]
        if not open_ones:
            return None
        common = self._common_queueing(listed)
        best = min(open_ones, key=lambda target: target.cost(common))
        if self._is_better_full(best, listed, common):
            return None
        self._note(best, listed)
        return best

    def _is_better_full(self, best: Target, listed: Sequence[Target], common: float) -> bool:
        """Tell whether a request is answered sooner that waits for a place at a much quicker target, all of whose places are taken."""
        seconds, cost = best.limiter.trip - common, best.cost(common)
        return any(
            target.is_full
            and SLOWER * (target.limiter.trip - common) < seconds
            and target.cost(common) < cost
            for target in listed
            if target.was_good and not target.is_away and not target.limiter.is_troubled
        )

    def _is_due(self, target: Target, now: float) -> bool:
        """Tell whether a request finds out how quick a target is; where nothing came of it yet, not the only request."""
        return target.is_stale(now) and (target.was_good or self.in_flight > 0)

    def _common_queueing(self, listed: Sequence[Target]) -> float:
        """Return for how long answers of any target wait: that is this machine or its line, and no reason to ask a slower one."""
        waits = [target.queueing for target in listed if target.was_good and not target.is_away]
        return max(0.0, min(waits, default=0.0))

    def _note(self, chosen: Target, listed: Sequence[Target]) -> None:
        quickest = chosen.limiter.trip
        for target in listed:
            target.share -= target.share * MEMORY
            if target.limiter.trip < quickest and not target.is_away:
                quickest = target.limiter.trip
        chosen.share += MEMORY
        is_quick = chosen.was_good and not chosen.is_away and chosen.limiter.trip <= ALIKE * quickest
        self.at_a_time = AT_A_TIME if is_quick else 1

    def in_turn(self) -> Target:
        """Return another one each time, of those that are well if there are any."""
        listed = self.listed()
        well = [target for target in listed if not target.is_away] or listed
        self._turn += 1
        return well[self._turn % len(well)]

    def is_of_target(self, target: Target, now: float) -> bool:
        """Tell whether a target is to blame for what just failed there: it is left alone, and others are well."""
        del now
        return target.is_away and bool(target.others)

    def silent(self, waits: Sequence[tuple[Target, float]]) -> Iterator[tuple[Target, float]]:
        """Yield those, of targets with the seconds for which nothing has come, that take much longer than others; the last one that is well is none."""
        trips = [target.limiter.trip for target in self.listed() if target.was_good and not target.is_away]
        bar = max(SILENT_SECONDS, SILENT_TRIPS * min(trips, default=math.inf))
        for target, seconds in waits:
            if seconds >= bar and target.others:
                yield target, seconds

    def away(self, now: float) -> dict[str, str]:
        """Return what is to be told of those that are left alone; an address of another family that never worked is not reported.

        One that is tried again with all others, or that its name no longer has, is told of until it gives something.
        """
        return {
            target.label: f"{target.reason}: {target.detail}"
            for target in self.all
            if target.reason is not None
            and (target.is_listed or target.address)
            and now - target.fruitless_since >= 1.0
            and (target.was_good or ":" not in target.address)
        }

    def forgive(self) -> None:
        """Use all as before."""
        for target in self.all:
            target.forgive()
            target.limiter.recover()

    def limit(self, concurrency: int | None) -> None:
        """Change what the user allows, from now on."""
        for limiter in {self._model, *(target.limiter for target in self.all)}:
            limiter.limit(concurrency)

    # --- what they count together

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return sum(target.limiter.in_flight for target in self.all)

    @property
    def good(self) -> int:
        """Answers that were the wanted ones."""
        return sum(target.limiter.good for target in self.all)

    def rest(self, now: float, seconds: float) -> None:
        """Start nothing for a while: the source asked for it."""
        for target in self.all:
            target.limiter.rest(now, seconds)

    @property
    def rests_until(self) -> float:
        """Until when nothing starts: the source asked for it, or refuses whatever it is asked."""
        return min(target.limiter.rests_until for target in self.listed())
