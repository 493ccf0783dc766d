"""A source without a service, and volumes without a disk."""

import hashlib
import os
from collections.abc import Collection, Sequence
from email.utils import parsedate_to_datetime

from bucketpull.domain.endpoints import EndpointSpec, Purpose
from bucketpull.domain.errors import AnswerError, Reason, VolumeError
from bucketpull.domain.http_exchange import Chunk, Request, Response, Verdict, Wanted
from bucketpull.domain.model import Page, Part, Position, key_of
from bucketpull.domain.record import PartVersion, Written

_ANYWHERE = {403: Reason.FORBIDDEN, 429: Reason.THROTTLED, 503: Reason.SERVER_ERROR}
_OBJECT = _ANYWHERE | {302: Reason.REDIRECTED, 412: Reason.RANGE}
STATUS = {
    "list": _ANYWHERE | {401: Reason.CREDENTIALS, 404: Reason.GONE},
    "origin": _OBJECT | {400: Reason.REJECTED, 401: Reason.CREDENTIALS, 404: Reason.GONE},
    "edge": _OBJECT | {404: Reason.MISSING},
}


class MemorySource:
    """See `ports.Source`. URLs are `endpoint:key`; the status alone says what is wrong; pages are scripted by position."""

    endpoints = (
        EndpointSpec(name="list", purpose=Purpose.LIST, sites=("list:",), first=4, highest=64),
        EndpointSpec(
            name="edge", purpose=Purpose.FETCH, sites=("edge:",), is_origin=False, title="the edge", first=32
        ),
        EndpointSpec(name="origin", purpose=Purpose.FETCH, sites=("origin:",), title="the origin"),
    )

    def __init__(
        self,
        routes: Sequence[str] = ("edge", "origin"),
        pages: dict[tuple[bytes, str], Page] | None = None,
    ) -> None:
        self._routes = tuple(routes)
        self.pages = pages if pages is not None else {(b"", ""): Page(Part(b"", "", [], [], []), [], [])}
        self.unreachable: set[bytes] = set()

    def root(self) -> Position:
        """Begin at the root."""
        return Position(b"")

    def page_here(self, position: Position) -> Page | None:
        """Nothing lies here."""
        del position
        return None

    def list_request(self, position: Position, site: str, now: float) -> Request:
        """Name the position."""
        del site, now
        url = f"list:{position.directory.decode()}?{position.cursor}"
        return Request(url, (), 1 << 24)

    def read_page(self, position: Position, response: Response, now: float) -> Page:
        """Return the scripted page."""
        del now
        if response.failure is not None:
            raise AnswerError(response.failure, response.detail)
        if response.status != 200:
            raise AnswerError(STATUS["list"].get(response.status, Reason.GARBAGE), f"HTTP {response.status}")
        return self.pages[position.directory, position.cursor]

    def routes(self, directory: bytes, name: bytes, size: int) -> tuple[str, ...]:
        """Return the routes given; there is none for names in `unreachable`."""
        del directory, size
        if name in self.unreachable:
            raise AnswerError(Reason.REJECTED, "no endpoint has it")
        return self._routes

    def object_request(
        self, wanted: Wanted, endpoint: str, site: str, now: float, start: int = 0, version: str = ""
    ) -> Request:
        """Name the endpoint and the key."""
        del site, now
        headers = (f"Range: bytes={start}-", f"If-Match: {version}") if start else ()
        url = wanted.url or f"{endpoint}:{key_of(wanted.directory, wanted.name).decode()}"
        return Request(url, headers, max(wanted.size, 1 << 20))

    def judge(
        self, wanted: Wanted, endpoint: str, response: Response, now: float, start: int = 0, version: str = ""
    ) -> Verdict:
        """Judge by failure, status, and length."""
        del now
        size, headers = wanted.size, response.headers()
        found = headers.get("etag", "")
        began = start if response.status == 206 else 0
        if response.failure is not None:
            stated = headers.get("content-md5", "")
            return Verdict(response.failure, response.detail, md5=stated, version=found, start=began)
        if response.status not in {200, 206}:
            asked = headers.get("retry-after")
            reason = STATUS[endpoint][response.status]
            return Verdict(reason, f"HTTP {response.status}", float(asked) if asked else None)
        if start and (response.status == 200 or (version and found != version)):
            return Verdict(Reason.RANGE, "another version", version=found, start=began)
        length = start + response.received
        if length != size >= 0 and endpoint == "edge":
            return Verdict(
                Reason.SIZE,
                f"{length} bytes came, {size} are listed",
                md5=headers.get("content-md5", ""),
                version=found,
                start=began,
                doubtful=True,
            )
        changed = _changed(headers.get("last-modified", ""), wanted.mtime)
        return Verdict(
            size=length, md5=headers.get("content-md5", ""), version=found, start=began, other_size=changed
        )

    def usage_query(self, site: str, now: float) -> None:
        """There is none."""


def _changed(stated: str, mtime: int) -> bool:
    return bool(stated) and int(parsedate_to_datetime(stated).timestamp()) != mtime


def part_of(directory: bytes, sizes: dict[bytes, int], cursor: str = "", mtime: int = 1_600_000_000) -> Part:
    """Make a page's objects of names and sizes."""
    return Part(directory, cursor, list(sizes), list(sizes.values()), [mtime] * len(sizes))


