"""Whether an endpoint is to blame for failures, or the objects: one judge a machine hears all its processes, and tells all the same. Pure.

An endpoint is at fault if nothing succeeds there for any process; a single success clears it. A few failures prove nothing: they must
be of different objects, and go on for some time. Times are monotonic seconds.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec

from bucketpull.domain.endpoints import (
    OUTAGE,
    REFUSALS,
    SUSPECT,
    THROTTLES,
    EndpointSpec,
    Purpose,
    Standing,
    State,
    Symptoms,
    needed,
)
from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.messages import Judged
from bucketpull.domain.retry import BOUNDS

# Failures make an endpoint suspect (`needed` says how many objects must fail), and when they have gone on for so long, it is at fault.
SURE_OBJECTS = 10  # from so many different objects on the shorter time will do
SURE_SECONDS = 1.0
LIKELY_SECONDS = 4.0
THROTTLED_SECONDS = 5.0  # a limiter that looks for the source's limit overshoots for shorter
REFUSED_SECONDS = 60.0  # after it was good, before the job ends
# Each process reports twice a second. After a longer gap the machine stood still, and what waited meanwhile may be good answers.
STANDSTILL_SECONDS = 2.0

# No answers at all, though several requests wait.
SLOW_SECONDS = 3.0
SILENT_SECONDS = 6.0

# The seconds between trials of an endpoint that is not up. With another endpoint to fetch from: two soon, for most troubles are
# short, then one a minute. Where objects wait for it they go on soon after it is back: a minute of quick trials, then slower ones.
FIRST_TRIALS_SECONDS = (2.0, 8.0)
TRIAL_SECONDS = 60.0
QUICK_TRIALS = 30
QUICK_TRIAL_SECONDS = 2.0
SLOWER_TRIAL_SECONDS = 10.0

# Where nothing proves an endpoint well, objects that always fail look as an outage does. If the service's listing answers
# meanwhile they are at fault after so long; where nothing can be listed, much later.
UNPROVEN_SECONDS = 600.0
UNLISTED_SECONDS = 6 * 3600.0
PRESUMED_SECONDS = 300.0  # then the objects have had their tries, four of a minute each; twice as long each time, for longer time-outs

# What fails for one process while others succeed again and again is the objects' fault, though that process has nothing to prove it
# by: so many successes, so far apart, none of them older than that. So is what has no answer, if an object that came before does come
# each time that it is asked for again.
CONTRADICTIONS = 3
APART_SECONDS = 2.0
REMEMBERED_SECONDS = 180.0

FRESH_SECONDS = 30.0  # so long a success of our own outweighs what other machines say
ELSEWHERE = "so the other machines say"
TOLD_SECONDS = 1.0  # of a rest: a shorter one is over before the other processes are told of it


def trial_seconds(trials: int) -> float:
    """Return the seconds until the next trial of what others can stand in for, after so many."""
    return FIRST_TRIALS_SECONDS[trials] if trials < len(FIRST_TRIALS_SECONDS) else TRIAL_SECONDS


class EndpointHealth:
    """One endpoint of one machine. `has_others` says whether objects can be had elsewhere meanwhile."""

    def __init__(self, spec: EndpointSpec, processes: int) -> None:
        self.spec = spec
        self.standing = Standing()
        self.seen = [Symptoms() for _ in range(processes)]
        self.was_good = False
        self._good_at = -math.inf
        self._trials = 0
        self._tried_at = -math.inf
        self._turn = 0
        self._has_waited = False
        self._presumed_well_until = -math.inf
        self._presumed_seconds = PRESUMED_SECONDS
        self._contradicted_at: list[float] = []

    @property
    def is_up(self) -> bool:
        """Whether it is judged to work."""
        return self.standing.state is State.UP

    def see(self, process: int, symptoms: Symptoms, now: float) -> None:
        """Take a process's report. Its count of good answers starts at 0 with the process."""
        gain = symptoms.good - self.seen[process].good
        if gain > 0 or (gain < 0 and symptoms.good):
            self._good_at, self.was_good = now, True
            self._note_contradiction(process, now)
        self.seen[process] = symptoms

    def _note_contradiction(self, process: int, now: float) -> None:
        """Note that one process succeeds while another one sees nothing but failures of different objects, or none had any answer."""
        is_suspected = any(
            seen.reason is not None and seen.reason not in THROTTLES and seen.failing >= needed(seen.reason)
            for number, seen in enumerate(self.seen)
            if number != process
        )
        times = self._contradicted_at
        if (is_suspected or self._is_down_for_silence) and (not times or now - times[-1] >= APART_SECONDS):
            self._contradicted_at = [at for at in times if now - at < REMEMBERED_SECONDS] + [now]

    @property
    def _is_down_for_silence(self) -> bool:
        return self.standing.state is State.DOWN and self.standing.reason is Reason.TIMEOUT

    @property
    def is_contradicted(self) -> bool:
        """Whether some processes succeed repeatedly while another one has no success, or it answered repeatedly when it was held to be silent."""
        return len(self._contradicted_at) >= CONTRADICTIONS

    def forget(self, process: int) -> None:
        """Forget a process that ended."""
        self.seen[process] = Symptoms()

    def judge(self, now: float, has_others: bool) -> bool:
        """Decide on the state; tell whether it has changed."""
        standing = self._verdict(now, has_others)
        if standing.state is self.standing.state:
            return False
        if standing.state is State.UP or self.is_up:
            self._trials, self._tried_at = 0, now
        begun = now if self.is_up else self.standing.since
        self.standing = Standing(standing.state, begun, standing.reason, standing.detail[:200])
        return True

    def presume_down(self, now: float) -> None:
        """Begin with one request, because it is down for all other machines; not where this one knows better by itself."""
        asked = any(seen.failing or seen.in_flight for seen in self.seen)
        if self.is_up and not asked and now - self._good_at >= FRESH_SECONDS:
            self.standing = Standing(State.DOWN, now, None, ELSEWHERE)
            self._trials, self._tried_at = 0, -math.inf

    def presume_no_more(self) -> None:
        """Use it, if it is down by presumption alone; else have it tried at once: another machine may have found it well."""
        if self.standing.detail == ELSEWHERE and not any(seen.failing for seen in self.seen):
            self.standing = Standing()
        self._tried_at = -math.inf

    def _verdict(self, now: float, has_others: bool) -> Standing:
        before = self.standing
        if before.state is not State.UP and self._good_at >= before.since:
            return Standing()
        if now >= self._presumed_well_until:
            found = self._by_failures(now, has_others) or self._by_silence(has_others)
            if found is not None:
                return found
        return Standing() if before.state is State.SLOW and not self._silent() else before

    def _by_failures(self, now: float, has_others: bool) -> Standing | None:
        worst = self.worst()
        objects, seconds = sum(seen.failing for seen in self.seen), self.ailing_seconds(now)
        if worst.reason in REFUSALS:
            objects = worst.failing  # before it is as many for one process, none has asked for a probe
        if worst.reason is None or objects < needed(worst.reason):
            return None
        if BOUNDS[worst.reason].remedy is Remedy.STOP and not has_others:
            return None  # nothing to wait for: it ends the job, or is cleared
        patience = SURE_SECONDS if objects >= SURE_OBJECTS else LIKELY_SECONDS
        if worst.reason in THROTTLES:
            patience = THROTTLED_SECONDS
        if seconds < patience:
            return None
        state = State.DOWN if worst.reason in OUTAGE else State.REFUSING
        return Standing(state, 0.0, worst.reason, worst.detail)

    def _by_silence(self, has_others: bool) -> Standing | None:
        silent = self._silent()
        detail = f"no answer for {silent:.0f} s"
        if silent >= SILENT_SECONDS and has_others:
            return Standing(State.DOWN, 0.0, Reason.TIMEOUT, detail)
        if silent >= SLOW_SECONDS and self.standing.state in {State.UP, State.SLOW}:
            return Standing(State.SLOW, 0.0, Reason.TIMEOUT, detail)
        return None

    def _silent(self) -> float:
        """Return for how long no process has got an answer, although several requests wait."""
        asking = [seen for seen in self.seen if seen.in_flight]
        waiting = sum(seen.unanswered for seen in asking)
        if not asking or (waiting < SUSPECT and self.was_good):
            return 0.0
        return min(seen.silent_seconds for seen in asking)

    def worst(self) -> Symptoms:
        """Return the symptoms of the process that fails most."""
        return max(self.seen, key=lambda seen: seen.failing)

    def ailing_seconds(self, now: float) -> float:
        """Return for how long it has failed for all processes."""
        longest = max((seen.ailing_seconds for seen in self.seen if seen.failing), default=0.0)
        return min(longest, now - self._good_at)

    def refuses(self, now: float) -> bool:
        """Tell whether it refuses us as a whole: different objects for the same reason; at once if it never gave one, else for some time."""
        worst = self.worst()
        if worst.reason not in REFUSALS:
            return False
        stops = BOUNDS[worst.reason].remedy is Remedy.STOP
        objects = 1 if stops and self.spec.purpose is Purpose.LIST else needed(worst.reason)
        seconds = SURE_SECONDS if not self.was_good else LIKELY_SECONDS if stops else REFUSED_SECONDS
        return sum(seen.failing for seen in self.seen) >= objects and self.ailing_seconds(now) >= seconds

    @property
    def is_untried(self) -> bool:
        """Whether it was never asked, and is not being asked now."""
        return not self.was_good and not any(seen.failing or seen.in_flight for seen in self.seen)

    def trial(self, now: float, has_others: bool) -> int | None:
        """Return which process is to try it now; None if none is."""
        if self.standing.state not in {State.DOWN, State.REFUSING}:
            return None
        wait = self._trial_seconds(has_others and not self.is_missed)
        if now - self._tried_at < wait or self.rest_seconds > 0.0:
            return None
        ready = [process for process, seen in enumerate(self.seen) if seen.has_work]
        if not ready:
            return None
        self._trials, self._tried_at, self._turn = self._trials + 1, now, self._turn + 1
        return ready[self._turn % len(ready)]

    def trial_although_up(self, now: float) -> list[int]:
        """Return the process that is to ask the listing now, although it is up; none if it was asked a moment ago."""
        if now - self._tried_at < TRIAL_SECONDS:
            return []
        self._tried_at, self._turn = now, self._turn + 1
        return [self._turn % len(self.seen)]

    def is_cleared(self, now: float, listing: "EndpointHealth") -> bool:
        """Tell whether it is down, with nothing that came before to prove it by, for so long that the objects are at fault rather than the service."""
        most = self.most_seconds(listing)
        if not most:
            return False
        self._has_waited |= now - self.standing.since >= most
        return self._has_waited

    def most_seconds(self, listing: "EndpointHealth") -> float:
        """Return for how long objects wait for it before they are held to be at fault; 0 is without bound, as where the listing does not answer either."""
        if self.has_probe or not self.is_missed or self.standing.state is not State.DOWN:
            return 0.0
        if not listing.spec.sites:
            return UNLISTED_SECONDS
        return UNPROVEN_SECONDS if listing.is_well_since(self.standing.since) else 0.0

    def is_well_since(self, moment: float) -> bool:
        """Tell whether it is up, and has succeeded since a moment."""
        return self.is_up and self._good_at > moment

    def clear(self, now: float) -> None:
        """Consider it well for a while: the objects are to blame."""
        self.standing, self._presumed_well_until = Standing(), now + self._presumed_seconds
        self._presumed_seconds *= 2
        self._contradicted_at = []

    @property
    def has_probe(self) -> bool:
        """Whether a process can tell its trouble from the objects' own: it has an object that came before."""
        return any(seen.has_probe for seen in self.seen)

    @property
    def is_missed(self) -> bool:
        """Whether objects wait for it that no other endpoint has."""
        return any(seen.is_missed for seen in self.seen)

    def _trial_seconds(self, has_others: bool) -> float:
        if not has_others:
            return QUICK_TRIAL_SECONDS if self._trials < QUICK_TRIALS else SLOWER_TRIAL_SECONDS
        return trial_seconds(self._trials)

    def away(self) -> dict[str, str]:
        """Return which of its addresses processes leave alone, and why."""
        found: dict[str, str] = {}
        for seen in self.seen:
            found |= seen.away
        return found

    @property
    def rest_seconds(self) -> float:
        """For how long the source asked any process to leave it alone."""
        return max(seen.rest_seconds for seen in self.seen)


