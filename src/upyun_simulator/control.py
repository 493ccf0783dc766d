"""The control listener: JSON over HTTP on the loopback, for tests and rehearsals.

GET    /counters          what was served                     POST /reset     counters from zero
GET    /faults            the rules in force                  POST /faults    ["429:p=0.1", ...] puts rules in force
DELETE /faults[?NAME]     drops all rules, or those of a fault
POST   /objects           {"put": {key: size | null}, "touch": [keys], "delete": [keys, folders/]}
POST   /settings          {"cdn_latency": 0.05, ...}: latencies, jitter, slots, rates, clock_offset
GET    /health            what it is
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from upyun_simulator import effects
from upyun_simulator.http import Handler
from upyun_simulator.message import Reply, Request
from upyun_simulator.service import Service, World
from upyun_simulator.settings import Settings

_CHANGEABLE: Final = frozenset({
    "list_latency", "api_latency", "cdn_latency", "jitter", "list_rate", "api_rate", "cdn_rate", "list_slots", "api_slots", "cdn_slots",
    "bandwidth", "connection_bandwidth", "clock_offset",
})  # fmt: skip


class _Changes(msgspec.Struct, forbid_unknown_fields=True):
    put: dict[str, int | None] = {}
    touch: list[str] = []
    delete: list[str] = []


class ControlService(Handler):
    """Answers the control listener; changes take effect with the next request."""

    def __init__(self, world: World, services: list[Service]) -> None:
        self._world, self._services = world, services

    def respond(self, request: Request) -> Reply:
        """See `http.Handler`."""
        try:
            status, value = self._route(request)
        except (ValueError, TypeError, KeyError, msgspec.DecodeError) as error:
            status, value = 400, {"error": str(error)}
        return Reply(status, [("Content-Type", "application/json")], msgspec.json.encode(value))

    def _route(self, request: Request) -> tuple[int, Any]:
        routes: dict[str, Callable[[], Any]] = {
            "GET /counters": self._world.counters.report,
            "GET /faults": self._rules,
            "GET /health": lambda: {"spec": self._world.settings.spec, "bucket": self._world.settings.bucket},
            "POST /reset": self._world.counters.reset,
            "POST /faults": lambda: self._inject(msgspec.json.decode(request.body, type=list[str])),
            "PUT /faults": lambda: self._replace(msgspec.json.decode(request.body, type=list[str])),
            "DELETE /faults": lambda: self._world.faults.clear(request.query.decode()),
            "POST /objects": lambda: self._mutate(msgspec.json.decode(request.body, type=_Changes)),
            "POST /settings": lambda: self._set(msgspec.json.decode(request.body, type=dict[str, float])),
        }
        route = f"{request.method} {request.path()}"
        if route not in routes:
            return 404, {"error": f"no such route {route}", "routes": sorted(routes)}
        return 200, routes[route]()

    def _rules(self) -> list[str]:
        return [rule.text for rule in self._world.faults.rules]

    def _inject(self, texts: list[str]) -> list[str]:
        for rule in [effects.parse(text) for text in texts]:
            self._world.faults.add(rule)
        return self._rules()

    def _replace(self, texts: list[str]) -> list[str]:
        self._world.faults.clear()
        return self._inject(texts)

    def _mutate(self, wanted: _Changes) -> dict[str, int]:
        contents = self._world.contents
        for key, size in wanted.put.items():
            contents.put(key, size)
        for key in wanted.touch:
            contents.put(key)
        deleted = sum(contents.delete(key) for key in wanted.delete)
        return {"revision": contents.revision, "deleted": deleted}

    def _set(self, wanted: dict[str, float]) -> dict[str, float]:
        unknown = set(wanted) - _CHANGEABLE
        if unknown:
            msg = f"settings {sorted(unknown)} can't be changed while it runs: {sorted(_CHANGEABLE)} can"
            raise ValueError(msg)
        settings = self._world.settings = msgspec.convert(
            msgspec.to_builtins(self._world.settings) | wanted, Settings, strict=False
        )
        self._world.gatekeeper.clock_offset = settings.clock_offset
        if "bandwidth" in wanted:
            self._world.throttle.rate = settings.bandwidth
        for service in self._services:
            service.configure()
        return wanted