class MemoryWriter:
    """See `ports.Writer`. Stores in `files`, at once, or when `release` is called if it is `slow`.

    `refuse` names the reason for which it takes nothing, `odd` that of single keys. With `refuses_streams` large objects meet that
    at their beginning, else in the middle.
    """

    def __init__(self, slow: bool = False) -> None:
        self.files: dict[bytes, bytes] = {}
        self.mtimes: dict[bytes, int] = {}
        self.refuse: Reason | None = None
        self.refuses_streams = False
        self.odd: dict[bytes, Reason] = {}
        self.parts: dict[bytes, bytearray] = {}
        self.notes: dict[bytes, PartVersion] = {}
        self.backlog = 0
        self.slow = slow
        self.closed = False
        self._queue: list[tuple[bytes, int, bytes, object]] = []
        self._done: list[Written] = []
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def queued_bytes(self) -> int:
        """Bytes not yet stored; `backlog` is added."""
        return self.backlog + sum(len(body) for _, _, body, _ in self._queue)

    def put(
        self, directory: bytes, name: bytes, mtime: int, chunks: Sequence[Chunk], token: object
    ) -> Written | None:
        """Take an object."""
        key, body = key_of(directory, name), b"".join(chunks)
        if not self.slow:
            return self._write(key, mtime, body, token)
        self._queue.append((key, mtime, body, token))
        return None

    def _write(self, key: bytes, mtime: int, body: bytes, token: object) -> Written:
        reason = self.refuse or self.odd.get(key)
        if reason is None:
            self.files[key] = body
            self.mtimes[key] = mtime
        return Written(token, reason, "" if reason is None else f"{reason} in memory")

    def release(self) -> None:
        """Store what was taken."""
        self._done += [self._write(*each) for each in self._queue]
        if self._queue:
            os.eventfd_write(self.wake_fd, 1)
        self._queue.clear()

    def set_aside(self, directory: bytes, name: bytes) -> bool:
        """Keep what is there beside."""
        key = key_of(directory, name)
        self.files[key + b".kept"] = self.files.pop(key)
        return True

    def flush(self) -> None:
        """Keep back what is `slow`: `release` says when."""

    def stream(
        self, directory: bytes, name: bytes, size: int, mtime: int, hashed: bool = False
    ) -> "MemoryStream":
        """Begin, or go on with, a large object."""
        del hashed
        refusal = self.refuse or self.odd.get(key_of(directory, name))
        if self.refuses_streams and refusal is not None:
            error = VolumeError("memory", f"{refusal} in memory")
            error.reason = refusal
            raise error
        key = b"%d %d %s" % (size, mtime, key_of(directory, name))
        part = self.parts.setdefault(key, bytearray())
        return MemoryStream(self, key_of(directory, name), mtime, part, key)

    def tell(self, written: Written) -> None:
        """Add an outcome."""
        self._done.append(written)
        os.eventfd_write(self.wake_fd, 1)

    def outcomes(self) -> list[Written]:
        """Take what was done."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return []
        done, self._done = self._done, []
        return done

    def discard(self) -> None:
        """Give the descriptor back."""
        if self.wake_fd >= 0:
            os.close(self.wake_fd)
        self.wake_fd = -1

    __del__ = discard

    def leave(self) -> None:
        """Stop at once."""
        self.closed = True

    def close(self) -> None:
        """Store the rest."""
        if not self.closed:
            self.release()
            self.closed = True


class MemoryStream:
    """See `ports.Stream`."""

    def __init__(self, writer: MemoryWriter, key: bytes, mtime: int, part: bytearray, version: bytes) -> None:
        self._version = version
        self._writer = writer
        self._key = key
        self._mtime = mtime
        self._part = part
        self.left = writer.notes.get(version) if part else None
        if self.left is None:
            part.clear()
        self.offset = len(part)
        self.trouble: Written | None = None

    def note(self, etag: str, changed: str) -> None:
        """Keep it beside the part."""
        self._writer.notes.pop(self._version, None)
        if etag:
            self._writer.notes[self._version] = PartVersion(etag, changed, is_sound=True)

    def append(self, chunk: bytes) -> None:
        """Add bytes."""
        refusal = self._writer.refuse or self._writer.odd.get(self._key)
        if refusal is not None:
            self.trouble = Written(None, refusal, "refused in memory")
        else:
            self._part += chunk

    def restart(self) -> None:
        """Throw away what is there."""
        self._part.clear()
        self.offset = 0

    def publish(self, length: int, accepts: Collection[bytes] | None, token: object, mtime: int = -1) -> None:
        """Store it if it is as said."""
        found = b"" if accepts is None else hashlib.md5(self._part, usedforsecurity=False).digest()
        if self.trouble is not None:
            self._writer.tell(Written(token, self.trouble.reason, self.trouble.detail))
        elif len(self._part) != length:
            self._writer.tell(Written(token, Reason.TRUNCATED, f"{len(self._part)} of {length} bytes"))
        elif accepts is not None and found not in accepts:
            self._part.clear()
            self._writer.tell(Written(token, Reason.CHECKSUM, f"md5 {found.hex()}", md5=found))
        else:
            self._writer.files[self._key] = bytes(self._part)
            self._writer.mtimes[self._key] = self._mtime if self._mtime >= 0 else mtime
            self._part.clear()
            self._writer.tell(Written(token, md5=found))

    def close(self, keep: bool) -> None:
        """Stop; `keep` leaves what came for a later stream."""
        if not keep:
            self._part.clear()
