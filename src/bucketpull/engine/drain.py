"""Objects inside one process: from an assignment's columns to files, with no barrier between assignments.

Each ended transfer frees a slot that the next object takes, whichever assignment it belongs to. This is the hot path: an
ordinary object costs one `Flight` and a handful of calls; all that is not ordinary is decided in `course`.
"""

from collections.abc import Callable, Iterator

import msgspec

from bucketpull.domain.errors import REMEDIES, Reason, Remedy, VolumeError
from bucketpull.domain.exchange import Response, Verdict
from bucketpull.domain.model import Lane
from bucketpull.domain.record import Assignment, Mount, Outcome, Written
from bucketpull.domain.retry import Random, backoff_seconds
from bucketpull.engine.bay import Bay, Yard, trouble_of
from bucketpull.engine.breaker import Trip
from bucketpull.engine.course import REFUSALS, Course, course
from bucketpull.engine.flight import Flight, Lines
from bucketpull.engine.lanes import Gate
from bucketpull.engine.meter import Meter
from bucketpull.engine.policy import Bounds
from bucketpull.engine.pour import Pour
from bucketpull.engine.sheet import Item, Sheet
from bucketpull.engine.soundness import is_believed, is_sound
from bucketpull.ports import Clock, Fetcher, Source, Writer

# A poured object keeps a receive buffer and one piece on its way to the disk.
POUR_BYTES = 512 << 10
CATCH_UP_SECONDS = 0.2
# Volumes take turns by so many objects: to look for the next one costs as much as to begin it.
RUN = 16


