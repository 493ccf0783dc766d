"""The seams: what the coordinator, the agents and the downloaders need of the outside, and what each implementation promises.

Each is a Protocol of a few verbs. An implementation is chosen in `wiring`. Those of a journal, of a volume, of the two ends of a
transport and of a source pass one suite each: `tests/contracts`, `tests/sources/conformance`.
"""

from bucketpull.ports.clock import Clock
from bucketpull.ports.fetcher import Fetcher
from bucketpull.ports.journal import Journal
from bucketpull.ports.reporter import Reporter
from bucketpull.ports.source import Source
from bucketpull.ports.transport import Inbox, ProcessPool, Transport
from bucketpull.ports.volume import Stream, Volume, Writer

__all__ = [
    "Clock",
    "Fetcher",
    "Inbox",
    "Journal",
    "ProcessPool",
    "Reporter",
    "Source",
    "Stream",
    "Transport",
    "Volume",
    "Writer",
]
