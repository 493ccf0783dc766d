"""The simulator in an event loop: three listeners on one world."""

import asyncio
import os
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Self, TextIO

from upyun_simulator.cdn import CdnService
from upyun_simulator.control import ControlService
from upyun_simulator.http import Connection, Handler
from upyun_simulator.rest import RestService
from upyun_simulator.service import World
from upyun_simulator.settings import Ready, Settings


class Server:
    """A simulator in this process; `async with Server(settings) as server` runs it.

    `ready` says where it is; `world` is its state, for tests that look inside.
    """

    ready: Ready

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.world = World(settings)
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()

    async def start(self) -> Ready:
        """Listen; raises OSError where a port is taken."""
        settings, world = self.settings, self.world
        world.log = _open_log(settings.access_log)
        rest, cdn = RestService(world), CdnService(world)
        api_port = await self._listen(rest, settings.api_port, secure=True)
        cdn_port = await self._listen(cdn, settings.cdn_port, secure=True)
        control_port = await self._listen(
            ControlService(world, [rest, cdn]), settings.control_port, secure=False
        )
        scheme = "https" if settings.tls_cert else "http"
        first = settings.accounts()[0]
        self.ready = Ready(
            api_url=f"{scheme}://{settings.host}:{api_port}",
            cdn_url=f"{scheme}://{settings.host}:{cdn_port}",
            control_url=f"http://127.0.0.1:{control_port}",
            bucket=settings.bucket,
            operator=first.name,
            password=first.password,
            pid=os.getpid(),
        )
        return self.ready

    async def _listen(self, handler: Handler, port: int, *, secure: bool) -> int:
        context = None
        if secure and self.settings.tls_cert:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(self.settings.tls_cert, self.settings.tls_key or None)
        server = await asyncio.get_running_loop().create_server(
            partial(Connection, handler, self._connections),
            self.settings.host if secure else "127.0.0.1",
            port,
            ssl=context,
            backlog=4096,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and break every connection."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.abort()
        for server in self._servers:
            await server.wait_closed()
        if self.world.log is not None and self.world.log is not sys.stderr:
            self.world.log.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


def _open_log(name: str) -> TextIO | None:
    if not name:
        return None
    return sys.stderr if name == "-" else Path(name).open("a", encoding="utf-8", buffering=1)
