"""What an agent wants done: its actions, which its shell carries out."""

from typing import NamedTuple

from bucketpull.agent.disk_calls import Call
from bucketpull.domain.messages import FromWorker
from bucketpull.domain.record import ToProcess


class Tell(NamedTuple):
    """Send a message to a process."""

    process: int
    message: ToProcess


class Say(NamedTuple):
    """Send a message to the coordinator."""

    message: FromWorker


class Kill(NamedTuple):
    """End a process that hangs; of its death is heard like of any other."""

    process: int


class Start(NamedTuple):
    """Make a new process in place of one that died. What was to be sent to the dead one before this is sent to nobody."""

    process: int


class Open(NamedTuple):
    """Open a volume more; where that cannot be done, nothing follows."""

    path: str


Action = Tell | Say | Kill | Start | Open | Call
