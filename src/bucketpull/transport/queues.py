"""The queues of a job at RabbitMQ: their names, and the arguments with which they are made.

A job has a queue per machine (work and control messages to it), one of receipts, one of dead letters, and the coordinator's
own, which is exclusive to it: it carries pulses, hellos and questions, and its existence refuses a second coordinator.
"""

import re
import secrets
from typing import Final, Literal

from bucketpull.domain.errors import ConfigError

QueueType = Literal["quorum", "classic"]

# Never -1: 3.10 then drops a message at its first return; and never the default, which is 20 on 4.0.
DELIVERY_LIMIT: Final = 1_000_000
_NAME_LENGTH: Final = 100


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
