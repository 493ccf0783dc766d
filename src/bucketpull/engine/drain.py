"""Objects inside one process: from an assignment's columns to files, with no barrier between assignments.

Each ended transfer frees a slot that the next object takes, whichever assignment it belongs to. This is the hot path: an
ordinary object costs one `Flight` and a handful of calls; all that is not ordinary is decided in `course`.
"""

from collections import deque
from collections.abc import Callable
from hashlib import md5
from typing import NamedTuple

import msgspec

from bucketpull.domain.errors import REMEDIES, Reason, Remedy, VolumeError
from bucketpull.domain.exchange import Response, Verdict
from bucketpull.domain.model import Lane, show
from bucketpull.domain.record import Assignment, Mount, Outcome, Written
from bucketpull.domain.retry import Random, backoff_seconds
from bucketpull.engine.bay import Bay, trouble_of
from bucketpull.engine.breaker import Trip
from bucketpull.engine.course import REFUSALS, Course, changed_since, course
from bucketpull.engine.lanes import Gate
from bucketpull.engine.meter import Meter
from bucketpull.engine.sheet import Leaf, Sheet
from bucketpull.ports import Clock, Fetcher, Source, Writer


class Bounds(NamedTuple):
    """What a process may hold in memory, in bytes and objects.

    `held` bounds the bodies in flight and waiting for writers; `queued` those waiting for one volume's writer.
    `parked` objects of one lane may be overtaken by those of the other. Objects above `streamed` bytes go to disk as they come.
    """

    held: int = 64 << 20
    queued: int = 16 << 20
    parked: int = 1024
    streamed: int = 8 << 20


