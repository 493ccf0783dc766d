"""The judge of a machine's endpoints: it hears all processes, and tells all the same. Pure; `endpoint_health` has the rules."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from bucketpull.domain.endpoint_health import EndpointHealth
from bucketpull.domain.endpoints import EndpointSpec, Purpose, Standing, State, Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.messages import Judged

TOLD_SECONDS = 1.0  # a shorter wait is over before the other processes are told of it


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
        self.refusal: tuple[Reason, str] | None = None

    def look(self, process: int, symptoms: Mapping[str, Symptoms], now: float) -> list[tuple[int, Judged]]:
        """Take a process's report (`now` in monotonic seconds); return what to tell which process."""
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
        is_needed = any(each.is_missed and not each.was_good for each in self._fetching)
        return listing.trial_although_up(now) if is_needed and listing.spec.sites and listing.is_up else []

    def _cleared(self, now: float) -> list[str]:
        """Return the endpoints that are not to blame for what fails there.

        Either other processes succeed there repeatedly, or nothing ever came from there, but the listing has answered for long.
        """
        return [
            each.spec.name
            for each in self._fetching
            if each.is_contradicted or all(each.is_cleared(now, listing) for listing in self._listing)
        ]

    def _refused(self, now: float) -> tuple[Reason, str] | None:
        """Return why the source refuses us as a whole, and in what words; None if it does not, or may do so only for now."""
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
