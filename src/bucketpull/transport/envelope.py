"""Messages as they lie at the broker: sealed with the key of the machine that they come from or go to.

A sealed message is

    magic (4 bytes) · length of the header (2) · seal (32) · header (MessagePack) · body

and its seal is the HMAC-SHA-256 of header and body. The header binds the body to a job, a journal, a machine, a queue, a way, a
session of its sender, and a number that its sender uses once: what is forged, sent twice or put into another queue is told from
what was said. Nothing of a message is decoded by type before its seal is found right, but the header, which is short.

What the seal does not do: it hides nothing (TLS to the broker does), and it cannot tell that the broker holds a message back.
"""

import hmac
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Final

import msgspec

from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError
from bucketpull.transport.amqp_stream import MOST_BODY_BYTES
from bucketpull.transport.job_key import Key

MAGIC: Final = b"BKP1"
TOLD_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 600.0
MOST_KINDS: Final = 100
_FRONT = struct.Struct("<4sH32s")
_MOST_HEADER_BYTES: Final = 2_000
_REMEMBERED_NUMBERS: Final = 4_096
# Of one machine and way: messages of so many sessions are recognised when somebody sends them again.
_REMEMBERED_SESSIONS: Final = 64
_REMEMBERED_MACHINES: Final = 10_000

Short = Annotated[str, msgspec.Meta(max_length=64)]
Name = Annotated[str, msgspec.Meta(max_length=255)]
Number = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class Direction(IntEnum):
    """Who sends to whom, so that a worker's message is never taken for one to it."""

    UP = 1  # a worker to the coordinator
    DOWN = 2  # the coordinator to a worker
    ECHO = 3  # the coordinator to itself
    QUESTION = 4  # somebody who wants to know, to the coordinator or a worker
    ANSWER = 5


