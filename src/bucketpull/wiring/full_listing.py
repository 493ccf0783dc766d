"""Lists a source to its end for a command, and tells now and then how far it is."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

from bucketpull.domain.model import Part, show
from bucketpull.downloader.walk import ListingWalk
from bucketpull.fetch.loop import FetchLoop
from bucketpull.ports import Source
from bucketpull.report.figures import count
from bucketpull.wiring.adapters import SystemClock, fetch_options
from bucketpull.wiring.output import tell
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_client import Patience, SourceClient, reach

_NEWS_SECONDS: Final = 10.0
_SHOWN: Final = 5


def turn(walk: ListingWalk, patience: Patience) -> None:
    """Go on with a walk; what keeps it is told.

    Raises:
        SourceRefused: The source refuses us as a whole.
        SourceSilent: The source cannot be reached, for long.

    """
    walk.turn()
    if walk.trouble is None:
        patience.came()
    else:
        patience.blame(*walk.trouble)
        patience.wait()


def _tell_resting(walk: ListingWalk) -> None:
    """Say what keeps a listing from its end, as it may for minutes."""
    if walk.resting is None:
        return
    pages, position, reason = walk.resting
    others = f" (and {count(pages - 1)} pages more)" if pages > 1 else ""
    tell(f"{show(position.directory) or '/'}{others}: {reason}: tried again until it is given up")


def list_all(settings: Settings, source: Source, take: Callable[[Part], None]) -> ListingWalk:
    """List a source; `take` is called with the objects of each page. What could not be listed is told.

    Raises:
        SourceRefused: The source refuses us as a whole.
        SourceSilent: The source cannot be reached, for long.

    """
    objects = 0

    def taken(part: Part) -> None:
        nonlocal objects
        objects += len(part.names)
        take(part)

    patience = Patience(settings.source)
    with closing(FetchLoop(fetch_options(settings))) as fetcher:
        reach(SourceClient(source, fetcher, patience), settings.source)
        walk = ListingWalk(source, fetcher, SystemClock(), taken, rate=settings.rate)
        due = time.monotonic() + _NEWS_SECONDS
        while not walk.is_over:
            turn(walk, patience)
            if time.monotonic() >= due and not settings.quiet:
                due = time.monotonic() + _NEWS_SECONDS
                tell(f"{count(objects)} objects, {count(walk.pages)} pages listed so far")
                _tell_resting(walk)
    for failure in walk.failures[:_SHOWN]:
        tell(f"not listed: {show(failure.directory) or '/'}: {failure.reason}: {failure.detail}")
    return walk
