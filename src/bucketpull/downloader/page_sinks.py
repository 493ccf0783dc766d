"""What becomes of listed pages: the batches of a job, or objects for those who only walk through a bucket."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from bucketpull.domain.batching import Batch, cut, known_bytes
from bucketpull.domain.model import Page, PageRecord, Part, Position
from bucketpull.domain.order import ANY, Order

DIGEST_BYTES: Final = 16

_encode = msgspec.msgpack.Encoder().encode


class JobPages:
    """Pages with a digest each, so that the next run knows those that are as they were; what is new goes into batches, in an order."""

    def __init__(self, order: Order = ANY) -> None:
        self._order = order

    def take(self, position: Position, page: Page, parts: list[Part]) -> PageRecord:
        """Add a page's objects to the `parts` of its scan, if they are new; return what is said of the page."""
        record = record_of(position, page.part, page.excluded)
        record.objects += len(page.unreadable)
        if page.part.names and not record.unchanged:
            parts.append(page.part)
        return record

    def failing(self, page: Page) -> tuple[Sequence[str], Sequence[str]]:
        """Return the entries of a page that fail each by itself, as an object does, and those that fail together."""
        return page.unreadable, page.odd

    def batches(self, parts: list[Part]) -> list[Batch]:
        """Return the work that is in the parts of a scan."""
        if not self._order.is_any:
            parts.sort(key=lambda part: self._order.of_batch([part]))
        return cut(parts)


class PassedPages:
    """Pages whose objects are handed on at once: without digests and batches, which take 1 µs an object and more.

    `listed` is called with the objects of each page, also if it has none.
    """

    def __init__(self, listed: Callable[[Part], None]) -> None:
        self._listed = listed

    def take(self, position: Position, page: Page, parts: list[Part]) -> PageRecord:
        """See `JobPages`."""
        del parts
        count = len(page.part.names)
        self._listed(page.part)
        place = (position.directory, position.cursor)
        return PageRecord(*place, b"", b"", b"", count, 0, unchanged=False, excluded=page.excluded)

    def failing(self, page: Page) -> tuple[Sequence[str], Sequence[str]]:
        """See `JobPages`."""
        return (), (*page.odd, *page.unreadable)

    def batches(self, parts: list[Part]) -> list[Batch]:
        """See `JobPages`: there is none."""
        del parts
        return []


def digest_of(part: Part) -> bytes:
    """Return the digest of a page's objects; an equal one means an unchanged page."""
    columns = _encode([part.names, part.sizes, part.mtimes, *filter(None, (part.versions, part.urls))])
    return blake2b(columns, digest_size=DIGEST_BYTES).digest()


def record_of(position: Position, part: Part, excluded: int = 0) -> PageRecord:
    """Return what is kept of a listed page; `excluded` objects were on it and are not in the part."""
    digest = digest_of(part)
    names = part.names
    return PageRecord(
        directory=position.directory,
        cursor=position.cursor,
        first=min(names, default=b""),
        last=max(names, default=b""),
        digest=digest,
        objects=len(names),
        bytes=known_bytes(part.sizes),
        unchanged=digest == position.digest,
        excluded=excluded,
    )
