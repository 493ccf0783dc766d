"""A large object on its way through a process: streamed to disk as it comes, resumed where it broke off, never in memory.

A part is resumed only if it is of one version: the request says which (`version`), and the source refuses another. So is what an
earlier process left, if its version is a strong ETag and nothing of it can have been lost; after a restart of the machine only
the MD5 of the whole, stated by the source, proves it. An answer that cannot be used is ended before its first byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import DATED, Response, Verdict
from bucketpull.domain.record import Written
from bucketpull.downloader.meter import Meter

if TYPE_CHECKING:
    from bucketpull.ports import Stream, Writer

# A transfer that brought as much as this share of what is there has got on, however often that happens.
MOST_RESUMED = 32
# A streamed object keeps a receive buffer and one piece on its way to the disk; less while it waits for the disk.
STREAM_BYTES = 512 << 10
PAUSED_BYTES = 64 << 10
# So many bytes more than listed may come of what states no length: a body without an end is no changed object.
MOST_UNSTATED_BYTES = 64 << 20
# An object of unknown size is no longer than that.
MOST_UNKNOWN_BYTES = 1 << 46
_MD5: Final = r'"[0-9a-fA-F]{32}"'


def most_bytes(size: int) -> int:
    """Return how long an object of a listed size (-1: unknown) may be.

    What changed since it was listed may be larger, a body without an end may not fill the disk.
    """
    return max(2 * size, size + (1 << 30)) if size >= 0 else MOST_UNKNOWN_BYTES


class Halted(Exception):
    """Raised into the fetcher to end a transfer whose bytes cannot be written."""


class LargeObject:
    """One object's stream. `length` is what lies on the volume, in bytes, `began` where the present transfer begins.

    `overlong` is set when the transfer was ended because more came than `bound`, `most` at most. `has_got_on`: the transfer broke off, but brought
    a good piece, which is kept. `blind` says that only an MD5 can prove the part, `mismatch` why an answer was ended that
    is not of its version. `is_paused` tells that nothing is read, because the
    disk has to catch up; `paused` is called when that changes.
    """

    def __init__(
        self,
        stream: Stream,
        writer: Writer,
        meter: Meter,
        most_queued: int,
        most: int,
        paused: Callable[[bool], None],
    ) -> None:
        self._stream = stream
        self._writer = writer
        self._meter = meter
        self._partial = 0
        self._most_queued = most_queued
        self.most = self.bound = most
        self.length = self._found = stream.offset
        self.blind = False
        self.began = 0
        self.version = self._changed = self.mismatch = ""
        left = stream.left
        if left is not None and (left.is_sound or re.fullmatch(_MD5, left.etag)):
            self.version, self._changed, self.blind = left.etag, left.changed, not left.is_sound
        self.overlong = self.is_paused = False
        self._refusals = self._furthest = 0
        self.has_got_on = False
        self.paused = paused

    def begin(self) -> None:
        """Begin a transfer where the last ended; without a version that is the start."""
        if self.length and not self.version:
            self.restart()
        self.began = self.length
        self.overlong = False
        self.mismatch = ""
        self.bound = self.most

    def states_no_length(self, size: int) -> None:
        """Expect little more than the listed size (-1: unknown) of the present transfer."""
        if size >= 0:
            self.bound = min(self.most, max(2 * size, size + MOST_UNSTATED_BYTES))

    def begun(self, head: Verdict, changed: str) -> None:
        """Take the version of an answer, and its `Last-Modified` ("": none), before its first byte.

        Raises Halted where the answer does not continue the part, which is begun anew.
        """
        if head.start == self.began == 0:
            self._stream.note("" if head.version.startswith(DATED) else head.version, changed)
            return
        if head.start != self.began:
            self.mismatch = "the whole object, or another part, came in place of a part"
        elif head.version != self.version:
            self.mismatch = f"the object changed: {head.version or 'no version'}, before {self.version}"
        elif self._changed and changed != self._changed:
            self.mismatch = f"the object changed: of {changed or 'no date'}, before of {self._changed}"
        elif self.blind and not head.md5:
            self.mismatch = "a part of unknown soundness, and no MD5 to prove it"
        if self.mismatch:
            self.restart()
            raise Halted

    def take(self, chunk: bytes) -> bool:
        """Pass bytes on to the disk; False if it has to catch up first. Raises Halted where the disk refuses them, or there are more than there can be."""
        if self._stream.trouble is not None:
            raise Halted
        has_room = self._writer.queued_bytes <= self._most_queued
        if has_room is self.is_paused:
            self.pause(not has_room)
        if not has_room:
            return False
        if self.length + len(chunk) > self.bound:
            self.overlong = True
            raise Halted
        self._stream.append(chunk)
        self.length += len(chunk)
        return True

    def pause(self, is_paused: bool) -> None:
        """Note that reading stops, or goes on."""
        self.is_paused = is_paused
        self.paused(is_paused)

    @property
    def trouble(self) -> Written | None:
        """The error of the disk when it refused a piece."""
        return self._stream.trouble

    @property
    def is_behind(self) -> bool:
        """Whether the disk has still to catch up."""
        return self._writer.queued_bytes > self._most_queued // 2

    def restart(self) -> None:
        """Throw away what is there."""
        self._stream.restart()
        self.length = self._found = 0
        self.forget_partial()
        self.version = self._changed = ""
        self.blind = False

    def note_failure(self, response: Response, verdict: Verdict) -> None:
        """After a transfer that ended early, keep the bytes if their version is known; else restart at byte 0.

        Behind one name there may be several edges that call the same bytes by different versions. So a part that is refused is
        asked for once more, as the next edge may be the one that gave its beginning; after that it is begun again, and not resumed.
        """
        self.has_got_on = False
        if verdict.reason is Reason.RANGE:
            self._refusals += 1
            if self.length > self.began or self._refusals > 1 or self.blind:
                self.restart()
            return
        gained = self.length - self.began
        if not gained:
            return
        whole_in_part = verdict.start != self.began
        other = bool(self.version) and verdict.version != self.version
        broke_off = response.failure is not None and self._refusals <= 1
        if broke_off and verdict.version and not whole_in_part and not other and not self.overlong:
            self.version = verdict.version
            self._count_partial(self.length - self._found)
            # What came before, and was thrown away since, is no progress when it comes again.
            gained = self.length - max(self.began, self._furthest)
            self._furthest = max(self._furthest, self.length)
            self.has_got_on = gained * MOST_RESUMED >= self.length
            if self.has_got_on:
                self._refusals = 0
        else:
            self.restart()

    def publish(self, accepts: Collection[bytes] | None, token: object, mtime: int) -> None:
        """Have the whole object checked and named; see `Stream.publish`."""
        self._count_partial(self.length - self._found)
        self._stream.publish(self.length, accepts, token, mtime)

    def forget_partial(self) -> None:
        """Count nothing as a part any more: the object counts as a whole, or was thrown away."""
        self._count_partial(0)

    def _count_partial(self, size: int) -> None:
        self._meter.partial += size - self._partial
        self._partial = size

    def close(self, keep: bool) -> None:
        """Close its stream; `keep` leaves what arrived for a later try."""
        self.forget_partial()
        self._stream.close(keep)
