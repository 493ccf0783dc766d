"""Which messages of workers the coordinator accepts: those in which a worker reports about itself and work that it was given."""

import contextlib
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from bucketpull.domain.batching import Batch, batch_of, decode_batch, decode_parts, spans_of
from bucketpull.domain.messages import (
    BatchReceipt,
    FromWorker,
    Goodbye,
    Handback,
    Poison,
    Pulse,
    ScanReceipt,
    Work,
)
from bucketpull.domain.model import Part, Span, WorkKind
from bucketpull.transport.broker_link import Delivery
from bucketpull.transport.envelope import Direction, Header, Rejected, Session, read_header
from bucketpull.transport.queues import QueueNames
from bucketpull.transport.wire import Echo, ToCoordinator, up

_SHOWN_BYTES: Final = 60
MOST_FALSE_CLAIMS: Final = 20
_Key = tuple[str, str, int]
_Page = tuple[bytes, str]


class Assigned(msgspec.Struct):
    """Work that was given: to which machines, and what each known part of it covers, by page."""

    machines: set[str]
    parts: dict[int, dict[_Page, Span]] = {}

    def know(self, part: int, spans: Sequence[Span]) -> None:
        """Note what a part covers; what is known of it already stays."""
        self.parts.setdefault(part, {(span.directory, span.cursor): span for span in spans})

    def has(self, part: int, other: Span) -> bool:
        """Whether the objects of a page may be of a part, as far as is known."""
        if part not in self.parts:
            return True
        own = self.parts[part].get((other.directory, other.cursor))
        return own is not None and own.first <= other.first and other.last <= own.last

    def objects(self, part: int) -> int | None:
        """Return how many objects a part has, if that is known."""
        return sum(own.objects for own in self.parts[part].values()) if part in self.parts else None


_UNKNOWN: Final = Assigned(set())


class Admission:
    """Opens, reads and judges messages; remembers which of them are not acknowledged, and who was given which work.

    `false_claims` counts, by machine, messages with a right seal that cannot be believed.
    """

    def __init__(self, names: QueueNames, me: Session) -> None:
        self._names = names
        self._me = me
        self._unacknowledged: dict[_Key, Delivery] = {}
        self._keys: dict[int, _Key] = {}
        self._given: dict[int, Assigned] = {}
        self.false_claims: Counter[str] = Counter()

    def open(self, delivery: Delivery) -> tuple[Header, bytes]:
        """Return a message's header and its body, which is not decoded yet. Raises Rejected where it was not sealed for this queue by one of this job."""
        directions = (
            (Direction.UP,)
            if delivery.queue == self._names.receipts
            else (Direction.UP, Direction.ECHO, Direction.QUESTION)
        )
        header, body = self._me.open(delivery.body, delivery.queue, *directions)
        if not self._names.fits(header.machine):
            raise Rejected("the machine's name is too long", header)
        return header, body

    def read(self, header: Header, body: bytes) -> ToCoordinator:
        """Decode a message. Raises Rejected where nobody understands it, it speaks for somebody else, or it does not add up."""
        try:
            message = up.read(body)
            if isinstance(message, Poison) or isinstance(message, Echo) is not (header.way is Direction.ECHO):
                raise Rejected("a worker does not say that")
            if not _speaks_for_itself(message, header):
                raise Rejected("it speaks for another machine")
            if isinstance(message, BatchReceipt):
                self._check_objects(message)
            elif isinstance(
                message, ScanReceipt
            ):  # other machines go by what its batches say of their objects
                for batch in message.batches:
                    _check_batch(batch)
        except Rejected as error:
            self.false_claims[header.machine] += 1
            raise Rejected(str(error), header) from None
        return message

    def _check_objects(self, receipt: BatchReceipt) -> None:
        """Raise Rejected where a receipt tells of other objects than those of its work, as far as these are known."""
        given_back = (receipt.deferred, receipt.returned, receipt.sent_on, receipt.remainder)
        batches = [batch for batch in given_back if batch is not None]
        for batch in batches:
            _check_batch(batch)
        given = self._given.get(receipt.work, _UNKNOWN)
        spans = [span for batch in batches for span in batch.spans]
        for copy in receipt.former:  # another machine removes them
            spans += spans_of(_parts(copy.parts))
        if not all(given.has(receipt.part, span) for span in spans):
            raise Rejected("it tells of objects that are not of its batch")
        if given.objects(receipt.part) not in {None, receipt.objects}:
            raise Rejected("it does not add up to the objects of its batch")
        if receipt.remainder is not None and receipt.machine in given.machines:
            given.parts.pop(receipt.part, None)  # of which no other receipt will count
            given.know(receipt.next_part, receipt.remainder.spans)

    # --- what came, and was not acknowledged yet

    def is_repeated(self, header: Header, delivery: Delivery) -> tuple[bool, bool]:
        """Note a message. Return whether it came before, and whether it is to be acknowledged at once for that.

        One that is not acknowledged, and comes again over a new connection, is acknowledged when that one is.
        """
        if self._me.numbers.is_new(header):
            return False, False
        key = (header.machine, header.session, header.number)
        first = self._unacknowledged.get(key)
        if first is None or first.generation == delivery.generation:
            return True, True
        self._unacknowledged[key] = delivery
        return True, False

    def hold(self, message: FromWorker, delivery: Delivery, header: Header | None) -> None:
        """Keep a message's delivery until it is acknowledged."""
        key = (header.machine, header.session, header.number) if header else ("", "", -id(message))
        self._unacknowledged[key] = delivery
        self._keys[id(message)] = key

    def acknowledged(self, message: FromWorker) -> Delivery | None:
        """Return the delivery of a message that is in the journal, to be acknowledged."""
        key = self._keys.pop(id(message), None)
        for work in works_of(message) if ends_work(message) else ():
            self._done(work, message.machine)
        return self._unacknowledged.pop(key, None) if key is not None else None

    def _done(self, work: int, machine: str) -> None:
        """Note that a machine has ended work; receipts of other machines that have it too are still accepted."""
        given = self._given.get(work)
        if given is not None:
            given.machines.discard(machine)
            if not given.machines:
                del self._given[work]

    # --- who was given what

    def give(self, work: Work, machine: str) -> None:
        """Note that a machine is given work."""
        given = self._given.setdefault(work.id, Assigned(set()))
        given.machines.add(machine)
        if work.kind is WorkKind.BATCH and work.part not in given.parts:
            with contextlib.suppress(msgspec.DecodeError):  # whoever does the work finds out
                given.know(work.part, decode_batch(work.body).spans)

    def inherit(self, work: int, machine: str) -> None:
        """Note that a machine was given work by an earlier session."""
        self._given.setdefault(work, Assigned(set())).machines.add(machine)

    def shared(self, message: FromWorker) -> list[int]:
        """Return which work that a message has ended, and that others were given too."""
        return [work for work in works_of(message) if ends_work(message) and work in self._given]

    def forget(self, work: int) -> None:
        """Forget who was given work that is in the journal no more."""
        self._given.pop(work, None)

    def not_given(self, message: FromWorker) -> list[int]:
        """Return which work of a receipt its machine was not given, as far as is known."""
        return [
            work
            for work in works_of(message)
            if message.machine not in self._given.get(work, _UNKNOWN).machines
        ]


