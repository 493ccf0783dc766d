"""How the limits of a job are shared out to its machines, and how all slow down when the source throttles one. Pure.

Times are monotonic seconds, rates are requests a second.
"""

from collections.abc import Iterator, Mapping

from bucketpull.coordinator.fleet import Fleet
from bucketpull.domain.endpoints import Purpose
from bucketpull.domain.messages import Pulse
from bucketpull.domain.status import EndpointStatus
from bucketpull.domain.user_limits import Limits

STEP_SECONDS = 2.0
HOLD_SECONDS = 6.0  # a cap stays so long before it is tried whether the source takes more
BLIND_SECONDS = 3.0  # after a cut, until the answers to what was asked before it are counted
CUT, GROW = 0.8, 1.1
# So small a share of throttled answers is no reason to slow down: it shows that the rate is fully used.
TOLERATED = 0.01
ENOUGH = 30  # answers, to say whether a cut has helped
# The share of the rate that a coordinator's lister may use; the others get what it leaves.
LISTER_PART = 0.5
GRAIN = 0.02  # shares change in such steps, so that not every pulse makes new ones


class Tally:
    """The requests of all machines since the last `clear`, by the counters in their pulses."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, Mapping[str, EndpointStatus]]] = {}
        self.requests = 0
        self.throttled = 0
        self.listings = 0

    def see(self, pulse: Pulse) -> None:
        """Count what is new in a pulse; a worker's first pulse counts nothing."""
        incarnation, before = self._seen.get(pulse.machine, ("", {}))
        self._seen[pulse.machine] = (pulse.incarnation, pulse.endpoints)
        if incarnation != pulse.incarnation:
            return
        for name, endpoint in pulse.endpoints.items():
            last = before.get(name)
            requests = endpoint.requests - (last.requests if last else 0)
            self.requests += max(0, requests)
            self.throttled += max(0, endpoint.throttled - (last.throttled if last else 0))
            if name == Purpose.LIST and not pulse.volumes:
                self.listings += max(0, requests)

    def clear(self) -> None:
        """Begin to count anew."""
        self.requests = self.throttled = self.listings = 0


class Cause:
    """Whether the pace is why requests are throttled. It is not if as large a share is throttled after a cut as before it.

    Shares are of all answers. `usual` is the share that is throttled at any pace.
    """

    def __init__(self) -> None:
        self.usual = 0.0
        self._before: float | None = None
        self._asked = self._refused = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it is not known yet what the last cut has brought."""
        return self._before is not None

    @property
    def is_pace(self) -> bool:
        """Whether so much is throttled that the pace may be the cause."""
        return self._share > (_clearly_more(self.usual) if self.usual else TOLERATED)

    @property
    def _share(self) -> float:
        return self._refused / (self._asked or 1.0)

    def cut(self) -> None:
        """Note that less is asked for from now on."""
        self._before, self._asked, self._refused = self._share, 0.0, 0.0

    def note(self, tally: Tally) -> None:
        """Count answers; older ones fade."""
        if self._asked > 4 * ENOUGH:
            self._asked, self._refused = self._asked / 2, self._refused / 2
        self._asked += tally.requests
        self._refused += tally.throttled
        if self._asked < ENOUGH:
            return
        if self._before is None:
            self.usual = self.usual if self._share > self.usual / 2 else 0.0
        elif self._before / 2 < self._share <= _clearly_more(self._before):
            self.usual = max(self._before, self._share)
        self._before = None


def _clearly_more(share: float) -> float:
    return min(share * 1.5 + 0.05, share + 0.15)


class Sharing:
    """Decides what each machine may use. `cap` is the rate that the source seems to bear, None while it does not throttle."""

    def __init__(self) -> None:
        self.cap: float | None = None
        self._tally = Tally()
        self._cause = Cause()
        self._since: float | None = None
        self._hold_until = self._blind_until = 0.0
        self._listings = 0.0

    def see(self, pulse: Pulse, machines: int, now: float) -> None:
        """Note a pulse; so many `machines` have volumes. One machine alone finds its own level, several need a common one."""
        self._tally.see(pulse)
        if self._since is None:
            self._since = now
        elapsed = now - self._since
        if elapsed < STEP_SECONDS:
            return
        self._listings = self._tally.listings / elapsed
        if machines > 1:
            self._judge(elapsed, now)
        else:
            self.cap = None
        self._tally.clear()
        self._since = now

    def share(self, limits: Limits, takers: int, *, is_lister: bool) -> Limits:
        """Return one machine's share of the limits of the whole job, of which so many take objects; `is_lister` has no volumes."""
        rate = limits.requests_per_second
        if self.cap is not None:
            rate = self.cap if rate is None else min(rate, self.cap)
        takers = max(1, takers)
        if rate is not None:
            rate = rate * LISTER_PART if is_lister else (rate - self._listed(rate)) / takers
        size = limits.bytes_per_second
        return Limits(limits.concurrency, rate, None if size is None else size / takers, limits.paused)

    def due(
        self, limits: Limits, fleet: Fleet, remind_seconds: float, now: float
    ) -> Iterator[tuple[str, Limits]]:
        """Give each machine whose share has changed, and its share; after so long all are told again, since a message may be lost."""
        for machine, member in list(fleet.members.items()):
            share = self.share(limits, fleet.takers, is_lister=fleet.is_lister(machine))
            if member.share != share or now - member.share_told_at > remind_seconds:
                member.share, member.share_told_at = share, now
                yield machine, share

    def _listed(self, rate: float) -> float:
        """Return how much of a rate the lister uses, in whole grains."""
        grain = rate * GRAIN
        return min(round(self._listings / grain) * grain, rate * LISTER_PART) if grain else 0.0

    def _judge(self, elapsed: float, now: float) -> None:
        tally = self._tally
        if now < self._blind_until:
            return
        self._cause.note(tally)
        if self._cause.is_open:
            return
        if self._cause.is_pace:
            self._cause.cut()
            taken = max(1.0, (tally.requests - tally.throttled) / elapsed)
            self.cap = max(1.0, CUT * min(taken, self.cap or taken))
            self._hold_until, self._blind_until = now + HOLD_SECONDS, now + BLIND_SECONDS
        elif self.cap is not None and now >= self._hold_until:
            self.cap *= GROW
            if self.cap > 2 * tally.requests / elapsed:
                self.cap = None
