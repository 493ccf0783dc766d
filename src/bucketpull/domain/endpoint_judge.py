"""The judge of a machine's endpoints: it hears all processes, and tells all the same. Pure; `endpoint_health` has the rules."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from bucketpull.domain.endpoint_health import SourceHealth
from bucketpull.domain.endpoints import EndpointSpec, Standing, State, Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.record import Judged

TOLD_SECONDS = 1.0  # a shorter wait is over before the other processes are told of it


class EndpointJudge:
    """Judges endpoints by the reports of all processes, tells all processes the same, and chooses which of them tries an endpoint.

    `refusal` is set once, when the source refuses us as a whole.
    """

    def __init__(self, specs: tuple[EndpointSpec, ...], processes: int) -> None:
        self._source = SourceHealth(specs, processes)
        self._processes = processes
        self._rests: dict[str, float] = {}
        self._down_elsewhere: set[str] = set()
        self.refusal: tuple[Reason, str] | None = None

    def look(self, process: int, symptoms: Mapping[str, Symptoms], now: float) -> list[tuple[int, Judged]]:
        """Take a process's report (`now` in monotonic seconds); return what to tell which process."""
        source = self._source
        source.see(process, symptoms, now)
        cleared = source.cleared(now)
        for name in cleared:
            source.endpoints[name].clear(now)
        paces = source.paces(now)
        is_news = source.judge(now) | self._note_rests(now) | bool(cleared or paces)
        self.refusal = self.refusal or source.refusal(now)
        tries: dict[int, list[str]] = {}
        for trier, name in source.trials(now):
            tries.setdefault(trier, []).append(name)
        return [
            (each, msgspec.structs.replace(self._judged(now, tries.get(each, []), cleared), paces=paces))
            for each in range(self._processes)
            if is_news or each in tries
        ]

    def hear(self, down: Collection[str], now: float) -> list[tuple[int, Judged]]:
        """Take in which endpoints are down for all other machines; return what to tell which process. What this one sees itself outweighs it."""
        before, found, states = self._down_elsewhere, self._source.endpoints, self.standings()
        self._down_elsewhere = found.keys() & set(down)
        for name in before - self._down_elsewhere:
            found[name].presume_no_more()
        for name in self._down_elsewhere - before:
            found[name].presume_down(now)
        news = [] if states == self.standings() else range(self._processes)
        return [(each, self._judged(now, [])) for each in news]

    def process_started(self, process: int, now: float) -> Judged:
        """Return what a process that begins has to know."""
        self._source.forget(process)
        return self._judged(now, [])

    def standings(self) -> dict[str, Standing]:
        """Return how each endpoint does."""
        return {name: health.standing for name, health in self._source.endpoints.items()}

    def rests(self, now: float) -> dict[str, float]:
        """Return for how many seconds more endpoints asked to be left alone; others are left out."""
        return {name: until - now for name, until in self._rests.items() if until - now > TOLD_SECONDS}

    def away(self) -> dict[str, dict[str, str]]:
        """Return, by endpoint, which of its addresses are left alone, and why; endpoints without such are left out."""
        found = {name: health.away() for name, health in self._source.endpoints.items()}
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
        for name, health in self._source.endpoints.items():
            until = now + health.rest_seconds
            if health.rest_seconds > TOLD_SECONDS and until > self._rests.get(name, 0.0) + TOLD_SECONDS:
                self._rests[name], longer = until, True
        return longer
