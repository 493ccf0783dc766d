"""The one remote control of a running job: for the page, for other commands by the Unix socket, and for those at the broker.

| address | what |
| --- | --- |
| `GET /api/job` | the `Snapshot`, whole |
| `GET /api/snapshot?language=zh&price_per_gb=P&price_per_10k=P` | `report.document.snapshot_dict` and whether the job is `running`, for programs; other prices than \
the job was given, if any |
| `GET /api/points?since=UNIX` | fine points of the charts; `coarse=1`: those of the whole session |
| `GET /api/failures?limit=N&reason=R&match=PATTERN&language=zh` | failures with the last answer, what it means, what to do |
| `GET /api/failed?limit=N&reason=R&match=PATTERN` | the `Failure`s, whole |
| `GET /api/books` | the `JobRecord`: version, configuration, all volumes that are known |
| `GET /api/where?directory=HEX&name=HEX` | the `Extent`s that may hold an object |
| `GET /api/directories?prefix=HEX` | directories below one; keys are bytes, hence hexadecimal |
| `POST /api/pause`, `/api/resume` | start nothing more; go on |
| `POST /api/stop` | stop in order, as Ctrl-C does |
| `POST /api/limits` | a `NewLimits` |
| `POST /api/retry` | `{"reason": R, "match": PATTERN}`, null for all: failures become work again |
| `POST /api/volumes/add`, `/drain`, `/lost` | `{"volume": PATH or ID}` |

A change is answered with `{"text": ...}`, what cannot be with `{"error": ..., "exit": CODE}`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from bucketpull.domain.budget import Prices
from bucketpull.domain.decoding import json_decoder
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode, Reason
from bucketpull.domain.model import Extent, Failure, key_of, show
from bucketpull.domain.progress import DirectoryState, Snapshot
from bucketpull.domain.user_input import Concurrency, Rate, Speed
from bucketpull.journal.journal_reader import JobRecord
from bucketpull.report.document import snapshot_dict
from bucketpull.report.reasons import explain
from bucketpull.report.words import Words
from bucketpull.web.history import History

PRICES = ("price_per_gb", "price_per_10k")
MOST_FAILURES = 1_000
MOST_FAILED = 10_000  # whole ones: in one message of the broker
MOST_DIRECTORIES = 500
_encoder = msgspec.json.Encoder()


class ApiRequest(NamedTuple):
    """One request. `path` is decoded; `headers` are by their names in lower case; `client` names who asks, for people."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    client: str