class EndpointJudge:
    """Judges endpoints by the reports of all processes, tells all processes the same, and chooses which of them tries an endpoint.

    `refusal` is set once, when the source refuses us as a whole.
    """

    def __init__(self, specs: tuple[EndpointSpec, ...], processes: int) -> None:
        self._endpoints = {spec.name: EndpointHealth(spec, processes) for spec in specs}
        self._listing = [each for each in self._endpoints.values() if each.spec.purpose is Purpose.LIST]
        self._fetching = [each for each in self._endpoints.values() if each.spec.purpose is Purpose.FETCH]
        self._processes = processes
        self._rests: dict[str, float] = {}
        self._down_elsewhere: set[str] = set()
        self._looked_at = math.inf
        self._watching_since = -math.inf
        self.refusal: tuple[Reason, str] | None = None

    def look(self, process: int, symptoms: Mapping[str, Symptoms], now: float) -> list[tuple[int, Judged]]:
        """Take a process's report (`now` in monotonic seconds); return what to tell which process."""
        if now - self._looked_at > STANDSTILL_SECONDS:
            self._watching_since = now
        self._looked_at = now
        for name, seen in symptoms.items():
            if name in self._endpoints:
                self._endpoints[name].see(process, seen, now)
        cleared = self._cleared(now)
        for name in cleared:
            self._endpoints[name].clear(now)
        is_news = self._decide(now) | self._note_rests(now) | bool(cleared)
        self.refusal = self.refusal or self._refused(now)
        tries: dict[int, list[str]] = {}
        for trier, name in self._trials(now):
            tries.setdefault(trier, []).append(name)
        return [
            (each, self._judged(now, tries.get(each, []), cleared))
            for each in range(self._processes)
            if is_news or each in tries
        ]

    def hear(self, down: Collection[str], now: float) -> list[tuple[int, Judged]]:
        """Take in which endpoints are down for all other machines; return what to tell which process. What this one sees itself outweighs it."""
        before, found, states = self._down_elsewhere, self._endpoints, self.standings()
        self._down_elsewhere = found.keys() & set(down)
        for name in before - self._down_elsewhere:
            found[name].presume_no_more()
        for name in self._down_elsewhere - before:
            found[name].presume_down(now)
        news = [] if states == self.standings() else range(self._processes)
        return [(each, self._judged(now, [])) for each in news]

    def process_started(self, process: int, now: float) -> Judged:
        """Return what a process that begins has to know."""
        for health in self._endpoints.values():
            health.forget(process)
        return self._judged(now, [])

    def standings(self) -> dict[str, Standing]:
        """Return how each endpoint does."""
        return {name: self._standing(health) for name, health in self._endpoints.items()}

    def _standing(self, health: EndpointHealth) -> Standing:
        if health.is_up or health in self._listing:
            return health.standing
        bounds = [health.most_seconds(listing) for listing in self._listing]
        return msgspec.structs.replace(health.standing, most_seconds=min(bounds, default=0.0))

    def rests(self, now: float) -> dict[str, float]:
        """Return for how many seconds more endpoints asked to be left alone; others are left out."""
        return {name: until - now for name, until in self._rests.items() if until - now > TOLD_SECONDS}

    def away(self) -> dict[str, dict[str, str]]:
        """Return, by endpoint, which of its addresses are left alone, and why; endpoints without such are left out."""
        found = {name: health.away() for name, health in self._endpoints.items()}
        return {name: away for name, away in found.items() if away}

    def _judged(self, now: float, tries: list[str], cleared: Sequence[str] = ()) -> Judged:
        states: dict[str, State] = {}
        for name, standing in self.standings().items():
            if standing.state is not State.UP:
                states[name] = standing.state
        rests = {name: round(seconds, 1) for name, seconds in self.rests(now).items()}
        return Judged(states, rests, tries, list(cleared))

    def _note_rests(self, now: float) -> bool:
        """Note for how long the source asked to be left alone; tell whether that is news."""
        longer = False
        for name, health in self._endpoints.items():
            until = now + health.rest_seconds
            if health.rest_seconds > TOLD_SECONDS and until > self._rests.get(name, 0.0) + TOLD_SECONDS:
                self._rests[name], longer = until, True
        return longer

    def _decide(self, now: float) -> bool:
        """Decide on all states; tell whether one has changed."""
        changed = [health.judge(now, self._has_others(health)) for health in self._endpoints.values()]
        return any(changed)

    def _trials(self, now: float) -> list[tuple[int, str]]:
        """Return which process is to try which endpoint now, to find out whether it is up again."""
        found = (
            (health.trial(now, self._has_others(health)), name) for name, health in self._endpoints.items()
        )
        tries = [(process, name) for process, name in found if process is not None]
        return tries + [
            (process, each.spec.name) for each in self._listing for process in self._listing_trials(each, now)
        ]

    def _listing_trials(self, listing: EndpointHealth, now: float) -> list[int]:
        """Return which process is to ask for the listing, to learn whether the service answers at all."""
        is_needed = any(each.is_missed and not each.has_probe for each in self._fetching)
        return listing.trial_although_up(now) if is_needed and listing.spec.sites and listing.is_up else []

    def _cleared(self, now: float) -> list[str]:
        """Return the endpoints that are not to blame for what fails there.

        Either other processes succeed there repeatedly, or there is nothing to prove them well by, but the listing has answered for long.
        """
        return [
            each.spec.name
            for each in self._fetching
            if each.is_contradicted or all(each.is_cleared(now, listing) for listing in self._listing)
        ]

    def _refused(self, now: float) -> tuple[Reason, str] | None:
        """Return why the source refuses us as a whole, and in what words; None if it does not, or may do so only for now."""
        if now - self._watching_since < SURE_SECONDS:
            return None
        for group in (self._listing, self._fetching):
            tried = [each for each in group if not each.is_untried]
            if tried and all(each.refuses(now) for each in tried):
                worst = tried[0].worst()
                assert worst.reason is not None
                return worst.reason, "; ".join(map(_refusal_text, tried))
        return None

    def _has_others(self, health: EndpointHealth) -> bool:
        """Tell whether objects can be had elsewhere."""
        others = self._fetching if health in self._fetching else ()
        return any(other.is_up for other in others if other is not health)


def _refusal_text(health: EndpointHealth) -> str:
    objects, spec = sum(seen.failing for seen in health.seen), health.spec
    what = "directories" if spec.purpose is Purpose.LIST else "objects"
    check = f" (check {spec.hint})" if spec.hint else ""
    return (
        f"{spec.title or spec.name} refused {objects} {what}, and gave none: {health.worst().detail}{check}"
    )
