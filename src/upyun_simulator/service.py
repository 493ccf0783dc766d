"""The two listeners' services: what each request is, and what it is answered."""

import random
import time
from contextlib import suppress
from typing import TextIO

from upyun_simulator import effects
from upyun_simulator.auth import Gatekeeper
from upyun_simulator.contents import Item
from upyun_simulator.counters import Counters
from upyun_simulator.cursor import Cursors, RowKeys, Sealed
from upyun_simulator.errors import Refusal
from upyun_simulator.faults import Call, Faults, Hit
from upyun_simulator.http import Handler
from upyun_simulator.limits import Desk, Gate, Throttle
from upyun_simulator.listing import PageCache, Shapes
from upyun_simulator.message import Reply, Request
from upyun_simulator.objects import http_date
from upyun_simulator.overlay import Overlay
from upyun_simulator.settings import Settings
from upyun_simulator.spec import parse_spec


class World:
    """What both listeners and the control endpoint share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.contents = Overlay(parse_spec(settings.spec))
        self.gatekeeper = Gatekeeper(settings.bucket, settings.accounts(), settings.clock_offset)
        self.cursors: Cursors = RowKeys(settings.bucket, settings.cursor_padding)
        if settings.cursors == "sealed":
            self.cursors = Sealed(RowKeys(settings.bucket))
        self.shapes = Shapes(settings.empty, settings.folder_noise)
        self.pages = PageCache()
        self.counters = Counters(track_keys=settings.track_keys)
        self.faults = Faults(settings.seed)
        for text in settings.faults:
            self.faults.add(effects.parse(text))
        self.random = random.Random(settings.seed)
        self.throttle = Throttle(settings.bandwidth, time.monotonic)
        self.log: TextIO | None = None
        self._served = 0
        self._date = (0, "")

    def request_id(self) -> str:
        """Return an id that no other request has."""
        self._served += 1
        return f"{self._served * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}{self._served:016x}"

    def date(self) -> str:
        """Return the Date header, by the server's clock."""
        now = int(self.gatekeeper.now())
        if self._date[0] != now:
            self._date = (now, http_date(now))
        return self._date[1]


class Pace:
    """How long answers of a kind take (seconds), how many are made at a time, and how many a second are not refused."""

    def __init__(self, latency: float, slots: int, rate: float) -> None:
        self.latency = latency
        self.desk = Desk(slots, time.monotonic)
        self.gate = Gate(rate, time.monotonic)


class Service(Handler):
    """What is common to both listeners: faults, limits, delays, counting. The listeners say what a request means.

    `over_limit` is the code for too many requests.
    """

    name: str
    server: str
    over_limit: int

    def __init__(self, world: World) -> None:
        self.world = world
        self.configure()

    def configure(self) -> None:
        """Take latencies and rates from the settings, at the start and when they change."""
        self._paces = self.paces(self.world.settings)

    def paces(self, settings: Settings) -> dict[str, Pace]:
        """Return the pace of listings (`list`, where the listener has them) and that of all other answers (`get`)."""
        raise NotImplementedError

    def classify(self, request: Request) -> Call:
        """Return what a request is about; raises `Refusal` or UnicodeDecodeError."""
        raise NotImplementedError

    def answer(self, call: Call, hit: Hit | None) -> Reply:
        """Return the reply to a request; may raise `Refusal`."""
        raise NotImplementedError

    def refuse(self, code: int, request_id: str) -> Reply:
        """Return the listener's form of an error."""
        raise NotImplementedError

    def respond(self, request: Request) -> Reply:
        """See `http.Handler`."""
        request_id = self.world.request_id()
        key, kind = "", "get"
        try:
            call = self.classify(request)
            key, kind = call.key, call.kind
            reply = self._judge(call, request_id)
        except UnicodeDecodeError:
            reply = self.refuse(40000030, request_id)
        except Refusal as refusal:
            reply = self.refuse(refusal.code, request_id)
        reply.label = f"{self.name}.{kind}"
        reply.no_body = reply.no_body or request.method == "HEAD"
        common = [("Server", self.server), ("Date", self.world.date()), ("X-Request-Id", request_id)]
        reply.headers = common + reply.headers
        reply.delay += self._delay(kind)
        self.world.counters.begin(reply, key)
        if self.world.log is not None:
            self._write_log(request, reply)
        return reply

    def _judge(self, call: Call, request_id: str) -> Reply:
        if not self._pace(call.kind).gate.admit():
            return self.refuse(self.over_limit, request_id)
        rule = self.world.faults.match(call) if self.world.faults.rules else None
        if rule is None:
            return self.answer(call, None)
        hit = Hit(rule, call, self.refuse, request_id)
        try:
            reply = effects.instead(hit) or self.answer(call, hit)
        except Refusal as refusal:
            reply = hit.error(refusal.code)
        if effects.afterwards(hit, reply):
            reply.faults.append(rule.name)
        return reply

    def item(self, key: str, hit: Hit | None) -> Item | None:
        """Return the object of a key, as a fault may have changed it."""
        item = self.world.contents.item(key)
        return item if hit is None or item is None else effects.changed(hit, item)

    def _pace(self, kind: str) -> Pace:
        return self._paces.get(kind, self._paces["get"])

    def _delay(self, kind: str) -> float:
        pace, jitter = self._pace(kind), self.world.settings.jitter
        return pace.desk.delay(pace.latency + jitter * self.world.random.random() if jitter else pace.latency)

    def _write_log(self, request: Request, reply: Reply) -> None:
        assert self.world.log is not None
        target = request.target.decode("latin-1")
        line = f'{self.world.date()} {reply.label} "{request.method} {target}" {reply.status} {len(reply.content)} {"+".join(reply.faults) or "-"}\n'
        with suppress(OSError):
            self.world.log.write(line)

    def done(self, reply: Reply, sent: int, *, complete: bool) -> None:
        """See `http.Handler`."""
        self.world.counters.end(reply, sent, complete=complete)

    def opened(self) -> list[Throttle]:
        """See `http.Handler`."""
        self.world.counters.opened()
        settings = self.world.settings
        throttles = [self.world.throttle] if settings.bandwidth else []
        if settings.connection_bandwidth:
            throttles.append(Throttle(settings.connection_bandwidth, time.monotonic))
        return throttles

    def closed(self) -> None:
        """See `http.Handler`."""
        self.world.counters.closed()