class ApiResponse(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    kind: str = "application/json; charset=utf-8"
    headers: Mapping[str, str] = {}


Handler = Callable[[ApiRequest], Awaitable[ApiResponse]]
"""Answers a request, whatever it is."""


def request_of(
    method: str, target: str, body: bytes, client: str, headers: Mapping[str, str] | None = None
) -> ApiRequest:
    """Make a request of its target, which is a path and a query as sent."""
    path, _, query = target.partition("?")
    values = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return ApiRequest(method, unquote(path), dict(values), headers or {}, body, client)


# --- what it needs of a job


class NewLimits(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is to change of a job's limits. What is left out stays; null is no cap, and for `concurrency` automatic.

    `bandwidth` is as on the command line: a size, "off", or a schedule by time of day; `bytes_per_second` is a number.
    """

    concurrency: Concurrency | msgspec.UnsetType | None = msgspec.UNSET
    requests_per_second: Rate | msgspec.UnsetType | None = msgspec.UNSET
    bytes_per_second: Speed | msgspec.UnsetType | None = msgspec.UNSET
    bandwidth: str | msgspec.UnsetType = msgspec.UNSET


class JobView(Protocol):
    """A job to look at. Called from the event loop; what must wait for a disk is a coroutine.

    All but `snapshot` raise `BucketpullError` where something cannot be done.
    """

    def snapshot(self) -> Snapshot:
        """Return where the job stands. Called every two seconds, and for each viewer."""

    async def failures(self, limit: int, reason: str | None, pattern: str | None) -> Sequence[Failure]:
        """Return at most so many failures, of one reason or (None) of all, and with keys like a pattern, in key order."""

    async def directories(self, prefix: bytes, limit: int) -> Sequence[DirectoryState]:
        """Return at most so many directories directly below a directory (b"" is the root), by name."""

    async def books(self) -> JobRecord:
        """Return what the journal says of the job itself."""

    async def where(self, directory: bytes, name: bytes) -> Sequence[Extent]:
        """Return the ledger blocks that may hold an object, the newest first."""


class RunningJob(JobView, Protocol):
    """A running job, to look at and to steer.

    `client` names who asks, for the events that tell of it. Changes return a sentence for whoever asked.
    """

    async def pause(self, client: str) -> str:
        """Start no more transfers."""

    async def resume(self, client: str) -> str:
        """Go on after a pause."""

    async def stop(self, client: str) -> str:
        """End the job's programs on this machine in order; the same command goes on later."""

    async def set_limits(self, limits: NewLimits, client: str) -> str:
        """Change the limits of the whole job."""

    async def retry(self, reason: str | None, pattern: str | None, client: str) -> int:
        """Make failures of one reason, or (None) of all, and with keys like a pattern, work again; return how many objects."""

    async def add_volume(self, path: str, client: str) -> str:
        """Use a volume more, by its absolute path on the coordinator's machine."""

    async def drain_volume(self, volume: str, client: str) -> str:
        """Put nothing more on a volume, named by id or path."""

    async def lose_volume(self, volume: str, client: str) -> str:
        """Give up a volume, named by id: nothing on it counts."""


# --- what it answers


class Retry(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `/api/retry`; null is every one."""

    reason: Reason | None = None
    match: str | None = None


class OfVolume(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `/api/volumes/...`."""

    volume: str


_decode_limits = json_decoder(NewLimits)
_decode_retry = json_decoder(Retry)
_decode_volume = json_decoder(OfVolume)


class Api:
    """Answers requests about one job. `control` is None if no coordinator runs: then nothing can be changed.

    Nor can it when the job `has_ended`: then its journal takes no changes.
    """

    def __init__(
        self,
        view: JobView,
        history: History,
        control: RunningJob | None = None,
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._view = view
        self._is_running = control is not None
        self._has_ended = has_ended
        self._history = history
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "/api/job"): self._job,
            ("GET", "/api/snapshot"): self._snapshot,
            ("GET", "/api/points"): self._points,
            ("GET", "/api/failures"): self._failures,
            ("GET", "/api/failed"): self._failed,
            ("GET", "/api/books"): self._books,
            ("GET", "/api/where"): self._where,
            ("GET", "/api/directories"): self._directories,
        }
        if control is not None:
            self._routes["POST", "/api/retry"] = partial(_retry, control)
            for path, change in _changes(control).items():
                self._routes["POST", path] = partial(_changed, change)

    async def answer(self, request: ApiRequest) -> ApiResponse:
        """Answer a request, whatever it is."""
        method = "GET" if request.method == "HEAD" else request.method
        route = self._routes.get((method, request.path))
        if route is None:
            known = any(path == request.path for _, path in self._routes)
            return failed(405 if known else 404, f"{method} {request.path}: there is no such thing")
        if method == "POST" and self._has_ended():
            text = "the job has ended; run the same command again, then change it"
            return failed(409, in_words(text, request))
        try:
            return await route(request)
        except ConfigError as error:
            return failed(400, in_words(str(error), request))
        except BucketpullError as error:
            return failed(409, in_words(str(error), request), error.exit_code)
        except (ValueError, RecursionError) as error:  # of msgspec too
            return failed(400, str(error), ExitCode.USAGE)

    async def _job(self, _: ApiRequest) -> ApiResponse:
        return json_response(self._view.snapshot())

    async def _snapshot(self, request: ApiRequest) -> ApiResponse:
        snapshot, words = self._view.snapshot(), Words(_language(request))
        shown = snapshot_dict(msgspec.structs.replace(snapshot, prices=_prices(request) or snapshot.prices))
        for note in shown["notes"]:
            note["text"] = words.message(note["text"])
        for volume in shown["volumes"]:
            volume["detail"] = words.message(volume["detail"])
        return json_response(shown | {"running": self._is_running})

    async def _points(self, request: ApiRequest) -> ApiResponse:
        if request.query.get("coarse"):
            return json_response(self._history.coarse)
        return json_response(self._history.since(float(request.query.get("since", 0))))

    async def _failures(self, request: ApiRequest) -> ApiResponse:
        found = await self._chosen(request, MOST_FAILURES)
        return json_response([_failure(failure, _language(request)) for failure in found])

    async def _failed(self, request: ApiRequest) -> ApiResponse:
        return json_response(await self._chosen(request, MOST_FAILED))

    async def _chosen(self, request: ApiRequest, most: int) -> list[Failure]:
        limit = min(most, max(1, int(request.query.get("limit", 100))))
        reason = request.query.get("reason")
        chosen = Reason(reason) if reason else None
        return list(await self._view.failures(limit, chosen, request.query.get("match") or None))

    async def _books(self, _: ApiRequest) -> ApiResponse:
        return json_response(await self._view.books())

    async def _where(self, request: ApiRequest) -> ApiResponse:
        directory, name = (bytes.fromhex(request.query.get(part, "")) for part in ("directory", "name"))
        return json_response(await self._view.where(directory, name))

    async def _directories(self, request: ApiRequest) -> ApiResponse:
        prefix = bytes.fromhex(request.query.get("prefix", ""))
        found = await self._view.directories(prefix, MOST_DIRECTORIES + 1)
        shown = [_directory(state, prefix) for state in found[:MOST_DIRECTORIES]]
        return json_response({"directories": shown, "more": len(found) > MOST_DIRECTORIES})


Change = Callable[[ApiRequest], Awaitable[str]]


def _changes(control: RunningJob) -> dict[str, Change]:
    """Return what makes each change, by path."""
    return {
        "/api/pause": lambda asked: control.pause(asked.client),
        "/api/resume": lambda asked: control.resume(asked.client),
        "/api/stop": lambda asked: control.stop(asked.client),
        "/api/limits": lambda asked: control.set_limits(_decode_limits(asked.body), asked.client),
        "/api/volumes/add": lambda asked: control.add_volume(volume_in(asked.body), asked.client),
        "/api/volumes/drain": lambda asked: control.drain_volume(volume_in(asked.body), asked.client),
        "/api/volumes/lost": lambda asked: control.lose_volume(volume_in(asked.body), asked.client),
    }


async def _changed(change: Change, request: ApiRequest) -> ApiResponse:
    return json_response({"text": in_words(await change(request), request)})


async def _retry(control: RunningJob, request: ApiRequest) -> ApiResponse:
    chosen = _decode_retry(request.body or b"{}")
    return json_response({"objects": await control.retry(chosen.reason, chosen.match, request.client)})


def json_response(value: object, status: int = 200) -> ApiResponse:
    """Return a value as JSON."""
    return ApiResponse(status, _encoder.encode(value))


def in_words(text: str, request: ApiRequest) -> str:
    """Return a text in the language that a request asks for, as the page does; commands translate by themselves."""
    return Words(_language(request)).message(text)


def failed(status: int, text: str, code: ExitCode = ExitCode.USAGE) -> ApiResponse:
    """Return an error, with the exit code that a command makes of it."""
    return json_response({"error": text, "exit": int(code)}, status)


def volume_in(body: bytes) -> str:
    """Return the volume that a body of `/api/volumes/...` names. Raises ValueError where it names none."""
    return _decode_volume(body).volume


def volume_body(path: str) -> bytes:
    """Return the body that names a volume."""
    return _encoder.encode(OfVolume(path))


def _language(request: ApiRequest) -> str:
    return "zh" if request.query.get("language") == "zh" else "en"


def _prices(request: ApiRequest) -> Prices:
    return msgspec.convert(
        {name.removeprefix("price_"): price for name, price in request.query.items() if name in PRICES},
        Prices,
        strict=False,
    )


def _failure(failure: Failure, language: str) -> dict[str, Any]:  # JSON
    """Show a failure with what it means; an empty name is a directory that could not be listed."""
    meaning, remedy = explain(failure.reason, language)
    return {
        "key": show(key_of(failure.directory, failure.name)),
        "listing": not failure.name,
        "size": failure.size,
        "reason": failure.reason,
        "meaning": meaning,
        "remedy": remedy,
        "attempts": failure.attempts,
        "status": failure.status,
        "detail": failure.detail,
    }


def _directory(state: DirectoryState, prefix: bytes) -> dict[str, Any]:  # JSON
    name = state.directory[len(prefix) :].lstrip(b"/")
    return msgspec.structs.asdict(state) | {"directory": state.directory.hex(), "name": show(name)}
