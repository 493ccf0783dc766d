"""The dashboard's server: one page, its data as JSON, the metrics, and a few changes.

| address | what |
| --- | --- |
| `GET /` | the page |
| `GET /metrics` | Prometheus |
| `GET /api/snapshot?language=zh` | `report.document.snapshot_dict` |
| `GET /api/points?since=UNIX` | fine points of the charts; `coarse=1`: those of the whole session |
| `GET /api/failures?limit=N&reason=R&language=zh` | failures with the last answer, what it means, what to do |
| `GET /api/directories?prefix=HEX` | directories below one; keys are bytes, hence hexadecimal |
| `POST /api/pause`, `/api/resume`, `/api/limits`, `/api/retry` | changes, with a JSON body |

A token goes in `Authorization: Bearer TOKEN`; the printed address carries it behind `#`, which browsers do not send.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web

from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Failure, Limits, key_of, show
from bucketpull.domain.progress import DirectoryState
from bucketpull.report.document import snapshot_dict
from bucketpull.report.reasons import explain
from bucketpull.report.words import Words
from bucketpull.web import metrics
from bucketpull.web.guard import HEADERS, Guard, is_loopback
from bucketpull.web.history import History
from bucketpull.web.panel import Panel

DEFAULT_PORT = 8377
SAMPLE_SECONDS = 2.0
LOOKING_SECONDS = 3.0  # a page that is seen asks every second
LAST_LOOK_SECONDS = 2.0
MOST_FAILURES = 1000
MOST_DIRECTORIES = 500
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_encoder = msgspec.json.Encoder()


class NewLimits(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `/api/limits`; null is no cap, and for `concurrency` automatic."""

    concurrency: int | None = None
    requests_per_second: float | None = None
    bytes_per_second: float | None = None


