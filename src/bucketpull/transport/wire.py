"""The messages between coordinator and workers through RabbitMQ: which there are, and what is read of those that come."""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from bucketpull.domain.decoding import Count, Text, msgpack_decoder
from bucketpull.domain.messages import Control, FromWorker, Refusal, Welcome, Work
from bucketpull.domain.model import Value
from bucketpull.transport.envelope import Rejected

T = TypeVar("T")


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
