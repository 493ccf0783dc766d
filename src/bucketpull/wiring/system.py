"""What the system gives a process: its clock, and how many files it may open: the limit is raised as far as it goes, and transfers stay below it."""

import resource
import time
from typing import Final

from bucketpull.domain.errors import ConfigError

_FEWEST: Final = 40
"""A job with one process and one volume needs so many."""

FEWEST_TO_READ: Final = 32
"""Reading a volume needs so many, and writing another one from it, however many packs they have."""

_PLENTY: Final = 16_384
"""From here on nothing that a process does comes near the limit."""


class SystemClock:
    """See `ports.Clock`: the clock of the machine; tests have one that they set."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def today(self) -> str:
        """Return today's date in the machine's time zone, as 2026-05-01."""
        return time.strftime("%Y-%m-%d")


def raise_limit() -> None:
    """Raise the soft limit to the hard one: the usual 1,024 is for programs that use `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def check_limit(fewest: int = _FEWEST) -> None:
    """Make sure that a job, or a command that needs so many, can open its files. Raises ConfigError where the limit is lower."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < fewest:
        raise ConfigError(
            f"open files: this process may open {limit} at once; allow it more, such as `ulimit -n 1024`"
        )


def most_transfers() -> int | None:
    """Return how many objects, and how many pages, a process may have in transfer; None where the limit is of no concern.

    As many connections may rest, those of libcurl and ours, and some directories are kept open.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if limit >= _PLENTY else max(1, limit // 5)
