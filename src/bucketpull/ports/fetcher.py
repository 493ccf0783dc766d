"""What a downloader needs of an HTTP client."""

from collections.abc import Callable
from typing import Protocol

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request, Response


class Fetcher(Protocol):
    """Many transfers at once in one thread. Callbacks run in that thread, inside `run_once`."""

    def submit(
        self,
        request: Request,
        done: Callable[[Response], None],
        sink: Callable[[bytes], object] | None = None,
        begun: Callable[[Response], object] | None = None,
    ) -> None:
        """Start a transfer at once. `done` is called exactly once; with a sink the body goes there chunk by chunk.

        Only the body of a good answer (2xx) goes to the sink, that of another into `chunks`. Before its first chunk
        `begun` is given the status and the headers, in a response that has failed as `interrupted`, for there is no body yet. Where the sink does not take a chunk
        (False), nothing more is read for this transfer until the same bytes are offered again, shortly after; that is no stall. The
        sink, or `begun`, may raise to end the transfer; the response's failure is then `interrupted`.
        """

    def watch(self, fd: int, readable: Callable[[], None]) -> None:
        """Call back whenever a file descriptor is readable."""

    def unwatch(self, fd: int) -> None:
        """Stop watching a file descriptor; call it before the descriptor is closed."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, after so many seconds."""

    def limit_bandwidth(self, bytes_per_second: float | None) -> None:
        """Cap what all transfers together receive."""

    def run_once(self, timeout_seconds: float) -> None:
        """Wait for something to happen, at most so long, and call back."""

    def waits(self, site: str, address: str = "") -> tuple[float, int]:
        """Return for how many seconds nothing has come from a site ("" is any), and how many requests wait for it.

        That is since the youngest of its transfers began, if none of them has had any answer; else 0. With an address only what was
        sent to that one counts.
        """

    def abandon(self, site: str, reason: Reason, detail: str, address: str = "") -> None:
        """End all transfers to a site that have had no answer; their callbacks are told so."""

    def resolve(self, site: str, found: Callable[[list[str]], None]) -> None:
        """Find out the addresses of a site's name, and call back: with none if there is no name, no answer, or a proxy between."""

    @property
    def in_flight(self) -> int:
        """Transfers started and not done."""

    @property
    def arriving(self) -> int:
        """How many bytes of bodies have come of transfers that are not done."""

    def close(self) -> None:
        """Abandon all transfers; no callback is made."""
