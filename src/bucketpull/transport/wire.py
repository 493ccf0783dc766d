"""The messages between coordinator and workers through RabbitMQ, and the queues of a job.

A job has a queue per machine (work and control messages to it), one of receipts, one of dead letters, and the coordinator's
own, which is exclusive to it: it carries pulses, hellos and questions, and its existence refuses a second coordinator.
"""

import re
import secrets
from collections.abc import Callable
from typing import Final, Generic, Literal, TypeVar

import msgspec

from bucketpull.domain.decoding import Count, Text, msgpack_decoder
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.messages import Control, FromWorker, Refusal, Welcome
from bucketpull.domain.model import Value, Work
from bucketpull.transport.envelope import Rejected

T = TypeVar("T")
QueueType = Literal["quorum", "classic"]

# Never -1: 3.10 then drops a message at its first return; and never the default, which is 20 on 4.0.
DELIVERY_LIMIT: Final = 1_000_000
_NAME_LENGTH: Final = 100


class SealedWork(Value, tag="work"):
    """Work on the wire, with a tag to tell it from control messages."""

    work: Work


class Greeting(Value, tag="greeting"):
    """The coordinator makes its session, which is in the header, known to a worker that has heard another one, or none."""


class Echo(Value, tag="echo"):
    """A message of the coordinator to itself: while it does not come back, missing pulses prove nothing."""


class Query(Value, tag="ask"):
    """A request to the API of the running job, or to one of its machines; an encoded `QueryAnswer` goes to the reply queue."""

    method: Text
    target: Text
    body: bytes


class QueryAnswer(Value, tag="answer"):
    """What the API answered: an HTTP status and a body."""

    status: Count
    body: bytes


ToCoordinator = FromWorker | Echo | Query
ToWorker = SealedWork | Control | Welcome | Refusal | Greeting | Query

encode = msgspec.msgpack.Encoder().encode


class Reader(Generic[T]):
    """Decodes messages of some types: the only place where bytes that others wrote become values."""

    def __init__(self, kind: object) -> None:
        self._decode: Callable[[bytes], T] = msgpack_decoder(kind)

    def read(self, body: bytes) -> T:
        """Return the message. Raises Rejected where the bytes are none, or a number or text in them is beyond its bounds."""
        try:
            return self._decode(body)
        except msgspec.DecodeError:
            raise Rejected("it cannot be decoded") from None


up: Reader[ToCoordinator] = Reader(ToCoordinator)
down: Reader[ToWorker] = Reader(ToWorker)
answer: Reader[QueryAnswer] = Reader(QueryAnswer)


class QueueNames:
    """The queues of a job, and how they are made."""

    def __init__(self, job: str, kind: QueueType = "quorum") -> None:
        self._kind = kind
        self._base = f"bucketpull.{_plain(job)}"
        self.receipts = f"{self._base}.receipts"
        self.dead = f"{self._base}.dead"
        self.coordinator = f"{self._base}.coordinator"

    def machine(self, machine: str) -> str:
        """Return the queue of one machine."""
        return f"{self._base}.machine.{_plain(machine)}"

    def lock(self, machine: str) -> str:
        """Return the queue that is exclusive to one worker, so that no second one uses its machine's name."""
        return f"{self._base}.lock.{_plain(machine)}"

    def answers(self) -> str:
        """Return a new name for a client's queue, with the job's prefix, which is all that some users may use."""
        return f"{self._base}.answers.{secrets.token_hex(8)}"

    def fits(self, machine: str) -> bool:
        """Whether a machine's name can be that of a queue."""
        return len(_written(machine)) <= _NAME_LENGTH

    def is_answers(self, queue: str) -> bool:
        """Whether a queue is a client's."""
        return queue.startswith(f"{self._base}.answers.")

    def arguments(self, queue: str) -> dict[str, object]:
        """Return the arguments with which a durable queue is made."""
        arguments: dict[str, object] = {"x-queue-type": self._kind}
        if self._kind == "quorum":
            arguments["x-delivery-limit"] = DELIVERY_LIMIT
        return arguments if queue == self.dead else arguments | self.dead_letters()

    def dead_letters(self) -> dict[str, object]:
        """Return the arguments that send what is refused to the dead letters, which are never bounded."""
        return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}


def _plain(name: str) -> str:
    """Write a name with the few characters that a queue's name may have; others become their code points. Raises ConfigError where it is too long."""
    plain = _written(name)
    if len(plain) > _NAME_LENGTH:
        raise ConfigError(
            f"{name!r} is too long for the name of a queue; choose a shorter --job or --machine"
        )
    return plain


def _written(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.-]", lambda match: f"@{ord(match[0]):x}", name)
