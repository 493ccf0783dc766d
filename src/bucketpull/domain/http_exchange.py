"""One HTTP exchange as values: what a source asks for, and what the fetcher brings back.

Sources are pure: they build requests and judge responses, and never see a socket.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from hashlib import md5

import msgspec

from bucketpull.domain.errors import Reason

NUMBERS = b"0123456789abcdefABCDEF"
"""What two heads of one shape may differ in."""

Chunk = bytes | memoryview
"""A piece of a body, never empty. A view spares a copy: of 20 KiB, 1.5 µs on a busy core."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """One GET. `url` is sent as it is: never normalised, never encoded again.

    `headers` are complete lines ("Name: value"); pass the same tuple object again for equal headers, the fetcher then
    keeps what it has prepared. `max_bytes` bounds a body kept in memory. Redirects are never followed: they are answers.
    `address` is the IP address to connect to, "" any that the host's name has. `most_seconds` bounds the whole answer, from its first
    byte; objects have no such bound, for they take what they take.
    """

    url: str
    headers: tuple[str, ...]
    max_bytes: int
    address: str = ""
    most_seconds: float = math.inf


DATED = "date:"
"""How a version begins that is but a date of change: two states of an object may share one."""

LISTING_SECONDS = 600.0
"""For a page of a listing: without this bound, one that arrives just above the stall limit takes ten hours."""


class Wanted(msgspec.Struct, gc=False, eq=False):
    """One object as it was listed. `size` in bytes, -1 where the listing does not tell; `mtime` in Unix seconds, -1 likewise.

    `version` is the source's own token for the state that was listed (an ETag, a generation, a checksum), "" where it has none;
    `url` is the object's own address, "" where the source makes it of the key.
    """

    directory: bytes
    name: bytes
    size: int
    mtime: int
    version: str
    url: str


class Response(msgspec.Struct, gc=False):
    """What came back. `failure` is set when there was no whole answer: then `status` may be 0 or that of the part.

    `header_lines` are raw, one or more of them in a piece, with line ends, status lines included (several after interim answers); `chunks` are the body unless it
    went to a sink. `received` counts body bytes. `shape`, if the fetcher knows it, is
    the head without `NUMBERS`: the answers of one server have few shapes, and what was found out about one holds for the next.
    """

    status: int
    header_lines: list[bytes]
    chunks: Sequence[Chunk]
    received: int
    seconds: float
    failure: Reason | None = None
    detail: str = ""
    shape: bytes = b""

    @property
    def body(self) -> bytes:
        """The whole body in one piece."""
        first = self.chunks[0] if len(self.chunks) == 1 else None
        return first if isinstance(first, bytes) else b"".join(self.chunks)

    def md5(self) -> bytes:
        """The MD5 of the body, 16 raw bytes."""
        digest = md5(usedforsecurity=False)
        for chunk in self.chunks:
            digest.update(chunk)
        return digest.digest()

    def headers(self) -> Mapping[str, str]:
        """The last answer's headers, by lower-case name (the last of equal names wins)."""
        found: dict[str, str] = {}
        for line in b"".join(self.header_lines).split(b"\n"):
            if line.startswith(b"HTTP/"):
                found.clear()
                continue
            name, colon, value = line.partition(b":")
            if colon:
                found[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
        return found


class Verdict(msgspec.Struct, gc=False):
    """What a source says of one answer to a request for an object; `reason` None means: these are the object's bytes.

    `md5` (hex, or "" where the source states none that could be compared) is what the body must have; `size` is what the
    body must have in bytes, or -1 where that is not known. `version` names the version, for a later range request. `start` is
    the byte of the object at which the body begins: 0 where the whole came in place of a part, -1 where a part does not tell.

    `mtime` is when the object changed (Unix seconds) where only the answer tells, -1 otherwise.

    `doubtful` says that a whole body came which may be the object in spite of `reason`: what else is known of it decides (see
    `domain.evidence`). `other_size` says that the listed size does not bind this answer: the source states
    another time of change than the listing did, or was asked for a version of an image.
    """

    reason: Reason | None = None
    detail: str = ""
    retry_after_seconds: float | None = None
    size: int = -1
    md5: str = ""
    version: str = ""
    start: int = 0
    doubtful: bool = False
    other_size: bool = False
    mtime: int = -1


class UsageQuery(msgspec.Struct, frozen=True):
    """A question for the size of all that is listed. `read` returns it in bytes, and raises AnswerError where the answer is none."""

    request: Request
    read: Callable[[Response], int]