class Flight(msgspec.Struct, gc=False, eq=False):
    """One object that was taken from its assignment and has not ended.

    `at` is the index of its lane; `tries` counts requests on that lane, `asked` all of them. `held` is what it counts in
    the memory's bound. `doubt` is why the first lane's answer was not believed, `stored` the size of what came.
    """

    drain: "Drain"
    bay: Bay
    sheet: Sheet
    leaf: Leaf
    index: int
    name: bytes
    size: int
    lanes: tuple[Lane, ...]
    gate: "Gate[Flight]"
    at: int = 0
    tries: int = 0
    asked: int = 0
    held: int = 0
    stored: int = 0
    status: int = 0
    doubt: Reason | None = None
    detail: str = ""

    def done(self, response: Response) -> None:
        """Take the answer."""
        self.drain.answered(self, response)

    def again(self) -> None:
        """Get in line after a back-off."""
        self.drain.line_up(self)


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
        self._source = source
        self._fetcher = fetcher
        self._gates = gates
        self._order = tuple(gates.values())
        self._mount = mount
        self._clock = clock
        self._random = random
        self._meter = meter
        self._bounds = bounds
        self._outcome = outcome
        self._fatal = fatal
        self._bays: dict[str, Bay] = {}
        self._turns: deque[Bay] = deque()
        self._sheets: set[Sheet] = set()
        self._resting: set[Flight] = set()
        self._held = 0
        self._now = clock.monotonic()
        self._unix = clock.now()
        self._stopping = False
        self.paused = False
        self.concurrency: int | None = None

    # --- what comes in

    def mount(self, mount: Mount) -> None:
        """Make a volume known; one that was sick is opened anew."""
        known = self._bays.get(mount.id)
        if known is not None and known.trouble is not Reason.VOLUME_SICK:
            return
        writer: Writer | None = None
        trouble: Reason | None = None
        detail = ""
        try:
            writer = self._mount(mount)
        except VolumeError as error:
            trouble, detail = trouble_of(error), error.detail
        bay = Bay(mount, writer, trouble, detail)
        if known is not None:
            self._turns.remove(known)
            bay.written = known.written
        self._bays[mount.id] = bay
        self._turns.append(bay)
        if writer is not None:
            self._fetcher.watch(writer.wake_fd, lambda: self._collect(bay))

    def assign(self, assignment: Assignment) -> None:
        """Take an assignment; its outcome comes when each object has ended in some way."""
        sheet = Sheet(assignment)
        self._sheets.add(sheet)
        bay = self._bays.get(assignment.volume)
        if bay is None:
            sheet.displace_untaken(Reason.VOLUME_SICK, "the volume was not made known to the process")
        elif self._stopping:
            sheet.displace_untaken(Reason.INTERRUPTED, "")
        else:
            bay.add(sheet, self._clock.monotonic())
            if bay.trouble is not None:
                bay.sheets.pop()
                sheet.displace_untaken(bay.trouble, bay.detail)
        self._settle(sheet)

    # --- what goes out

    def fill(self, now: float) -> None:
        """Start what the limiters, the memory's bound and the volumes allow: those in line first, then fresh objects."""
        self._now = now
        self._unix = self._clock.now()
        room = 0 if self.paused or self._stopping else self._room()
        if room <= 0:
            return
        most = self._bounds.held
        for gate in self._order:
            waiting = gate.waiting
            while waiting and room > 0 and self._held < most and gate.is_open(now):
                room -= self._start(waiting.popleft(), gate)
        while room > 0 and self._held < most and any(gate.is_open(now) for gate in self._order):
            flight = self._take()
            if flight is None:
                break
            gate = flight.gate
            if gate.is_open(now):
                room -= self._start(flight, gate)
                continue
            gate.waiting.append(flight)
            if len(gate.waiting) >= self._bounds.parked:
                break

    def _room(self) -> int:
        if self.concurrency is None:
            return 1 << 30
        return self.concurrency - sum(gate.limiter.in_flight for gate in self._order)

    def _take(self) -> Flight | None:
        """Take the next object; volumes in turn, without those whose writers are behind."""
        turns = self._turns
        for _ in range(len(turns)):
            bay = turns[0]
            turns.rotate(-1)
            if bay.queued > self._bounds.queued:
                continue
            taken = bay.take()
            if taken is not None:
                sheet, leaf, index = taken
                part = leaf.part
                name, size = part.names[index], part.sizes[index]
                lanes = self._source.lanes(name, size)
                return Flight(self, bay, sheet, leaf, index, name, size, lanes, self._gates[lanes[0]])
        return None

    def _start(self, flight: Flight, gate: Gate[Flight]) -> int:
        """Send an object's request; return how many transfers that made."""
        if flight.bay.trouble is not None:
            self._displace(flight)
            return 0
        flight.tries += 1
        flight.asked += 1
        flight.held = flight.size
        self._held += flight.size
        gate.limiter.started(self._now)
        request = self._source.object_request(
            flight.leaf.part.directory, flight.name, flight.size, gate.lane, self._unix
        )
        self._fetcher.submit(request, flight.done)
        return 1

    # --- what comes back

    def answered(self, flight: Flight, response: Response) -> None:
        """Hand the object's bytes to its writer, or decide what its failure calls for."""
        gate = flight.gate
        verdict = self._source.judge(flight.name, flight.size, gate.lane, response, self._unix)
        gate.limiter.finished(
            self._now, verdict.reason, response.seconds, response.received, verdict.retry_after_seconds
        )
        if verdict.reason is None:
            gate.breaker.good()
            self._meter.timed(response.seconds)
            if flight.bay.compares and not self._is_sound(flight, response, verdict):
                self._release(flight)
                self._doubted(flight, response, verdict)
            else:
                self._store(flight, response.chunks, response.received)
        else:
            self._release(flight)
            self._refused(flight, response, verdict)

    def _is_sound(self, flight: Flight, response: Response, verdict: Verdict) -> bool:
        """Compare the MD5 with the stated one; where the origin's size is not the listed one, ask if it changed."""
        bay = flight.bay
        if verdict.md5 or bay.hashes:
            digest = md5(usedforsecurity=False)
            for chunk in response.chunks:
                digest.update(chunk)
            found = digest.digest()
            if verdict.md5 and found != bytes.fromhex(verdict.md5):
                verdict.reason = Reason.CHECKSUM
                verdict.detail = f"md5 {found.hex()} came, {verdict.md5} is stated"
                return False
            flight.leaf.note_md5(flight.index, found)
        if response.received == flight.size or flight.gate.lane is not Lane.REST or verdict.md5:
            return True
        if changed_since(response, flight.leaf.part.mtimes[flight.index]):
            return True
        verdict.reason = Reason.SIZE
        verdict.detail = f"{response.received} bytes came from the origin, {flight.size} are listed"
        return False

    def _store(self, flight: Flight, chunks: list[bytes], size: int) -> None:
        bay, part = flight.bay, flight.leaf.part
        if bay.trouble is not None or bay.writer is None:
            self._release(flight)
            self._displace(flight)
            return
        if flight.doubt is Reason.MISSING and flight.at:
            self._contradicted(flight)
        self._held += size - flight.held
        flight.held = flight.stored = size
        bay.queued += size
        bay.writer.put(part.directory, flight.name, part.mtimes[flight.index], chunks, flight)

    def _collect(self, bay: Bay) -> None:
        """Take what a writer did."""
        assert bay.writer is not None
        for written in bay.writer.outcomes():
            flight = written.token
            assert isinstance(flight, Flight)
            bay.queued -= flight.stored
            self._held -= flight.held
            if written.reason is None:
                self._stored(flight, written.path)
            else:
                self._unwritten(flight, written, written.reason)

    def _stored(self, flight: Flight, path: bytes | None) -> None:
        sheet = flight.sheet
        if flight.doubt is Reason.CHECKSUM and flight.detail:
            self._fail(flight, Reason.CHECKSUM, f"kept, but {flight.detail}")
            return
        self._meter.objects += 1
        self._meter.bytes += flight.stored
        flight.bay.written += flight.stored
        sheet.store(flight.leaf, flight.index, flight.stored, path)
        if not sheet.left:
            self._settle(sheet)

    def _unwritten(self, flight: Flight, written: Written, reason: Reason) -> None:
        if REMEDIES[reason] is not Remedy.HOLD:
            self._fail(flight, reason, written.detail)
            return
        bay = flight.bay
        if bay.trouble is None:
            for sheet in bay.stop(reason, written.detail, self._now):
                if sheet is not flight.sheet:
                    self._settle(sheet)
        self._displace(flight)

    # --- what went wrong

    def _refused(self, flight: Flight, response: Response, verdict: Verdict) -> None:
        reason, gate = verdict.reason, flight.gate
        assert reason is not None
        if reason in REFUSALS or REMEDIES[reason] is Remedy.STOP:
            self._tripped(gate, reason, verdict.detail)
        self._doubted(flight, response, verdict)

    def _doubted(self, flight: Flight, response: Response, verdict: Verdict) -> None:
        reason, gate = verdict.reason, flight.gate
        assert reason is not None
        flight.status = response.status
        more = flight.at + 1 < len(flight.lanes)
        mismatched = flight.doubt is Reason.CHECKSUM
        way = course(reason, gate.lane, flight.tries, more, mismatched, flight.sheet.attempt)
        if way in {Course.FAIL, Course.GONE}:
            self._fail(flight, Reason.GONE if way is Course.GONE else reason, verdict.detail)
        elif way is Course.KEEP:
            flight.doubt, flight.detail = Reason.CHECKSUM, verdict.detail
            self._store(flight, response.chunks, response.received)
        else:
            self._retried(flight, reason)
            if way is Course.DEFER:
                flight.sheet.defer(flight.leaf, flight.index)
                self._settle(flight.sheet)
            else:
                self._ask_again(flight, way, reason, verdict.retry_after_seconds)

    def _ask_again(self, flight: Flight, way: Course, reason: Reason, asked_seconds: float | None) -> None:
        if way is Course.NEXT_LANE:
            flight.at += 1
            flight.tries = 0
            flight.doubt = reason
            flight.gate = self._gates[flight.lanes[flight.at]]
        if self._stopping:
            self._displace(flight)
        elif way is Course.AGAIN:
            self._resting.add(flight)
            wait = backoff_seconds(reason, flight.tries, self._random, asked_seconds)
            self._fetcher.call_later(wait, flight.again)
        else:
            flight.doubt = reason
            flight.gate.waiting.append(flight)

    def line_up(self, flight: Flight) -> None:
        """Put an object back in line after its back-off."""
        if flight in self._resting:
            self._resting.remove(flight)
            flight.gate.waiting.append(flight)

    def _contradicted(self, flight: Flight) -> None:
        """The origin has what an edge called missing: an edge that knows nothing at all is the wrong one."""
        self._tripped(self._gates[flight.lanes[0]], Reason.MISSING, "not found there, but at the origin")

    def _tripped(self, gate: Gate[Flight], reason: Reason, detail: str) -> None:
        if gate.refused(reason, self._now) is Trip.FATAL:
            self._fatal(
                reason,
                f"{gate.lane}: {gate.breaker.streak} objects in a row were refused, none was had: {detail}",
            )

    def _retried(self, flight: Flight, reason: Reason) -> None:
        self._meter.retried(reason)
        retries = flight.sheet.retries
        retries[reason] = retries.get(reason, 0) + 1

    def _fail(self, flight: Flight, reason: Reason, detail: str) -> None:
        sheet = flight.sheet
        if reason is not Reason.GONE:
            self._meter.failed(reason)
        sheet.fail(flight.leaf, flight.index, reason, flight.asked, flight.status, detail)
        self._settle(sheet)

    def _displace(self, flight: Flight) -> None:
        trouble = flight.bay.trouble
        detail = flight.bay.detail if trouble is not None else ""
        flight.sheet.displace(flight.leaf, flight.index, trouble or Reason.INTERRUPTED, detail)
        self._settle(flight.sheet)

    def _release(self, flight: Flight) -> None:
        self._held -= flight.held
        flight.held = 0

    def _settle(self, sheet: Sheet) -> None:
        if not sheet.left and sheet in self._sheets:
            self._sheets.remove(sheet)
            self._outcome(sheet.outcome())

    # --- the end, and what others want to know

    def stop(self) -> None:
        """Begin nothing more: what is not in flight is handed back."""
        self._stopping = True
        for bay in self._turns:
            for sheet in bay.sheets:
                sheet.displace_untaken(Reason.INTERRUPTED, "")
                self._settle(sheet)
            bay.sheets.clear()
        waiting = [flight for gate in self._order for flight in gate.waiting] + list(self._resting)
        for gate in self._order:
            gate.waiting.clear()
        self._resting.clear()
        for flight in waiting:
            self._displace(flight)

    def abandon(self) -> None:
        """Hand back what has not ended, after all transfers are given up: only writers finish what they have."""
        for bay in self._turns:
            if bay.writer is not None:
                bay.writer.close()
                self._collect(bay)
        for sheet in list(self._sheets):
            sheet.displace_open(Reason.INTERRUPTED, "")
            self._settle(sheet)

    @property
    def idle(self) -> bool:
        """Whether no assignment is in hand."""
        return not self._sheets

    def unstarted(self) -> int:
        """Return how many objects wait for a slot for the first time."""
        return sum(bay.unstarted() for bay in self._turns)

    def bays(self) -> dict[str, Bay]:
        """Return the volumes, by id."""
        return self._bays

    def waited_for(self) -> str:
        """Name an object that an assignment waits for, "" if none is in hand; for the line about a slow end."""
        for sheet in self._sheets:
            key = sheet.first_open()
            if key is not None:
                return show(key)
        return ""