class Header(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What stands outside of a body, in a form that every version reads.

    `version` is the sender's. `machine` is the one whose key seals, whichever way it goes. `journal` is the one that work ids
    belong to, "" where none is known. `session` is a random name of the sender's process, `number` counts its messages.
    `meant` is the session for which it is, "" for any; `heard` the session of the other side that the sender heard last.
    `reply_to` is the queue for an answer.
    """

    version: Short
    job: Name
    journal: Short
    way: Direction
    machine: Name
    session: Short
    number: Number
    queue: Name
    meant: Short = ""
    heard: Short = ""
    reply_to: Name = ""
    key_id: Short = ""


class Rejected(Exception):
    """A message that is not believed; says why, in words that repeat nothing of it but what is bounded and printable.

    `header` is what it claims, where that can be read.
    """

    def __init__(self, why: str, header: Header | None = None) -> None:
        super().__init__(why)
        self.header = header


class SeenMessages:
    """Remembers which messages have come: the latest numbers of each session of each machine and way, in bounded memory.

    By way, because whoever asks questions has a session for each.
    """

    def __init__(self) -> None:
        self._machines: OrderedDict[tuple[str, Direction], OrderedDict[str, tuple[int, int]]] = OrderedDict()

    def is_new(self, header: Header) -> bool:
        """Note that a message came; return whether it is the first time. One too old to be remembered is not new."""
        sender = header.machine, header.way
        sessions = self._machines.setdefault(sender, OrderedDict())
        self._machines.move_to_end(sender)
        highest, seen = sessions.get(header.session, (0, 0))
        ahead = header.number - highest
        if ahead > 0:
            kept = seen << ahead if ahead < _REMEMBERED_NUMBERS else 0
            sessions[header.session] = header.number, (kept | 1) & ((1 << _REMEMBERED_NUMBERS) - 1)
        elif -ahead >= _REMEMBERED_NUMBERS or seen >> -ahead & 1:
            return False
        else:
            sessions[header.session] = highest, seen | 1 << -ahead
        sessions.move_to_end(header.session)
        if len(sessions) > _REMEMBERED_SESSIONS:
            sessions.popitem(last=False)
        if len(self._machines) > _REMEMBERED_MACHINES:
            self._machines.popitem(last=False)
        return True


class Session:
    """What one process seals and opens during its life, over any number of connections: `session` is its name, `numbers` what has come.

    `journal`, and `heard` of the other side, may change at any time.
    """

    def __init__(self, key: Key, version: str, job: str, session: str, journal: str = "") -> None:
        self._key = key
        self._job = job
        self.version = version
        self.session = session
        self.journal = journal
        self.heard = ""
        self.numbers = SeenMessages()
        self._number = 0

    def seal(
        self, way: Direction, machine: str, queue: str, body: bytes, *, meant: str = "", reply_to: str = ""
    ) -> bytes:
        """Return a body with its header and seal; each call makes another message of it."""
        self._number += 1
        origin = (self.version, self._job, self.journal, way, machine, self.session, self._number)
        header = _encode(Header(*origin, queue, meant, self.heard, reply_to, self._key.id))
        front = _FRONT.pack(MAGIC, len(header), _seal(self._key.of(machine), header, body))
        return b"".join((front, header, body))

    def open(self, data: bytes, queue: str, *directions: Direction) -> tuple[Header, bytes]:
        """Return a message's header and body, if it was sealed for this queue and goes one of the ways. Raises Rejected at anything else, whatever the bytes are."""
        header, body = self._opened(data)
        if header.queue != queue or header.way not in directions:
            raise Rejected("it was sealed for another queue", header)
        return header, body

    def is_sealed(self, data: bytes) -> bool:
        """Tell whether a message is of this job, and whole."""
        try:
            self._opened(data)
        except Rejected:
            return False
        return True

    def _opened(self, data: bytes) -> tuple[Header, bytes]:
        header, start = read_header(data)
        if header.job != self._job:
            raise Rejected("it is of another job", header)
        if header.key_id != self._key.id:
            raise Rejected("it is sealed with another job key than --job-key-file has here", header)
        try:
            key = self._key.of(header.machine)
        except ConfigError:
            raise Rejected("it is sealed with the key of another machine", header) from None
        stated, body = _FRONT.unpack_from(data)[2], data[start:]
        if not hmac.compare_digest(_seal(key, data[_FRONT.size : start], body), stated):
            raise Rejected("its seal is wrong", header)
        return header, body


def read_header(data: bytes) -> tuple[Header, int]:
    """Read what a message claims, and where its body begins; nothing of it is proven. Raises Rejected where it has not our form."""
    if not data:
        raise Rejected(f"it is empty, or longer than {MOST_BODY_BYTES >> 20} MiB")
    if len(data) < _FRONT.size or not data.startswith(MAGIC):
        raise Rejected("it is no message of bucketpull")
    length = _FRONT.unpack_from(data)[1]
    start = _FRONT.size + length
    if length > _MOST_HEADER_BYTES or start > len(data):
        raise Rejected("its header is cut off")
    try:
        return _decode(data[_FRONT.size : start]), start
    except (ValueError, RecursionError):  # DecodeError is a ValueError, and so is what is no UTF-8
        raise Rejected("its header cannot be read") from None


def _seal(key: bytes, header: bytes, body: bytes) -> bytes:
    whole = hmac.new(key, len(header).to_bytes(2) + header, "sha256")
    whole.update(body)
    return whole.digest()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Header).decode


class RejectionLog:
    """Tells of the first dropped message of a kind at once, then how many more, once a minute.

    It counts them by reason; so nobody can flood a log with them.

    `told` gets a sentence; `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.told: Callable[[str], None] = lambda _: None
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._untold: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}
        self._last: float | None = None

    def note(self, why: str, claims: str = "", verdict: str = "not believed") -> None:
        """Count a message; `claims` says whose it claims to be, `verdict` what was done."""
        kind = why if why in self.counts or len(self.counts) < MOST_KINDS else "other reasons"
        self.counts[kind] += 1
        self._untold[kind] += 1
        self._last = now = self._clock()
        if now - self._told_at.get(kind, now - TOLD_SECONDS) >= TOLD_SECONDS:
            self._told_at[kind] = now
            count = self._untold.pop(kind)
            what = (
                "a message at the broker was" if count == 1 else counted(count, "messages at the broker were")
            )
            self.told(f"{what} {verdict}: {why}{claims}")

    def ending(self) -> str:
        """Return, once, that none has been dropped for a while, and how many were in all; "" where there is nothing to tell."""
        if self._last is None or self._clock() - self._last < QUIET_SECONDS:
            return ""
        self._last = None
        self._untold.clear()
        count = sum(self.counts.values())
        return f"no message at the broker was dropped for {QUIET_SECONDS / 60:.0f} min; since the start: {count:,}"
