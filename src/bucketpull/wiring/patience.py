"""How long a command that looks before a job begins, or only lists, waits for a source that gives nothing, and what it says meanwhile."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from bucketpull.domain.errors import Reason, SourceSilent
from bucketpull.report.figures import duration
from bucketpull.report.reasons import explain
from bucketpull.wiring.output import tell

FIRST_SECONDS: Final = 8.0
LONGEST_SECONDS: Final = 600.0


class Patience:
    """Tells why nothing comes, after 8 s and whenever that has doubled; ends it after ten minutes.

    Args:
        source: What the user calls the source.
        now: Monotonic seconds.
        told: Called with what there is to say.
        longest: After so many seconds it is over; `math.inf` for one who goes on by itself.

    """

    def __init__(
        self,
        source: str,
        now: Callable[[], float] = time.monotonic,
        told: Callable[[str], None] = tell,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self._source = source
        self._now = now
        self._told = told
        self._longest = longest
        self.trouble = ""
        self.came()

    def came(self) -> None:
        """Note that something came."""
        self._since = self._now()
        self._due = FIRST_SECONDS

    def expect(self, sites: Sequence[str]) -> None:
        """Note who is asked."""
        self.trouble = f"no answer so far from {', '.join(sites)}"

    def blame(self, reason: Reason, detail: str) -> None:
        """Note what happened last."""
        self.trouble = f"{explain(reason).meaning} ({reason}: {detail})"

    def wait(self) -> None:
        """Look whether there is something to say.

        Raises:
            SourceSilent: Nothing has come for ten minutes.

        """
        seconds = self._now() - self._since
        if seconds >= self._longest:
            raise SourceSilent(
                f"{self._source}: nothing has come for {duration(seconds)}: {self.trouble}; "
                "check the network and the addresses of the source, then run it again"
            )
        if seconds >= self._due:
            self._due = 2 * seconds
            text = f"{self._source}: nothing has come for {duration(seconds)}: {self.trouble}"
            if self._longest == math.inf:
                self._told(f"{text}; it is tried on, Ctrl-C ends it")
            else:
                bound = duration(self._longest)
                self._told(f"{text}; it is tried on for {bound} in all, Ctrl-C ends it")
