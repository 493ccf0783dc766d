"""The actions of an agent, which its shell carries out."""

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
    """End a process that hangs; its death is reported as any other."""

    process: int


class Start(NamedTuple):
    """Start a process in place of one that died. Messages to the dead one are dropped."""

    process: int


class Open(NamedTuple):
    """Open another volume; if that fails, nothing follows."""

    path: str


Action = Tell | Say | Kill | Start | Open | Call