class Drain:
    """All assignments of one process.

    Args:
        mount: Opens a volume's writer; raises `VolumeError`.
        outcome: Called with each assignment's outcome.
        fatal: Called with the reason and the words when the source refuses us as a whole.

    """

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        gates: dict[Lane, Gate[Flight]],
        mount: Callable[[Mount], Writer],
        clock: Clock,
        random: Random,
        meter: Meter,
        bounds: Bounds,
        outcome: Callable[[Outcome], None],
        fatal: Callable[[Reason, str], None],
    ) -> None:
        self.yard = Yard(mount, outcome)
        self.paused = False
        self.concurrency: int | None = None
        self._source = source
        self._fetcher = fetcher
        self._gates = gates
        self._order = tuple(gates.values())
        self._clock = clock
        self._random = random
        self._meter = meter
        self._bounds = bounds
        self._fatal = fatal
        self._lines = Lines(self._order, fetcher, bounds.queued, bounds.parked)
        self.held = 0
        """Bytes in memory: bodies in flight, and those that writers have still to write."""
        self._now = clock.monotonic()
        self._unix = clock.now()
        self._stale = True
        self._share = 1.0
        self._stopping = False

    def mount(self, mount: Mount) -> None:
        """Make a volume known; one that was sick is opened anew."""
        bay = self.yard.mount(mount, self._clock.monotonic())
        if bay is not None and bay.writer is not None:
            self._fetcher.watch(bay.writer.wake_fd, lambda: self._collect(bay))

    def assign(self, assignment: Assignment) -> None:
        """Take an assignment; its outcome comes when each object has ended in some way."""
        self.yard.assign(assignment, self._clock.monotonic(), self._stopping)

    def fill(self, now: float) -> None:
        """Start what the limiters, the memory's bound and the volumes allow: those in line first, then fresh objects."""
        self._now, self._unix, self._stale = now, self._clock.now(), True
        room = 0 if self.paused or self._stopping else self._room()
        self._lines.call_back()
        for gate in self._order:
            if gate.open(now) and gate.waiting:
                room = self._start_waiting(gate, room)
        # Where the first lane is full, objects for the other are not looked for behind those that are its own.
        if room > 0 and self._order[0].free > 0:
            self._start_fresh(room)

    def _start_waiting(self, gate: Gate[Flight], room: int) -> int:
        most = self._bounds.held
        while room > 0 and self.held < most and gate.waiting and (gate.free > 0 or gate.open(self._now)):
            flight = self._lines.next(gate)
            if flight is not None:
                room -= self._start(flight, gate)
        return room

    def _start_fresh(self, room: int) -> None:
        bounds, now, first, is_crowded = self._bounds, self._now, self._order[0], False
        while room > 0 and self.held < bounds.held and not is_crowded:
            run = self.yard.take(min(room, RUN, max(first.free, 1)), bounds.queued)
            if run is None:
                return
            for flight in self._flights(*run):
                gate = flight.gate
                if self.held < bounds.held and (gate.free > 0 or gate.open(now)):
                    room -= self._start(flight, gate)
                else:
                    gate.waiting.append(flight)
                    is_crowded |= gate is first or len(gate.waiting) >= bounds.parked

    def _room(self) -> int:
        if self.concurrency is None:
            return 1 << 30
        return self.concurrency - sum(gate.limiter.in_flight for gate in self._order)

    def _flights(self, bay: Bay, sheet: Sheet, run: list[Item]) -> Iterator[Flight]:
        lanes_of, gates = self._source.lanes, self._gates
        for leaf, index, name, size, mtime in run:
            lanes = lanes_of(name, size)
            yield Flight(self, bay, sheet, leaf, index, name, size, mtime, lanes, gates[lanes[0]])

    def _start(self, flight: Flight, gate: Gate[Flight]) -> int:
        """Send an object's request; return how many transfers that made."""
        if flight.bay.trouble is not None:
            self._displace(flight)
            return 0
        if flight.pour is not None or flight.size > self._bounds.poured:
            return self._start_pour(flight, gate)
        flight.tries += 1
        flight.asked += 1
        flight.held = held = int(flight.size * self._share)
        self.held += held
        gate.start(self._now)
        request = self._source.object_request(
            flight.leaf.part.directory, flight.name, flight.size, gate.lane, self._unix
        )
        self._fetcher.submit(request, flight.done)
        return 1

    def _start_pour(self, flight: Flight, gate: Gate[Flight]) -> int:
        if flight.pour is None and not self._open_pour(flight):
            return 0
        pour, part = flight.pour, flight.leaf.part
        assert pour is not None
        if pour.is_behind:
            self._line_up(flight, CATCH_UP_SECONDS)
            return 0
        flight.tries += 1
        flight.asked += 1
        flight.held = POUR_BYTES
        self.held += POUR_BYTES
        gate.start(self._now)
        pour.begin()
        request = self._source.object_request(
            part.directory, flight.name, flight.size, gate.lane, self._unix, pour.began, pour.version
        )
        self._fetcher.submit(msgspec.structs.replace(request, max_bytes=pour.most), flight.poured, pour.take)
        return 1

    def _open_pour(self, flight: Flight) -> bool:
        bay, part, size = flight.bay, flight.leaf.part, flight.size
        assert bay.writer is not None
        hashed = bay.compares and bay.states_md5
        try:
            stream = bay.writer.stream(part.directory, flight.name, size, flight.mtime, hashed)
        except VolumeError as error:
            self._unwritten(flight, trouble_of(error), error.detail)
            return False
        # What changed since it was listed may be larger, a body without an end may not fill the disk.
        most = max(2 * size, size + (1 << 30))
        flight.pour = Pour(stream, bay.writer, self._bounds.queued, most)
        return True

    def answered(self, flight: Flight, response: Response) -> None:
        """Hand the object's bytes to its writer, or decide what its failure calls for."""
        verdict = self._source.judge(
            flight.name, flight.size, flight.gate.lane, response, self._unix, mtime=flight.mtime
        )
        self._finished(flight, response, verdict)
        if verdict.reason is not None or (
            (verdict.md5 or flight.bay.hashes or response.received != flight.size)
            and not is_sound(flight, response, verdict)
        ):
            self._unanswered(flight, response, verdict)
        else:
            self._store(flight, response)

    def _unanswered(self, flight: Flight, response: Response, verdict: Verdict) -> None:
        self._release(flight)
        if response.failure is Reason.SIZE and flight.at + 1 == len(flight.lanes) and self._open_pour(flight):
            self._line_up(flight)  # more came than memory should hold
        else:
            self._refused(flight, response, verdict)

    def _finished(self, flight: Flight, response: Response, verdict: Verdict) -> None:
        if self._stale:
            self._now, self._stale = self._clock.monotonic(), False
        gate, seconds, reason = flight.gate, response.seconds, verdict.reason
        gate.limiter.finished(self._now, reason, seconds, response.received, verdict.retry_after_seconds)
        if reason is not None:
            return
        self._meter.timed(seconds)
        breaker = gate.breaker
        if breaker.streak or not breaker.proven:
            breaker.good()
        if flight.at and flight.doubt is Reason.MISSING:
            # An edge that knows nothing of what the origin has is the wrong edge, if it never knew anything.
            edge = self._gates[flight.lanes[0]]
            self._tripped(edge, Reason.MISSING, "not found there, but at the origin")

    def _store(self, flight: Flight, response: Response) -> None:
        bay, size = flight.bay, response.received
        if bay.trouble is not None or bay.writer is None:
            self._release(flight)
            self._displace(flight)
            return
        if size != flight.size and flight.gate.lane is Lane.CDN:
            # Image versions: how much smaller they are than what is listed is learnt on the way.
            self._share += 0.05 * (min(1.0, size / max(flight.size, 1)) - self._share)
        self.held += size - flight.held
        flight.held = flight.stored = size
        directory = flight.leaf.part.directory
        written = bay.writer.put(directory, flight.name, flight.mtime, response.chunks, flight)
        if written is not None:
            self._written(flight, written)

    def poured(self, flight: Flight, response: Response) -> None:
        """Have a large object published that is whole, or decide how it goes on."""
        pour = flight.pour
        assert pour is not None
        verdict = self._source.judge(
            flight.name,
            flight.size,
            flight.gate.lane,
            response,
            self._unix,
            pour.began,
            pour.version,
            flight.mtime,
        )
        self._finished(flight, response, verdict)
        self._release(flight)
        if pour.trouble is not None and pour.trouble.reason is not None:
            self._unwritten(flight, pour.trouble.reason, pour.trouble.detail)
            return
        if verdict.reason is None and not pour.is_proven(verdict):
            verdict.reason, verdict.detail = Reason.RANGE, "a part of unknown version, and no md5 to prove it"
        if verdict.reason is None and (pour.length == flight.size or is_believed(flight, response, verdict)):
            flight.stored = pour.length
            if verdict.md5 and flight.bay.compares:
                flight.bay.states_md5 = True
                flight.leaf.note_md5(flight.index, bytes.fromhex(verdict.md5))
            else:
                verdict.md5 = ""
            pour.publish(verdict, flight)
        else:
            self._broke_off(flight, pour, response, verdict)

    def _broke_off(self, flight: Flight, pour: Pour, response: Response, verdict: Verdict) -> None:
        pour.heed(response, verdict)
        if verdict.reason is Reason.RANGE:
            pour.restart()
        if pour.behind:
            flight.tries -= 1
            self._line_up(flight, CATCH_UP_SECONDS)
            return
        if pour.overlong:
            verdict.reason, verdict.detail = (
                Reason.SIZE,
                f"more than {pour.most} bytes, {flight.size} are listed",
            )
        self._refused(flight, response, verdict)

    def _collect(self, bay: Bay) -> None:
        """Take what a writer did."""
        assert bay.writer is not None
        for written in bay.writer.outcomes():
            flight = written.token
            assert isinstance(flight, Flight)
            self._written(flight, written)

    def _written(self, flight: Flight, written: Written) -> None:
        self.held -= flight.held
        if written.reason is not None or flight.blemish:
            self._ended_oddly(flight, written)
            return
        size, sheet, meter = flight.stored, flight.sheet, self._meter
        flight.bay.written += size
        meter.objects += 1
        meter.bytes += size
        sheet.store(flight.leaf, flight.index, size, written.path)
        if not sheet.left:
            self.yard.settle(sheet)

    def _ended_oddly(self, flight: Flight, written: Written) -> None:
        flight.held = 0
        flight.pour = None  # it was published, or thrown away
        if written.reason is None:
            flight.bay.written += flight.stored
            self._fail(flight, Reason.CHECKSUM, f"kept, but {flight.blemish}")
        else:
            self._unwritten(flight, written.reason, written.detail)

    def _unwritten(self, flight: Flight, reason: Reason, detail: str) -> None:
        remedy = REMEDIES[reason]
        if remedy is Remedy.HOLD:
            self.yard.troubled(flight.bay, reason, detail, self._now)
            self._displace(flight)
        elif remedy is Remedy.FAIL:
            self._fail(flight, reason, detail)
        else:
            self._doubted(flight, None, Verdict(reason, detail))

    def _refused(self, flight: Flight, response: Response, verdict: Verdict) -> None:
        reason = verdict.reason
        assert reason is not None
        flight.status = response.status
        if reason in REFUSALS or REMEDIES[reason] is Remedy.STOP:
            self._tripped(flight.gate, reason, verdict.detail)
        self._doubted(flight, response, verdict)

    def _doubted(self, flight: Flight, response: Response | None, verdict: Verdict) -> None:
        reason = verdict.reason
        assert reason is not None
        way = course(
            reason,
            flight.gate.lane,
            flight.tries,
            flight.at + 1 < len(flight.lanes),
            flight.doubt is Reason.CHECKSUM,
            flight.sheet.attempt,
        )
        if way is Course.KEEP and response is not None and response.received == flight.size:
            flight.blemish = verdict.detail
            self._store(flight, response)
        elif way in {Course.FAIL, Course.GONE, Course.KEEP}:
            self._fail(flight, Reason.GONE if way is Course.GONE else reason, verdict.detail)
        else:
            self._retried(flight, reason)
            self._ask_again(flight, way, reason, verdict.retry_after_seconds)

    def _ask_again(self, flight: Flight, way: Course, reason: Reason, asked_seconds: float | None) -> None:
        flight.doubt = reason
        if way is Course.NEXT_LANE:
            flight.at += 1
            flight.tries = 0
            flight.gate = self._gates[flight.lanes[flight.at]]
            if flight.pour is not None:
                flight.pour.restart()
        if way is Course.DEFER:
            self._let_go(flight, keep=True)
            flight.sheet.defer(flight.leaf, flight.index)
            self.yard.settle(flight.sheet)
        else:
            wait = backoff_seconds(reason, flight.tries, self._random, asked_seconds)
            self._line_up(flight, wait if way is Course.AGAIN else 0.0)

    def _line_up(self, flight: Flight, rest_seconds: float = 0.0) -> None:
        if self._stopping:
            self._displace(flight)
        elif rest_seconds:
            self._lines.rest(flight, rest_seconds)
        else:
            flight.gate.waiting.append(flight)

    def rested(self, flight: Flight) -> None:
        """Put an object back in line after its rest."""
        self._lines.rested(flight)

    def _tripped(self, gate: Gate[Flight], reason: Reason, detail: str) -> None:
        if gate.refused(reason, self._now) is Trip.FATAL:
            count = gate.breaker.streak
            self._fatal(reason, f"{gate.lane}: {count} objects in a row were refused alike: {detail}")

    def _retried(self, flight: Flight, reason: Reason) -> None:
        self._meter.retried(reason)
        retries = flight.sheet.retries
        retries[reason] = retries.get(reason, 0) + 1

    def _fail(self, flight: Flight, reason: Reason, detail: str) -> None:
        if reason is not Reason.GONE:
            self._meter.failed(reason)
        self._let_go(flight, keep=False)
        flight.sheet.fail(flight.leaf, flight.index, reason, flight.asked, flight.status, detail)
        self.yard.settle(flight.sheet)

    def _displace(self, flight: Flight) -> None:
        self._let_go(flight, keep=True)
        trouble = flight.bay.trouble or Reason.INTERRUPTED
        flight.sheet.displace(flight.leaf, flight.index, trouble, flight.bay.detail)
        self.yard.settle(flight.sheet)

    def _let_go(self, flight: Flight, keep: bool) -> None:
        if flight.pour is not None:
            flight.pour.close(keep)
            flight.pour = None

    def _release(self, flight: Flight) -> None:
        self.held -= flight.held
        flight.held = 0

    def unstarted(self) -> int:
        """Return how many objects wait for a slot."""
        return self.yard.unstarted() + len(self._lines)

    # --- the end

    def stop(self) -> None:
        """Begin nothing more: what is not in flight is handed back."""
        self._stopping = True
        self.yard.stop()
        for flight in self._lines.clear():
            self._displace(flight)

    def abandon(self) -> None:
        """Hand back what has not ended, after all transfers are given up; only writers finish what they have."""
        for bay in self.yard.bays.values():
            if bay.writer is not None:
                bay.writer.close()
                self._collect(bay)
        self.yard.sweep()
