"""The key of a job: what lets its coordinator and its workers believe each other, and nobody else.

One secret is the coordinator's. Each machine has a key of its own, derived from it, by which that machine and the coordinator
speak to each other: who has only a machine's key can speak for that machine and for nobody else. Who has the job's can derive
them all.
"""

import hmac
import re
import secrets
from typing import Final, NamedTuple

from bucketpull.domain.errors import ConfigError

LEAST_LENGTH: Final = 32
COORDINATOR: Final = ""
"""The name under which the coordinator speaks to itself: no machine has it."""
OPERATOR: Final = "/operator"
"""The name under which whoever has the job's own key gives orders: no machine has it, and no machine's key is good for it."""

_MACHINE_KEY = re.compile(r"machine:([0-9a-f]{8}):([0-9a-f]{64}):(.+)")
NO_KEY_ID: Final = "none"


class JobKey(NamedTuple):
    """The secret, or with b"" none: then messages are bound to each other, and anybody at the broker can make them."""

    secret: bytes

    @property
    def id(self) -> str:
        """A name for the key, which says nothing of it: by this a wrong one is told from a forgery."""
        return _derived(self.secret, "id").hex()[:8] if self.secret else NO_KEY_ID

    def of(self, machine: str) -> bytes:
        """Return the key of a machine."""
        return _derived(self.secret, f"machine {machine}")


class MachineKey(NamedTuple):
    """What one machine has in place of the job's key."""

    id: str
    key: bytes
    machine: str

    def of(self, machine: str) -> bytes:
        """Return the key of the machine that has it. Raises ConfigError where it is asked for another machine's."""
        if machine != self.machine:
            raise ConfigError(f"the job key is that of machine {self.machine}: give --machine {self.machine}")
        return self.key


Key = JobKey | MachineKey


def new_key() -> str:
    """Return a new job key, as written into its file."""
    return secrets.token_urlsafe(32)


def machine_key(key: JobKey, machine: str) -> str:
    """Return a machine's key, as written into its file."""
    return f"machine:{key.id}:{key.of(machine).hex()}:{machine}"


def read_key(text: str, where: str) -> Key:
    """Return the key that a file or a variable holds. Raises ConfigError where it holds none; the message does not repeat it."""
    text = text.strip()
    found = _MACHINE_KEY.fullmatch(text)
    if found:
        return MachineKey(found[1], bytes.fromhex(found[2]), found[3])
    if len(text) < LEAST_LENGTH or text.startswith("machine:") or any(mark.isspace() for mark in text):
        raise ConfigError(
            f"{where}: is not a job key, which is one line of at least {LEAST_LENGTH} characters; "
            "copy the file that `bucketpull coordinate` wrote"
        )
    return JobKey(text.encode())


def _derived(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, b"bucketpull " + purpose.encode(), "sha256")