def _check_batch(batch: Batch) -> None:
    """Raise Rejected where the body of a batch is none, or is of other objects than the batch says."""
    if replace(batch_of(_parts(batch.body)), body=batch.body) != batch:
        raise Rejected("a batch in it does not add up")


def _parts(body: bytes) -> list[Part]:
    """Decode objects. Raises Rejected where they are none."""
    try:
        parts = decode_parts(body)
    except msgspec.DecodeError:
        raise Rejected("objects in it cannot be decoded") from None
    if not all(map(_is_table, parts)):
        raise Rejected("objects in it lack a column")
    return parts


def _is_table(part: Part) -> bool:
    count = len(part.names)
    optional = {len(part.versions), len(part.urls), len(part.tried)}
    return count > 0 and {len(part.sizes), len(part.mtimes)} == {count} and optional <= {0, count}


def works_of(message: FromWorker) -> Sequence[int]:
    """Return the work that a message is about."""
    if isinstance(message, Handback):
        return message.works
    return [message.work] if isinstance(message, ScanReceipt | BatchReceipt) else []


def ends_work(message: FromWorker) -> bool:
    """Whether a message ends its work: not if some of a batch is still in hand, or nothing was done."""
    return isinstance(message, ScanReceipt) or (
        isinstance(message, BatchReceipt) and message.remainder is None
    )


def poison_of(body: bytes, size: int) -> Poison:
    """Describe a message that cannot be decoded by its beginning and its size in bytes; always alike for the same message."""
    name = hashlib.sha256(body).hexdigest()[:12]
    more = "..." if size > _SHOWN_BYTES else ""
    text = f"{name}: {size} bytes nobody understands, {body[:_SHOWN_BYTES].hex()}{more}"
    return Poison("", text + claims_of(_header(body)))


def claims_of(header: Header | None) -> str:
    """Say whose message it claims to be; "" if it does not say."""
    if header is None:
        return ""
    by_worker = header.way in {Direction.UP, Direction.QUESTION}
    return f" (it claims to be of {f'machine {header.machine}' if by_worker else 'the coordinator'})"


def _header(body: bytes) -> Header | None:
    try:
        return read_header(body)[0]
    except Rejected:
        return None


def _speaks_for_itself(message: ToCoordinator, header: Header) -> bool:
    if getattr(message, "machine", header.machine) != header.machine:
        return False
    if isinstance(message, Pulse | Goodbye) and message.incarnation != header.session:
        return False
    return not isinstance(message, Pulse) or all(
        volume.machine == header.machine for volume in message.volumes
    )