class Retry(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `/api/retry`; null is every reason."""

    reason: Reason | None = None


class Dashboard:
    """Serves one job. `start` binds, unless `listeners` are bound already, and returns; `close` ends it. Runs in the caller's event loop.

    `port` 0 is any free port. `token` None makes a new one. `sample_seconds` is the distance of the charts' points;
    `last_look_seconds` is what an open page gets at the end.
    """

    def __init__(
        self,
        panel: Panel,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        token: str | None = None,
        sample_seconds: float = SAMPLE_SECONDS,
        last_look_seconds: float = LAST_LOOK_SECONDS,
        listeners: Sequence[socket.socket] = (),
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self._panel = panel
        self._host, self._port = host, port
        self._listeners = list(listeners)
        self._guard = Guard(self.token, is_loopback(host))
        self._history = History()
        self._sample_seconds = sample_seconds
        self._last_look_seconds = last_look_seconds
        self._looked_at = -LOOKING_SECONDS
        self._runner: web.AppRunner | None = None
        self._sampler: asyncio.Task[None] | None = None
        static = files("bucketpull.web").joinpath("static")
        self._static = {
            item.name: item.read_bytes()
            for item in static.iterdir()
            if item.name.rpartition(".")[2] in _TYPES
        }

    async def start(self) -> str:
        """Bind and serve.

        Returns:
            The address for the operator's browser; it ends with the token.

        Raises:
            OSError: The port is taken, or the host is not of this machine.

        """
        if not self._listeners:
            self._listeners = listen(self._host, self._port)
        self._runner = web.AppRunner(self._application(), access_log=None, handle_signals=False)
        await self._runner.setup()
        for listener in self._listeners:
            await web.SockSite(self._runner, listener).start()
        self._sampler = asyncio.create_task(self._sample(), name="dashboard-sampler")
        return f"http://{self._shown_host()}:{self.port}/#{self.token}"

    @property
    def port(self) -> int:
        """The port that it is bound to."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop serving; an open page gets the time to ask once more, and so shows how the job ended."""
        if asyncio.get_running_loop().time() - self._looked_at < LOOKING_SECONDS:
            await asyncio.sleep(self._last_look_seconds)
        if self._sampler is not None:
            self._sampler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sampler
            self._sampler = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._listeners = []

    def _shown_host(self) -> str:
        if self._host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
            return socket.gethostname()
        return f"[{self._host}]" if ":" in self._host else self._host

    async def _sample(self) -> None:
        while True:
            self._history.add(self._panel.snapshot())
            await asyncio.sleep(self._sample_seconds)

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._check], client_max_size=10_000)
        app.router.add_get("/", self._page)
        app.router.add_get("/static/{name}", self._file)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/api/snapshot", self._snapshot)
        app.router.add_get("/api/points", self._points)
        app.router.add_get("/api/failures", self._failures)
        app.router.add_get("/api/directories", self._directories)
        app.router.add_post("/api/pause", self._pause)
        app.router.add_post("/api/resume", self._resume)
        app.router.add_post("/api/limits", self._set_limits)
        app.router.add_post("/api/retry", self._retry)
        return app

    @web.middleware
    async def _check(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse what is not allowed, turn bad input into 400, and put the security headers on every answer."""
        public = request.path == "/" or request.path.startswith("/static/")
        change = request.method not in {"GET", "HEAD"}
        refused = self._guard.objection(request.headers, change=change, public=public)
        response: web.StreamResponse
        if refused:
            response = _json({"error": refused[1]}, refused[0])
        else:
            try:
                response = await handler(request)
            except (msgspec.MsgspecError, ValueError) as error:
                response = _json({"error": str(error)}, 400)
            except web.HTTPException as error:
                response = _json({"error": error.reason}, error.status)
        response.headers.update(HEADERS)
        return response

    async def _page(self, _: web.Request) -> web.Response:
        return self._static_response("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return self._static_response(request.match_info["name"])

    def _static_response(self, name: str) -> web.Response:
        if name not in self._static:
            raise web.HTTPNotFound
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=self._static[name], content_type=kind, charset="utf-8")

    async def _metrics(self, _: web.Request) -> web.Response:
        body = metrics.exposition(self._panel.snapshot)
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _snapshot(self, request: web.Request) -> web.Response:
        self._looked_at = asyncio.get_running_loop().time()
        shown, words = snapshot_dict(self._panel.snapshot()), Words(_language(request))
        for note in shown["notes"]:
            note["text"] = words.message(note["text"])
        for volume in shown["volumes"]:
            volume["detail"] = words.message(volume["detail"])
        return _json(shown)

    async def _points(self, request: web.Request) -> web.Response:
        if request.query.get("coarse"):
            return _json(self._history.coarse)
        return _json(self._history.since(float(request.query.get("since", 0))))

    async def _failures(self, request: web.Request) -> web.Response:
        limit = min(MOST_FAILURES, max(1, int(request.query.get("limit", 100))))
        reason = request.query.get("reason")
        failures = await self._panel.failures(limit, Reason(reason) if reason else None)
        return _json([_failure(failure, _language(request)) for failure in failures])

    async def _directories(self, request: web.Request) -> web.Response:
        prefix = bytes.fromhex(request.query.get("prefix", ""))
        found = await self._panel.directories(prefix, MOST_DIRECTORIES + 1)
        shown = [_directory(state, prefix) for state in found[:MOST_DIRECTORIES]]
        return _json({"directories": shown, "more": len(found) > MOST_DIRECTORIES})

    async def _pause(self, _: web.Request) -> web.Response:
        await self._panel.pause()
        return _json({})

    async def _resume(self, _: web.Request) -> web.Response:
        await self._panel.resume()
        return _json({})

    async def _set_limits(self, request: web.Request) -> web.Response:
        new = msgspec.json.decode(await request.read(), type=NewLimits)
        for name in NewLimits.__struct_fields__:
            value = getattr(new, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}: {value} is not above 0 (null is no limit)")
        paused = self._panel.snapshot().limits.paused
        await self._panel.set_limits(Limits(**msgspec.structs.asdict(new), paused=paused))
        return _json({})

    async def _retry(self, request: web.Request) -> web.Response:
        retry = msgspec.json.decode(await request.read(), type=Retry)
        return _json({"objects": await self._panel.retry(retry.reason)})


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen at all addresses of a host; "" is every one of this machine.

    Raises:
        OSError: A port is taken, or the host is not of this machine.

    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if listeners and port == 0:
                break  # another address would get another port
            listeners.append(socket.create_server(address[:2], family=family))
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=_encoder.encode(value), status=status, content_type="application/json", charset="utf-8"
    )


def _language(request: web.Request) -> str:
    return "zh" if request.query.get("language") == "zh" else "en"


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
