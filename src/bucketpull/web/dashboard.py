"""The dashboard: the page and its files, the metrics, and the API (`api`) on a TCP port, for whoever the guard lets.

A token goes in `Authorization: Bearer TOKEN`; the printed address carries it behind `#`, which browsers do not send.
"""

import asyncio
import os
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from importlib.resources import files

from bucketpull.domain.progress import Snapshot
from bucketpull.extras import adding
from bucketpull.web.api import (
    ApiRequest,
    ApiResponse,
    Handler,
    failed,
    in_words,
    json_response,
    volume_body,
    volume_in,
)
from bucketpull.web.guard import HEADERS, Guard, is_loopback
from bucketpull.web.server import Server

LOOKING_SECONDS = 3.0  # a page that is seen asks every second
LAST_LOOK_SECONDS = 2.0
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Dashboard:
    """Serves one job on `listeners`, which `listen` has bound to `host`, from `start` until `close`, in the caller's event loop.

    `answer` is that of the job's `Api`; the metrics are made of `snapshot`. `token` None makes a new one.
    `last_look_seconds` is what an open page gets at the end. With `tls` it speaks HTTPS. A volume that is new to the job may be added
    below one of `volumes_below` only: whoever has the token may not have us write anywhere on this machine.
    """

    def __init__(
        self,
        answer: Handler,
        snapshot: Callable[[], Snapshot],
        host: str,
        listeners: Sequence[socket.socket],
        token: str | None = None,
        last_look_seconds: float = LAST_LOOK_SECONDS,
        tls: ssl.SSLContext | None = None,
        volumes_below: Sequence[str] = (),
    ) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self._answer_api = answer
        self._snapshot = snapshot
        self._host, self.port = host, listeners[0].getsockname()[1]
        self._listeners = listeners
        self._guard = Guard(self.token, is_loopback(host))
        self._last_look_seconds = last_look_seconds
        self._looked_at = -LOOKING_SECONDS
        self._is_secure = tls is not None
        self._volumes_below = volumes_below
        self._server = Server(self._answer, _client, tls=tls)
        static = files("bucketpull.web").joinpath("static")
        self._static = {
            item.name: item.read_bytes()
            for item in static.iterdir()
            if item.name.rpartition(".")[2] in _TYPES
        }

    def start(self) -> str:
        """Serve from now on; return the address for the operator's browser, which ends with the token."""
        for listener in self._listeners:
            self._server.start(listener)
        scheme = "https" if self._is_secure else "http"
        return f"{scheme}://{self._shown_host()}:{self.port}/#{self.token}"

    async def close(self) -> None:
        """Stop serving; an open page gets the time to ask once more, and so shows how the job ended."""
        if asyncio.get_running_loop().time() - self._looked_at < LOOKING_SECONDS:
            await asyncio.sleep(self._last_look_seconds)
        await self._server.close()

    def _shown_host(self) -> str:
        if self._host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
            return socket.gethostname()
        return f"[{self._host}]" if ":" in self._host else self._host

    async def _answer(self, request: ApiRequest) -> ApiResponse:
        """Refuse what is not allowed, and put the security headers on every answer."""
        public = request.path == "/" or request.path.startswith("/static/")
        change = request.method not in {"GET", "HEAD"}
        refused = self._guard.objection(request.headers, change=change, public=public)
        if refused:
            response = json_response({"error": refused[1]}, refused[0])
        else:
            response = await self._allowed(request, public=public)
        return response._replace(headers={**response.headers, **HEADERS})

    async def _allowed(self, request: ApiRequest, *, public: bool) -> ApiResponse:
        if public and request.method in {"GET", "HEAD"}:
            return self._file("index.html" if request.path == "/" else request.path.removeprefix("/static/"))
        if request.path == "/metrics":
            return self._metrics()
        if request.path == "/api/snapshot":
            self._looked_at = asyncio.get_running_loop().time()
        if request.path == "/api/volumes/below":
            return json_response(list(self._volumes_below))
        if request.path == "/api/volumes/add":
            allowed = self._with_allowed_volume(request)
            return allowed if isinstance(allowed, ApiResponse) else await self._answer_api(allowed)
        return await self._answer_api(request)

    def _with_allowed_volume(self, request: ApiRequest) -> ApiRequest | ApiResponse:
        """Return a request for a volume that the job knows already, or for the real path of one where the command line allows it."""
        try:
            path = volume_in(request.body)
            place = os.path.realpath(path)
        except ValueError as error:
            return failed(400, str(error))
        if any(path in {volume.id, volume.path} for volume in self._snapshot().volumes):
            return request
        if any(_is_below(place, folder) for folder in self._volumes_below):
            return request._replace(body=volume_body(place))
        text = (
            f"volume {path}: the dashboard adds volumes only below a folder that --volumes-below names; "
            "use `bucketpull volumes add` on that machine"
        )
        return failed(403, in_words(text, request))

    def _metrics(self) -> ApiResponse:
        try:
            from bucketpull.web import metrics
        except ModuleNotFoundError:
            return failed(501, f"metrics need prometheus-client; add the extra web by `{adding('web')}`")
        return ApiResponse(200, metrics.exposition(self._snapshot), metrics.CONTENT_TYPE)

    def _file(self, name: str) -> ApiResponse:
        if name not in self._static:
            return failed(404, "there is no such file")
        return ApiResponse(200, self._static[name], f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8")


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _client(connection: socket.socket) -> str:
    return f"the dashboard at {connection.getpeername()[0]}"


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
