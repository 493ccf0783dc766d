"""The endpoints of one process: each has a limiter, those that wait for a slot in order, and what was seen since the last success."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from bucketpull.domain.endpoint_judge import PRESUMED_SECONDS
from bucketpull.domain.endpoints import (
    OUTAGE,
    REFUSALS,
    SUSPECT,
    SYMPTOMS,
    EndpointSpec,
    Purpose,
    State,
    Symptoms,
    needed,
)
from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Verdict, Wanted
from bucketpull.domain.pacing import Limiter
from bucketpull.domain.status import EndpointStatus
from bucketpull.downloader.hosts import MOST_ASIDE, Host, Hosts
from bucketpull.downloader.refused_groups import RefusedGroups
from bucketpull.downloader.targets import Target, Targets

if TYPE_CHECKING:
    from bucketpull.ports import Fetcher

T = TypeVar("T")

MOST_KEPT = 64
PACE_SECONDS = 0.05  # between requests to an endpoint under suspicion, until the machine has judged it
TRUST_SECONDS = 10.0  # for so long after a proof that it works, objects are at fault that fail there
HOPELESS_SECONDS = 5.0  # a trial of an endpoint that is down takes no longer


class Endpoint(Generic[T]):
    """One endpoint. `waiting` are those that could not start yet, or are to start again.

    `is_up` says whether objects are sent there as usual; else only `trials` are, one for each time that the machine wants to know.
    `refused_groups` are objects that it refuses although it gives others. `probe` is an object that it gave: asked for again, it tells trouble with objects from trouble with the endpoint.
    """

    def __init__(self, spec: EndpointSpec, limiter: Limiter) -> None:
        self.spec = spec
        self.name = spec.name
        self.is_origin = spec.is_origin
        self.targets = Targets(spec.sites, limiter)
        self.target = self.targets.all[0]
        """Where the next request goes."""
        self.hosts = Hosts() if spec.purpose is Purpose.FETCH and not spec.sites else None
        """Where objects bring their own URLs."""
        self.ways: Hosts | Targets = self.hosts or self.targets
        """What tells whether another way to the same objects is well."""
        self.waiting: deque[T] = deque()
        self.held_back = 0
        """How many wait for the first answer of their hosts."""
        self._aside = 0
        self.free = 0
        """How many may start before `open` has to be asked again."""
        self.state = State.UP
        self.is_up = True
        self.trials = 0
        self.is_fresh_trial = False
        """Whether the next trial is to be made with an object that was not tried before."""
        self.refused_groups = RefusedGroups()
        self.probe: Wanted | None = None
        self.is_attentive = True
        """Whether `good` wants to hear of the next success: there is no probe, or something failed."""
        self.is_tried = False
        """Whether its probe is being asked for."""
        self._proofs = 0
        self._is_suspect = False
        self._has_probe_failed = False
        self._failing: set[object] = set()
        self._failures = 0
        self._last: tuple[Reason, str] | None = None
        self._ailing_since = self._held_until = self._trusted_until = self._asked_until = -math.inf

    # --- starting

    def open(self, now: float) -> bool:
        """Find out whether, how many, and where requests may start now: many at once where nothing but the level holds them."""
        if not self.is_up:
            if self.trials:
                self.target = self.targets.in_turn()
            self.free = self.trials
            return self.trials > 0
        target = self.targets.choose(now) if now >= self._held_until else None
        if target is None:
            self.free = 0
            return False
        self.target = target
        self.free = self._room(target.limiter)
        return True

    def _room(self, limiter: Limiter) -> int:
        bucket = limiter.bucket
        is_paced = limiter.ceiling is not None or (bucket is not None and bucket.per_second is not None)
        if is_paced or self._is_suspect:
            return 1
        return min(math.ceil(limiter.level - limiter.in_flight), self.targets.at_a_time)

    def start(self, now: float, url: str) -> Target:
        """Count a request that starts; return where it goes."""
        self.free -= 1
        if self.trials:
            self.trials -= 1
        elif self._is_suspect:
            self._held_until = now + PACE_SECONDS
        self.target.limiter.started(now)
        return self.target if self.hosts is None else self.hosts.start(url, now)

    def delay(self, now: float) -> float:
        """Return in how many seconds this endpoint may open by the passing of time; `math.inf` if only an end opens it."""
        if not self.is_up:
            return math.inf
        held = self._held_until - now
        waits = (max(target.delay(now), held) for target in self.targets.listed())
        return min((wait for wait in waits if wait > 0.0), default=math.inf)

    def finished(
        self, target: Target, now: float, verdict: Verdict, seconds: float, received: int, is_retry: bool
    ) -> None:
        """Count an answer that came from a target, or that none did; `is_retry`: the same was asked for here before."""
        reason = verdict.reason
        if target.aside:
            self._note_aside(target, -1)
        if reason is not None or target.throttles:
            target.note_throttle(now, reason)
            reason = target.read(reason)
        if self.hosts is not None:
            was_away = target.is_away
            reason = self.hosts.finished(target, now, verdict, seconds, received, is_retry)
            if target.is_away and not was_away and self.hosts.is_of_target(target, now):
                self.target.limiter.forget_failures(now)  # they were one host's
            target = self.target
        target.limiter.finished(now, reason, seconds, received, verdict.retry_after_seconds, is_retry)
        if self.targets.is_plural:
            target.finished(now, reason, seconds, verdict.detail)

    def paused(self, target: Target, is_paused: bool) -> None:
        """Give the place of a transfer to others while it waits for its disk."""
        limiter = (target if self.hosts is None else self.target).limiter
        limiter.in_flight += -1 if is_paused else 1

    def set_aside(self, hosts: list[Host]) -> None:
        """Give the places of what is under way to hosts to others."""
        for target in (target for host in hosts for target in host.targets):
            self._note_aside(target, min(target.limiter.in_flight - target.aside, MOST_ASIDE - self._aside))

    def _note_aside(self, target: Target, count: int) -> None:
        target.aside += count
        self._aside += count
        self.target.limiter.in_flight -= count

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return self.targets.in_flight + self._aside

    @property
    def has_waiting(self) -> bool:
        """Whether something waits for it."""
        return bool(self.waiting) or self.held_back > 0

    # --- what came of it

    @property
    def was_good(self) -> bool:
        """Whether it ever gave what was wanted."""
        return self._proofs + self.targets.good > 0

    @property
    def trouble(self) -> tuple[Reason, str] | None:
        """Why it is not up, by the last answer; None if it is up."""
        return None if self.is_up else self._last

    @property
    def _is_at_fault(self) -> bool:
        """Whether the machine found it down or refusing: more failures say nothing new. Those of a slow one tell whether it is down."""
        return not self.is_up and self.state is not State.SLOW

    @property
    def refuses(self) -> bool:
        """Whether it was judged to answer everything with refusals."""
        return self.state is State.REFUSING and self._last is not None and self._last[0] in REFUSALS

    def good(self, wanted: Wanted | None, is_probe: bool = False) -> None:
        """Note a success, or another answer that proves the endpoint well (None); `is_probe` says that it may be asked for again, as a probe."""
        self._proofs += wanted is None
        self._forget_failures()
        self._held_until = -math.inf
        if is_probe:
            self.probe = wanted
        if wanted is not None and self.refused_groups.known:
            self.refused_groups.gave(wanted.directory, wanted.name)
        self.is_attentive = self.probe is None or bool(self.refused_groups.known)

    def note_probe(self, wanted: Wanted) -> None:
        """Note an object that it gave some time ago, to be asked for again where there is no other."""
        if self.probe is None:
            self.probe = wanted

    def _forget_failures(self) -> None:
        self._failing.clear()
        self._failures = 0
        self._is_suspect = self._has_probe_failed = False
        self._asked_until = -math.inf

    def note_refusal(self, wanted: Wanted, now: float) -> bool:
        """Note that an object did not come which may be had elsewhere; tell whether none of its group does, though others come."""
        if not self.was_good:
            return False
        self.is_attentive = True
        groups, targets = self.refused_groups, self.targets
        believed, throttled = groups.believed, sum(target.limiter.throttled for target in targets)
        is_expected = groups.refused(wanted.directory, wanted.name, now, targets.good, throttled)
        if groups.believed > believed:
            for target in targets:
                target.limiter.forget_failures(now)  # they were the group's
        return is_expected

    def gives(self, wanted: Wanted, now: float) -> bool:
        """Tell whether an object had better be asked for here."""
        if not self.is_up or self._is_suspect:
            return False
        return not self.refused_groups.known or not self.refused_groups.refuses(
            wanted.directory, wanted.name, now
        )

    def failed(
        self, key: object, reason: Reason, detail: str, now: float, asked_seconds: float | None = None
    ) -> bool:
        """Note an answer that was not the wanted one, or none; tell whether the endpoint, not the object, is to blame.

        `asked_seconds` is how long the source asks to be left alone: nobody asks meanwhile if the machine finds it down.
        """
        if reason not in SYMPTOMS or (self.is_origin and reason is Reason.MISSING):
            self.good(None)
            return False
        if self._is_at_fault:
            self._last = reason, detail
            return True
        if now < self._trusted_until:
            return not self.is_up
        if not self._failing:
            self._ailing_since = now
            self.is_attentive = True
        if len(self._failing) < MOST_KEPT:
            self._failing.add(key)
        self._failures += 1
        self._last = reason, detail
        self._is_suspect = self._weight() >= needed(reason)
        if self._is_suspect and asked_seconds:
            self._asked_until = max(self._asked_until, now + asked_seconds)
        return self._is_suspect or not self.is_up

    def is_doubtful(self, reason: Reason) -> bool:
        """Tell whether the failures are of so few objects that they say nothing of others: then a probe decides."""
        return self.is_up and reason in OUTAGE and self._failures > len(self._failing) > 0

    def probe_failed(self, reason: Reason) -> None:
        """Note that the probe failed too: whatever fails like that, be it one object alone, is the endpoint's fault."""
        if reason in OUTAGE and self._failing:
            self._has_probe_failed = self._is_suspect = True

    def _weight(self) -> int:
        """Return how many different objects failed; where the probe failed too, as many as it takes."""
        is_outage = self._last is not None and self._last[0] in OUTAGE
        return max(len(self._failing), SUSPECT if self._has_probe_failed and is_outage else 0)

    def probe_came(self, now: float, seconds: float, site: str = "") -> None:
        """Note that the probe came after so long, from a site: whatever fails next is at fault itself."""
        self.good(None)
        for target in self.targets:
            target.limiter.note_witness(seconds)
        self._trusted_until = now + TRUST_SECONDS
        if self.hosts is not None:
            self.hosts.probe_came(site, now)

    def trust(self, now: float) -> None:
        """Blame the objects for a while, though nothing ever came from here."""
        self._forget_failures()
        self._trusted_until = now + PRESUMED_SECONDS

    # --- what the machine makes of it

    def set_state(self, state: State, is_up: bool, now: float) -> None:
        """Take over the machine's judgement; what it finds down is left alone for as long as it asked."""
        if is_up and not self.is_up:
            if self._is_at_fault:
                self._forget_failures()
            self._held_until = -math.inf
            for ways in {self.targets, self.ways}:
                ways.forgive()
        self.state, self.is_up, self.trials = state, is_up, 0
        if not is_up and self._asked_until > now:
            self.targets.rest(now, self._asked_until - now)

    def give_up(self, fetcher: Fetcher) -> None:
        """Wait for no answer any longer if it is not up."""
        if not self.is_up:
            for site in {target.site for target in self.targets}:
                fetcher.abandon(site, Reason.TIMEOUT, "the endpoint does not answer")

    def symptoms(
        self, now: float, silent_seconds: float, unanswered: int, has_work: bool, has_probe: bool
    ) -> Symptoms:
        """Return what there is to report."""
        targets = self.targets
        reason, detail = self._last or (None, "")
        failing = self._weight()
        if self.is_tried and reason in REFUSALS:
            failing = min(failing, needed(reason) - 1)  # the probe is to tell what it means
        return Symptoms(
            self._proofs + targets.good,
            failing,
            round(now - self._ailing_since, 1) if failing else 0.0,
            reason,
            detail[:200] if failing or not self.is_up else "",
            round(silent_seconds, 1),
            unanswered,
            round(max(0.0, targets.rests_until - now), 1),
            has_work,
            self.has_waiting and not self.is_up,
            self.in_flight,
            self.ways.away(now),
            {target.label: target.limiter.counted for target in targets if target.limiter.requests},
            has_probe,
        )

    def status(self) -> EndpointStatus:
        """Return the counters."""
        limiters = [target.limiter for target in self.targets]
        return EndpointStatus(
            self.in_flight,
            sum(target.limiter.level for target in self.targets.listed() if not target.is_away),
            sum(limiter.requests for limiter in limiters),
            sum(limiter.throttled for limiter in limiters),
            round(sum(limiter.seconds for limiter in limiters), 3),
            self.is_origin,
            sum(limiter.received for limiter in limiters),
        )
