"""A large object on its way through a process: streamed to disk as it comes, resumed where it broke off, never in memory.

A part is gone on with only if it is of one version: the request says which (`version`), and the source refuses another. A part
that an earlier process left is of no known version; then only the MD5 of the whole, stated by the source, vouches for it.
"""

from collections.abc import Collection

from bucketpull.domain.exchange import Response, Verdict
from bucketpull.domain.record import Written
from bucketpull.ports import Stream, Writer


class Halted(Exception):
    """Raised into the fetcher to end a transfer whose bytes cannot be taken."""


class LargeObject:
    """One object's stream. `length` is what lies on the volume, in bytes, `began` where the present transfer begins.

    `behind` is set when the transfer was ended because the disk could not follow, `overlong` when more came than `most`.
    """

    __slots__ = (
        "_most_queued",
        "_stream",
        "_writer",
        "began",
        "behind",
        "blind",
        "length",
        "most",
        "overlong",
        "version",
    )

    def __init__(self, stream: Stream, writer: Writer, most_queued: int, most: int) -> None:
        self._stream = stream
        self._writer = writer
        self._most_queued = most_queued
        self.most = most
        self.length = stream.offset
        self.blind = self.length > 0
        self.began = 0
        self.version = ""
        self.behind = self.overlong = False

    def begin(self) -> None:
        """Begin a transfer where the last ended; without a version that is the start, except for a blind part."""
        if self.length and not self.version and not self.blind:
            self.restart()
        self.began = self.length
        self.behind = self.overlong = False

    def take(self, chunk: bytes) -> None:
        """Pass bytes on to the disk.

        Raises:
            Halted: It refuses them, or cannot follow, or there are more than there can be.

        """
        if self._stream.trouble is not None:
            raise Halted
        if self.length + len(chunk) > self.most:
            self.overlong = True
            raise Halted
        self._stream.append(chunk)
        self.length += len(chunk)
        if self._writer.queued_bytes > self._most_queued:
            self.behind = True
            raise Halted

    @property
    def trouble(self) -> Written | None:
        """What the disk said when it refused a piece."""
        return self._stream.trouble

    @property
    def is_behind(self) -> bool:
        """Whether the disk has still to catch up."""
        return self._writer.queued_bytes > self._most_queued // 2

    def restart(self) -> None:
        """Throw away what is there."""
        self._stream.restart()
        self.length = 0
        self.version = ""
        self.blind = False

    def heed(self, response: Response, verdict: Verdict) -> None:
        """Keep of a transfer that did not bring the rest what is surely of the version; else begin from byte 0."""
        if self.length == self.began:
            return
        whole_in_part = verdict.start != self.began
        other = bool(self.version) and verdict.version != self.version
        broke_off = response.failure is not None
        if broke_off and verdict.version and not whole_in_part and not other and not self.overlong:
            self.version = verdict.version
        else:
            self.restart()

    def publish(self, accepts: Collection[bytes] | None, token: object) -> None:
        """Have the whole object checked and named; see `Stream.publish`."""
        self._stream.publish(self.length, accepts, token)

    def close(self, keep: bool) -> None:
        """Let go of it."""
        self._stream.close(keep)
