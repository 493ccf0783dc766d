"""What the agent makes of its processes' reports on endpoints: it tells all of them the same, and which of them is to try one."""

from collections.abc import Mapping, Sequence

import msgspec

from bucketpull.domain.endpoints import EndpointSpec, Standing, State, Symptoms
from bucketpull.domain.errors import Reason
from bucketpull.domain.health import Board
from bucketpull.domain.record import Judged

TOLD_SECONDS = 1.0  # a shorter wait is over before anybody has heard of it


class Judge:
    """The endpoints of one machine. `refusal` is set once, when the source refuses us as a whole."""

    def __init__(self, specs: tuple[EndpointSpec, ...], processes: int) -> None:
        self._board = Board(specs, processes)
        self._processes = processes
        self._rests: dict[str, float] = {}
        self.refusal: tuple[Reason, str] | None = None

    def look(self, process: int, symptoms: Mapping[str, Symptoms], now: float) -> list[tuple[int, Judged]]:
        """Take in what a process reports (`now` in monotonic seconds); return what to tell which process."""
        board = self._board
        board.see(process, symptoms, now)
        innocent = board.innocent(now)
        for name in innocent:
            board.endpoints[name].clear(now)
        paces = board.paces(now)
        is_news = board.judge(now) | self._note_rests(now) | bool(innocent or paces)
        self.refusal = self.refusal or board.refusal(now)
        tries: dict[int, list[str]] = {}
        for trier, name in board.looks(now):
            tries.setdefault(trier, []).append(name)
        return [
            (each, msgspec.structs.replace(self._words(now, tries.get(each, []), innocent), paces=paces))
            for each in range(self._processes)
            if is_news or each in tries
        ]

    def process_started(self, process: int, now: float) -> Judged:
        """Return what a process that begins has to know."""
        self._board.forget(process)
        return self._words(now, [])

    def standings(self) -> dict[str, Standing]:
        """Return how each endpoint does."""
        return {name: health.standing for name, health in self._board.endpoints.items()}

    def rests(self, now: float) -> dict[str, float]:
        """Return for how many seconds more endpoints asked to be left alone; others are left out."""
        return {name: until - now for name, until in self._rests.items() if until - now > TOLD_SECONDS}

    def away(self) -> dict[str, dict[str, str]]:
        """Return, by endpoint, which of its addresses are left alone, and why; endpoints without such are left out."""
        found = {name: health.away() for name, health in self._board.endpoints.items()}
        return {name: away for name, away in found.items() if away}

    def _words(self, now: float, tries: list[str], innocent: Sequence[str] = ()) -> Judged:
        states: dict[str, State] = {}
        for name, standing in self.standings().items():
            if standing.state is not State.UP:
                states[name] = standing.state
        rests = {name: round(seconds, 1) for name, seconds in self.rests(now).items()}
        return Judged(states, rests, tries, list(innocent))

    def _note_rests(self, now: float) -> bool:
        """Note for how long the source wants to be left alone; tell whether that is longer than was known."""
        longer = False
        for name, health in self._board.endpoints.items():
            until = now + health.rest_seconds
            if health.rest_seconds > TOLD_SECONDS and until > self._rests.get(name, 0.0) + TOLD_SECONDS:
                self._rests[name], longer = until, True
        return longer
