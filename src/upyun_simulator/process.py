"""The simulator in a process of its own, and the handle that starts, changes and stops it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Self
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from upyun_simulator.contents import Contents
from upyun_simulator.server import Server
from upyun_simulator.settings import Ready, Settings
from upyun_simulator.spec import parse_spec

_OPENER: Final = build_opener(ProxyHandler({}))  # a proxy of the environment is not for the loopback


class Simulator:
    """A simulator process: `with Simulator("flat:1000") as simulator`. Options are those of `Settings`.

    It ends with this handle, and with the process that holds it, however that ends.
    """

    def __init__(self, spec: str = "demo", **options: object) -> None:
        self.settings = msgspec.convert({"spec": spec, **options}, Settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._contents: Contents | None = None
        self.ready: Ready | None = None

    def start(self) -> Self:
        """Start the process and wait until it listens; RuntimeError says why it does not."""
        command = [sys.executable, "-m", "upyun_simulator"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ourselves
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(self.settings) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self.stop()
            msg = f"the simulator of {self.settings.spec!r} did not start (exit code {code}): see its standard error"
            raise RuntimeError(msg)
        self.ready = msgspec.json.decode(line, type=Ready)
        return self

    def stop(self) -> None:
        """End the process; does nothing when it has ended."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _where(self) -> Ready:
        if self.ready is None:
            msg = "the simulator is not started: call start() or use it in a with statement"
            raise RuntimeError(msg)
        return self.ready

    @property
    def api_url(self) -> str:
        """The REST endpoint, without the bucket."""
        return self._where().api_url

    @property
    def cdn_url(self) -> str:
        """The bucket's CDN domain."""
        return self._where().cdn_url

    @property
    def control_url(self) -> str:
        """The control endpoint, see `control`."""
        return self._where().control_url

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.settings.bucket

    @property
    def operator(self) -> str:
        """The first operator's name."""
        return self.settings.accounts()[0].name

    @property
    def password(self) -> str:
        """The first operator's password."""
        return self.settings.accounts()[0].password

    @property
    def environment(self) -> dict[str, str]:
        """The credentials as the environment variables that the client reads."""
        return {"UPYUN_OPERATOR": self.operator, "UPYUN_PASSWORD": self.password}

    @property
    def contents(self) -> Contents:
        """The bucket as it was at the start, computed in this process, for comparing with what was pulled."""
        if self._contents is None:
            self._contents = parse_spec(self.settings.spec)
        return self._contents

    def counters(self) -> dict[str, Any]:
        """Return what was served since the start or the last reset."""
        return dict(json.loads(self._control("GET", "/counters")))

    def reset_counters(self) -> None:
        """Count from zero."""
        self._control("POST", "/reset")

    def inject(self, *faults: str) -> None:
        """Put faults in force."""
        self._control("POST", "/faults", list(faults))

    def clear_faults(self, name: str = "") -> None:
        """Drop the rules of one fault, or all."""
        self._control("DELETE", f"/faults?{name}" if name else "/faults")

    def replace_faults(self, *faults: str) -> None:
        """Put faults in force in place of all others; no request comes between."""
        self._control("PUT", "/faults", list(faults))

    def mutate(
        self,
        put: dict[str, int | None] | None = None,
        touch: list[str] | None = None,
        delete: list[str] | None = None,
    ) -> None:
        """Change the bucket: put objects of a size, touch (a new version), delete keys or folders (`photos/`)."""
        self._control("POST", "/objects", {"put": put or {}, "touch": touch or [], "delete": delete or []})

    def set(self, **settings: float) -> None:
        """Change latencies, rates, bandwidths or the clock while it runs."""
        self._control("POST", "/settings", settings)

    def _control(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.control_url + path, data, method=method)  # noqa: S310 - our own URL
        with _OPENER.open(request, timeout=30) as reply:
            return bytes(reply.read())


def run(settings: Settings, announce: Callable[[Ready], None], *, until_stdin_ends: bool = False) -> None:
    """Serve in this process until it is interrupted, or until standard input ends."""
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, announce, until_stdin_ends=until_stdin_ends))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(settings: Settings, announce: Callable[[Ready], None], *, until_stdin_ends: bool) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    async with Server(settings) as server:
        announce(server.ready)
        if until_stdin_ends:
            loop.add_reader(sys.stdin.fileno(), ended.set)
        await ended.wait()
