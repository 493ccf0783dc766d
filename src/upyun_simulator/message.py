"""Requests as they came and replies as they will go: values only, no connection."""

import gzip
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote_to_bytes

from upyun_simulator.bodies import content_range

REASONS = {
    200: "OK", 206: "Partial Content", 302: "Found", 304: "Not Modified", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 412: "Precondition Failed",
    416: "Requested Range Not Satisfiable", 429: "Too Many Requests", 499: "Client Closed Request",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


@dataclass(slots=True)
class Request:
    """One request; `target` is the request line's, byte for byte, as signatures need it. Header names are lower case."""

    method: str
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes = b""
    keep_alive: bool = True

    def header(self, name: bytes) -> str | None:
        """Return a header as text, None where it was not sent."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def raw_path(self) -> bytes:
        """The path as sent, still percent-encoded."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the first question mark."""
        return self.target.partition(b"?")[2]

    def path(self) -> str:
        """Return the path decoded, never normalised; UnicodeDecodeError where it is not UTF-8."""
        raw = self.raw_path
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8")


class Body(Protocol):
    """Bytes that can be taken piece by piece."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to `stop` (exclusive)."""
        ...


@dataclass(slots=True, frozen=True)
class Literal:
    """A body that is at hand."""

    data: bytes

    def __len__(self) -> int:
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        """See `Body.read`."""
        return self.data[start:stop]


@dataclass(slots=True, frozen=True)
class Window:
    """A range of an object's content, computed as it is sent."""

    key: str
    size: int
    version: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def read(self, start: int, stop: int) -> bytes:
        """See `Body.read`."""
        return content_range(
            self.key, self.size, self.start + start, min(self.start + stop, self.stop), self.version
        )


@dataclass(slots=True)
class Delivery:
    """How a reply goes out, where it does not simply go out.

    cut: body bytes after which `ending` happens, None for the whole body; ending: `end` (all is well), `close`,
    `reset` or `stall`; before_head: the ending happens before any byte; drip: bytes a second; chunked: no Content-Length.
    """

    cut: int | None = None
    ending: str = "end"
    before_head: bool = False
    drip: float = 0
    chunked: bool = False


@dataclass(slots=True)
class Reply:
    """One answer. `delay` is seconds before its first byte; `no_body` is for HEAD and 304 (the length is still stated)."""

    status: int
    headers: list[tuple[str, str]]
    content: Body | bytes = b""
    delay: float = 0
    delivery: Delivery | None = None
    no_body: bool = False
    close: bool = False
    label: str = ""  # what is counted: the kind of request
    faults: list[str] = field(default_factory=list)
    hints: list[tuple[str, str]] = field(default_factory=list)  # headers of a 103 that goes before

    @property
    def body(self) -> Body:
        """The body, in pieces."""
        return Literal(self.content) if isinstance(self.content, bytes) else self.content

    def set_header(self, name: str, value: str | None) -> None:
        """Replace a header (any case), or remove it with None."""
        kept = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        self.headers = kept if value is None else [*kept, (name, value)]

    def header(self, name: str) -> str | None:
        """Return the first header of this name (any case)."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def head(self) -> bytes:
        """Return status line and headers as sent."""
        lines = []
        if self.hints:
            lines += ["HTTP/1.1 103 Early Hints", *(f"{name}: {value}" for name, value in self.hints), ""]
        lines.append(f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Unknown')}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.delivery is not None and self.delivery.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.status != 304:
            lines.append(f"Content-Length: {len(self.content)}")
        lines.append("Connection: close" if self.close else "Connection: keep-alive")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def gzip_reply(reply: Reply) -> None:
    """Compress a reply's body."""
    reply.content = gzip.compress(reply.body.read(0, len(reply.content)), 1, mtime=0)
    reply.set_header("Content-Encoding", "gzip")
    weaken(reply)


def weaken(reply: Reply) -> None:
    """Make the ETag a weak one."""
    etag = reply.header("ETag")
    if etag and not etag.startswith("W/"):
        reply.set_header("ETag", f"W/{etag}")
