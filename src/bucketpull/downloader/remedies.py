"""What is done about objects that could not be fetched or written: another try, another endpoint, a later pass, or giving up.

Nothing here runs for an object that is had at the first try.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from bucketpull.domain.endpoints import OUTAGE
from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.http_exchange import Response, Verdict
from bucketpull.domain.retry import (
    BOUNDS,
    Scope,
    backoff_seconds,
    next_try,
)
from bucketpull.downloader.large_object import LargeObject
from bucketpull.downloader.meter import Meter
from bucketpull.downloader.routing import Blame, Routing
from bucketpull.downloader.transfer import Transfer, WaitingTransfers
from bucketpull.downloader.volume_queue import VolumeQueues

if TYPE_CHECKING:
    from random import Random

    from bucketpull.ports import Clock

# If an object is throttled so often in a row, our pace is not the cause, for it was lowered meanwhile: another endpoint is asked.
# Where the source refuses at random, whatever the pace: so often that chance is hardly the cause.
SINGLED_OUT = 3


class Decision(Enum):
    """What follows a bad answer."""

    AGAIN = 0  # the same endpoint, after back-off
    AT_ONCE = 1  # the same endpoint, now
    NEXT_ROUTE = 2
    DEFER = 3  # in a later pass
    GONE = 4
    FAIL = 5


class Remedies:
    """Decides about the failing objects of one process. `routing` says where they are asked for."""

    def __init__(
        self,
        routing: Routing,
        clock: Clock,
        random: Random,
        meter: Meter,
        volumes: VolumeQueues,
        waiting: WaitingTransfers,
    ) -> None:
        self._routing = routing
        self._clock = clock
        self._random = random
        self._meter = meter
        self._volumes = volumes
        self._waiting = waiting
        self._stopping = False

    def endpoints_changed(self) -> None:
        """Act on changed states of endpoints."""
        for transfer in self._routing.reroute():
            self._fail_everywhere(transfer, transfer.doubt or Reason.FORBIDDEN)

    def stop(self) -> None:
        """Hand back objects that wait, and ask for nothing again."""
        self._stopping = True
        for transfer in (*self._waiting.clear(), *self._routing.clear()):
            self.displace(transfer)

    def refused(self, transfer: Transfer, response: Response, verdict: Verdict) -> None:
        """Decide whether the endpoint or the object is to blame for a bad answer, and what follows."""
        transfer.status = response.status
        may_be_it = verdict.doubtful and response.received == transfer.size
        blame = Blame.OBJECT if may_be_it else self._routing.blame(transfer, verdict, self._blamed)
        if blame is not Blame.OPEN:
            self._blamed(transfer, verdict, blame)

    def broke_off(self, transfer: Transfer, large: LargeObject, response: Response, verdict: Verdict) -> None:
        """Keep what arrived of a large object, and decide how it goes on."""
        length, has_come = large.length, large.length > large.began
        large.note_failure(response, verdict)
        self._meter.waste(verdict.reason, length - large.length if has_come else response.received)
        if large.has_got_on:
            transfer.tries = 1
        if large.overlong:
            verdict.reason = Reason.SIZE
            verdict.detail = f"more than {large.bound} bytes, {transfer.size} are listed"
        self.refused(transfer, response, verdict)

    def unwritten(self, transfer: Transfer, reason: Reason, detail: str) -> None:
        """Decide about an object that its volume could not write."""
        remedy = BOUNDS[reason].remedy
        if remedy is Remedy.HOLD:
            self._volumes.troubled(transfer.queue, reason, detail, self._clock.monotonic())
            self.displace(transfer)
        elif remedy is Remedy.FAIL:
            self.fail(transfer, reason, detail)
        else:
            self.close_stream(transfer, keep=True)
            self._doubted(transfer, Verdict(reason, detail))

    def _blamed(self, transfer: Transfer, verdict: Verdict, blame: Blame) -> None:
        """Go on with an object; a failure of its endpoint does not count as a try."""
        if blame is Blame.OBJECT:
            self._doubted(transfer, verdict)
            return
        assert verdict.reason is not None
        transfer.tries, transfer.asked = max(0, transfer.tries - 1), transfer.asked - 1
        self._retried(transfer, verdict.reason)
        self._routing.choose(transfer)
        self.line_up(transfer)

    def _doubted(self, transfer: Transfer, verdict: Verdict) -> None:
        reason = verdict.reason
        assert reason is not None
        if reason is Reason.CLOCK and transfer.doubt is not Reason.CLOCK:
            transfer.tries -= 1  # the clock was set while it was asked for: that is no try of it
        decision = decide(
            reason,
            transfer.endpoint.is_origin,
            transfer.tries,
            transfer.at + 1 < len(transfer.routes),
            transfer.batch.passes,
            transfer.target.limiter.tries_by_chance(reason),
        )
        is_passing = decision is Decision.AGAIN and (reason in OUTAGE or reason is Reason.THROTTLED)
        if is_passing and self._routing.note_refusal(transfer):
            decision = Decision.NEXT_ROUTE
        if decision in {Decision.FAIL, Decision.GONE}:
            self.fail(transfer, Reason.GONE if decision is Decision.GONE else reason, verdict.detail)
        else:
            self._retried(transfer, reason)
            self._ask_again(transfer, decision, verdict)

    def _ask_again(self, transfer: Transfer, decision: Decision, verdict: Verdict) -> None:
        transfer.doubt = reason = verdict.reason
        assert reason is not None
        if decision is Decision.NEXT_ROUTE:
            self._routing.go_on(transfer)
            if self._routing.is_hopeless(transfer):
                self._fail_everywhere(transfer, reason)
                return
        if decision is Decision.DEFER:
            self._defer(transfer)
        else:
            now = self._clock.monotonic()
            at_once = decision is not Decision.AGAIN or transfer.target.has_easy(now)
            self.line_up(transfer, 0.0 if at_once else self._wait_seconds(transfer, verdict))

    def _wait_seconds(self, transfer: Transfer, verdict: Verdict) -> float:
        reason = verdict.reason
        assert reason is not None
        by_chance = transfer.target.limiter.tries_by_chance(reason)
        return backoff_seconds(reason, transfer.tries, self._random, verdict.retry_after_seconds, by_chance)

    def _defer(self, transfer: Transfer) -> None:
        self.close_stream(transfer, keep=True)
        transfer.batch.defer(transfer.progress, transfer.index, transfer.asked)
        self._volumes.report(transfer.batch)

    def host_left_alone(self, transfer: Transfer, reason: Reason, detail: str) -> None:
        """Defer an object whose host is left alone, without a request; in the last pass give it up."""
        if next_try(transfer.batch.passes) is None:
            self.fail(transfer, reason, detail)
        else:
            self._retried(transfer, reason)
            self._defer(transfer)

    def line_up(self, transfer: Transfer, rest_seconds: float = 0.0) -> None:
        """Put an object in line again, after a pause."""
        if self._stopping:
            self.displace(transfer)
        elif rest_seconds:
            self._waiting.rest(transfer, rest_seconds, partial(self._rested, transfer))
        else:
            transfer.endpoint.waiting.append(transfer)

    def _rested(self, transfer: Transfer) -> None:
        if not transfer.endpoint.is_up:
            self._routing.choose(transfer)
        self._waiting.rested(transfer)

    def _retried(self, transfer: Transfer, reason: Reason) -> None:
        self._meter.retries[reason] += 1
        transfer.batch.retries[reason] += 1

    def _fail_everywhere(self, transfer: Transfer, reason: Reason) -> None:
        self.fail(transfer, reason, f"{reason}; and {transfer.endpoint.name} refuses everything")

    def fail(self, transfer: Transfer, reason: Reason, detail: str) -> None:
        """Give an object up."""
        if reason is not Reason.GONE:
            self._meter.failures[reason] += 1
        self.close_stream(transfer, keep=False)
        transfer.batch.fail(
            transfer.progress, transfer.index, reason, transfer.asked, transfer.status, detail
        )
        self._volumes.report(transfer.batch)

    def displace(self, transfer: Transfer) -> None:
        """Hand back an object that cannot be stored here now."""
        self.close_stream(transfer, keep=True)
        trouble = transfer.queue.trouble or Reason.INTERRUPTED
        transfer.batch.displace(transfer.progress, transfer.index, trouble, transfer.queue.detail)
        self._volumes.report(transfer.batch)

    def close_stream(self, transfer: Transfer, keep: bool) -> None:
        """Close the stream of a large object; `keep` leaves what arrived for a later try."""
        if transfer.large is not None:
            transfer.large.close(keep)
            transfer.large = None


def decide(
    reason: Reason, is_origin: bool, tries: int, more_routes: bool, passes: int, by_chance: int = 0
) -> Decision:
    """Decide what to do with an object whose answer was not the wanted one. Pure; the table behind it is `retry.BOUNDS`.

    Args:
        reason: What was wrong with the answer.
        is_origin: Whether it came from an origin, whose answers are final.
        tries: Requests for the object at this endpoint in this pass, this one included.
        more_routes: Whether there is an endpoint that was not tried.
        passes: Earlier passes of the object.
        by_chance: How many of the tries may fail without saying anything of the object or of the pace.

    """
    remedy = BOUNDS[reason].remedy
    if remedy is Remedy.ORIGIN:
        return _doubtful(reason, is_origin, tries, more_routes)
    if remedy is Remedy.VANISH:
        return Decision.GONE
    if remedy is Remedy.RESIGN:
        return Decision.AT_ONCE if tries < BOUNDS[reason].tries else _put_off(passes)
    if remedy is Remedy.FAIL:
        return Decision.NEXT_ROUTE if more_routes and not is_origin else Decision.FAIL
    if remedy is Remedy.STOP:
        # Not the object's fault: once the cause is fixed it can be fetched.
        return _put_off(passes)
    return _passing(reason, tries, more_routes, passes, by_chance)


def _doubtful(reason: Reason, is_origin: bool, tries: int, more_routes: bool) -> Decision:
    if more_routes:
        return Decision.NEXT_ROUTE
    if reason is Reason.MISSING and is_origin:
        return Decision.GONE
    return Decision.AT_ONCE if tries < BOUNDS[reason].tries else Decision.FAIL


def _passing(reason: Reason, tries: int, more_routes: bool, passes: int, by_chance: int) -> Decision:
    most = BOUNDS[reason].tries
    if more_routes and BOUNDS[reason].remedy is Remedy.SLOW:
        most = min(most, max(SINGLED_OUT, by_chance + 1))
    else:
        most += by_chance
    if tries < most:
        return Decision.AGAIN
    if more_routes and BOUNDS[reason].scope not in {Scope.VOLUME, Scope.MACHINE}:
        return Decision.NEXT_ROUTE  # it may be the edge's trouble with this one object
    return _put_off(passes)


def _put_off(passes: int) -> Decision:
    return Decision.FAIL if next_try(passes) is None else Decision.DEFER
