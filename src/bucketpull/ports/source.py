"""What the engine needs of a bucket's dialect."""

from typing import Protocol

from bucketpull.domain.exchange import Request, Response, Verdict
from bucketpull.domain.model import Lane, Page, Position


class Source(Protocol):
    """A bucket's dialect. Pure: builds requests, reads answers; `now` is Unix seconds, always given.

    Signatures are made when a request is built, so build it when it is about to be sent.
    """

    def root(self) -> Position:
        """Say where the listing of the whole job begins."""
        ...

    def list_request(self, position: Position, now: float) -> Request:
        """Ask for the page at a position."""
        ...

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Understand a listing answer.

        Raises:
            AnswerError: It is no listing; the reason's remedy says what to do. Never taken for an empty directory.

        """
        ...

    def lanes(self, directory: bytes, name: bytes, size: int) -> tuple[Lane, ...]:
        """Say by which lanes an object can be had, in the order in which they are to be tried.

        Raises:
            AnswerError: By none; the reason is that of its failure.

        """
        ...

    def object_request(
        self, directory: bytes, name: bytes, size: int, lane: Lane, now: float, start: int = 0, etag: str = ""
    ) -> Request:
        """Ask for an object, from byte `start` on (then only if it still has `etag`; "" takes any version)."""
        ...

    def judge(
        self,
        name: bytes,
        size: int,
        lane: Lane,
        response: Response,
        now: float,
        start: int = 0,
        etag: str = "",
        mtime: int = -1,
    ) -> Verdict:
        """Decide whether an answer holds the object's bytes. Looks at status, headers, length and, if odd, the body.

        `mtime` is when the object was changed by the listing (Unix seconds, -1: not known). `start` and `etag` are those of the request: a part of another version than `etag` (if one was named), or the whole in
        place of a part, is refused (`range`). The verdict's `etag` names the version also where the transfer broke off (failure set).
        """
        ...

    def usage_request(self, now: float) -> Request | None:
        """Ask for the bucket's size, or None where the source cannot tell."""
        ...

    def read_usage(self, response: Response) -> int:
        """Return the bucket's size in bytes.

        Raises:
            AnswerError: The source refuses, or the answer is none.

        """
        ...
