"""The endpoints of one process: each has a limiter, those that wait for a slot in order, and what was seen since the last success."""

import math
from collections import deque
from typing import Generic, TypeVar

from bucketpull.domain.endpoints import REFUSALS, SYMPTOMS, EndpointSpec, State, Symptoms, needed
from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Wanted
from bucketpull.domain.model import LaneStatus
from bucketpull.domain.pacing import Limiter

T = TypeVar("T")

MOST_KEPT = 64
PACE_SECONDS = 0.05  # between requests to an endpoint under suspicion, until the machine has judged it
ALIBI_SECONDS = 10.0  # for so long after a proof that it works, objects are at fault that fail there
INNOCENT_SECONDS = 120.0  # the same, where it is concluded from what else answers
WITNESS_BYTES = 1 << 20
HOPELESS_SECONDS = 5.0  # a trial of an endpoint that is down takes no longer


class Endpoint(Generic[T]):
    """One endpoint. `waiting` are those that could not start yet, or are to start again.

    `is_up` says whether objects are sent there as usual; else only `trials` are, one for each time that the machine wants to know.
    `witness` is a small object that it gave: asked for again, it tells trouble with objects from trouble with the endpoint.
    """

    __slots__ = (
        "_ailing_since",
        "_alibi_until",
        "_failing",
        "_held_until",
        "_is_suspect",
        "_last",
        "_proofs",
        "free",
        "is_attentive",
        "is_fresh_trial",
        "is_origin",
        "is_tried",
        "is_up",
        "limiter",
        "name",
        "site",
        "spec",
        "state",
        "trials",
        "waiting",
        "witness",
    )

    def __init__(self, spec: EndpointSpec, limiter: Limiter) -> None:
        self.spec = spec
        self.name = spec.name
        self.is_origin = spec.is_origin
        self.site = spec.sites[0] if spec.sites else ""
        self.limiter = limiter
        self.waiting: deque[T] = deque()
        self.free = 0
        """How many may start before `open` has to be asked again."""
        self.state = State.UP
        self.is_up = True
        self.trials = 0
        self.is_fresh_trial = False
        """Whether the next trial is to be made with an object that was not tried before."""
        self.witness: Wanted | None = None
        self.is_attentive = True
        """Whether `good` wants to hear of the next success: there is no witness, or something failed."""
        self.is_tried = False
        """Whether its witness is being asked for."""
        self._proofs = 0
        self._is_suspect = False
        self._failing: set[object] = set()
        self._last: tuple[Reason, str] | None = None
        self._ailing_since = self._held_until = self._alibi_until = -math.inf

    # --- starting

    def open(self, now: float) -> bool:
        """Find out whether, and how many, requests may start now: many at once where nothing but the level holds them."""
        self.free = 0
        limiter = self.limiter
        if not self.is_up:
            self.free = self.trials
            return self.trials > 0
        if now < self._held_until or not limiter.may_start(now):
            return False
        bucket = limiter.bucket
        if self._is_suspect:
            self.free = 1
        elif limiter.ceiling is None and (bucket is None or bucket.per_second is None):
            self.free = math.ceil(limiter.level - limiter.in_flight)
        else:
            self.free = 1
        return True

    def start(self, now: float) -> None:
        """Count a request that starts."""
        self.free -= 1
        if self.trials:
            self.trials -= 1
        elif self._is_suspect:
            self._held_until = now + PACE_SECONDS
        self.limiter.started(now)

    def delay(self, now: float) -> float:
        """Return in how many seconds this endpoint may open by the passing of time; `math.inf` if only an end opens it."""
        if not self.is_up:
            return math.inf
        wait = max(self.limiter.delay(now), self._held_until - now)
        return wait if wait > 0.0 else math.inf

    # --- what came of it

    @property
    def was_good(self) -> bool:
        """Whether it ever gave what was wanted."""
        return self._proofs + self.limiter.good > 0

    @property
    def can_be_had(self) -> bool:
        """Whether an object had better go here: it is up, and under no suspicion."""
        return self.is_up and not self._is_suspect

    @property
    def refuses(self) -> bool:
        """Whether it was judged to answer everything with refusals."""
        return self.state is State.REFUSING and self._last is not None and self._last[0] in REFUSALS

    def good(self, wanted: Wanted | None) -> None:
        """Note a success, or another answer that proves the endpoint well (None)."""
        self._proofs += wanted is None
        self._failing.clear()
        self._is_suspect = False
        self._held_until = -math.inf
        if wanted is not None and 0 <= wanted.size <= WITNESS_BYTES:
            self.witness = wanted
        self.is_attentive = self.witness is None

    def failed(
        self, key: object, reason: Reason, detail: str, now: float, asked_seconds: float | None = None
    ) -> bool:
        """Note an answer that was not the wanted one, or none; tell whether the endpoint, not the object, is to blame.

        `asked_seconds` is for how long the source asks to be left alone: heeded for all if it gives nobody anything.
        """
        if reason not in SYMPTOMS or (self.is_origin and reason is Reason.MISSING):
            self.good(None)
            return False
        if not self.is_up:
            self._last = reason, detail
            return True
        if now < self._alibi_until:
            return False
        if not self._failing:
            self._ailing_since = now
            self.is_attentive = True
        if len(self._failing) < MOST_KEPT:
            self._failing.add(key)
        self._last = reason, detail
        self._is_suspect = len(self._failing) >= needed(reason)
        if self._is_suspect and asked_seconds:
            self.limiter.rest(now, asked_seconds)
        return self._is_suspect

    def acquit(self, now: float) -> None:
        """Note that the witness came: whatever fails next is at fault itself."""
        self.good(None)
        self._alibi_until = now + ALIBI_SECONDS

    def presume_innocent(self, now: float) -> None:
        """Blame the objects for a while, though nothing ever came from here."""
        self._failing.clear()
        self._is_suspect = False
        self._alibi_until = now + INNOCENT_SECONDS

    # --- what the machine makes of it

    def turn(self, state: State, is_up: bool) -> None:
        """Take over the machine's judgement."""
        if is_up and not self.is_up:
            self._failing.clear()
            self._is_suspect = False
            self._held_until = -math.inf
            self.limiter.recover()
        self.state, self.is_up, self.trials = state, is_up, 0

    def symptoms(self, now: float, silent_seconds: float, unanswered: int, has_work: bool) -> Symptoms:
        """Return what there is to report."""
        limiter = self.limiter
        reason, detail = self._last or (None, "")
        failing = len(self._failing)
        return Symptoms(
            self._proofs + limiter.good,
            failing,
            round(now - self._ailing_since, 1) if failing else 0.0,
            reason,
            detail[:200] if failing or not self.is_up else "",
            round(silent_seconds, 1),
            unanswered,
            round(max(0.0, limiter.rests_until - now), 1),
            has_work,
            bool(self.waiting) and not self.is_up,
            limiter.in_flight,
        )

    def status(self) -> LaneStatus:
        """Return the counters."""
        limiter = self.limiter
        return LaneStatus(
            limiter.in_flight,
            limiter.level,
            limiter.requests,
            limiter.throttled,
            round(limiter.seconds, 3),
            self.is_origin,
            limiter.received,
        )
