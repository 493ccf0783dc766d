"""The CDN listener: `/<path>` without bucket and authorization (docs/reference/upyun.md)."""

import hashlib
import posixpath
from fnmatch import fnmatchcase
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from upyun_simulator.contents import Item
from upyun_simulator.errors import Refusal, cdn_error
from upyun_simulator.faults import Call, Hit
from upyun_simulator.message import Reply, Request, gzip_reply
from upyun_simulator.objects import CDN_CODES, http_date, object_reply
from upyun_simulator.service import Pace, Service
from upyun_simulator.settings import Settings

_AGE: Final = 691_200  # seconds that an edge keeps an object: 8 days
_TEXT: Final = ("text/", "application/json", "application/javascript")


class CdnService(Service):
    """Objects for everybody, or behind `_upt`, a Referer rule and a User-Agent rule."""

    name = "cdn"
    server = "marco/2.2"
    over_limit = 40310003

    def paces(self, settings: Settings) -> dict[str, Pace]:
        """See `Service.paces`."""
        return {"get": Pace(settings.cdn_latency, settings.cdn_slots, settings.cdn_rate)}

    def classify(self, request: Request) -> Call:
        """See `Service.classify`."""
        if request.method not in {"GET", "HEAD"}:
            raise Refusal(40500001)
        key = request.path().removeprefix("/")
        if self.world.settings.normalises:
            key = posixpath.normpath("/" + key).lstrip("/")
        return Call(self.name, request.method.lower(), key, request, self.world.contents)

    def refuse(self, code: int, request_id: str) -> Reply:  # noqa: ARG002
        """See `Service.refuse`."""
        return cdn_error(code)

    def answer(self, call: Call, hit: Hit | None) -> Reply:
        """See `Service.answer`."""
        self._protect(call.request)
        item, version = self._find(call, hit)
        if item is None:
            raise Refusal(40400001)
        item = self._transformed(call.request, item, version)
        reply = object_reply(call.request, item, CDN_CODES)
        reply.set_header("Content-MD5", None)
        reply.headers += self._edge_headers()
        if not version:
            _compress(call.request, item, reply)
        return reply

    def _find(self, call: Call, hit: Hit | None) -> tuple[Item | None, str]:
        """Return the object and the image version asked for. The first separator in a path starts a version."""
        key, separator, version = call.key.partition(self.world.settings.separator)
        item = self.item(key, hit)
        if item is not None and item.secret and not self._is_version(version):
            if version != item.secret:
                raise Refusal(40400001)
            return item, ""
        if separator and not self._is_version(version):
            raise Refusal(40400010)
        return item, version

    def _is_version(self, version: str) -> bool:
        name = version.partition("/")[0]
        return name in self.world.settings.versions or version.startswith("/")

    def _transformed(self, request: Request, item: Item, version: str) -> Item:
        if version:
            if not item.type.startswith("image/") or not item.size:
                raise Refusal(40500002)
            return item._replace(key=f"{item.key}!{version}", size=1 + item.size // 8)
        if item.type in {"image/jpeg", "image/png"} and "image/webp" in (request.header(b"accept") or ""):
            return item._replace(key=f"{item.key}!webp", size=1 + item.size * 2 // 3, type="image/webp")
        return item

    def _protect(self, request: Request) -> None:
        settings = self.world.settings
        agent = (request.header(b"user-agent") or "").lower()
        if any(fnmatchcase(agent, pattern.lower()) for pattern in settings.blocked_agents):
            raise Refusal(40310011)
        referer = request.header(b"referer")
        if settings.referers and referer and urlsplit(referer).hostname not in settings.referers:
            raise Refusal(40310014)
        if settings.token_secret:
            self._check_token(request)

    def _check_token(self, request: Request) -> None:
        token = _token_of(request)
        settings = self.world.settings
        path = request.path() if settings.path_signed == "decoded" else request.raw_path.decode("latin-1")
        sign, expires = token[:8], token[8:]
        if not expires.isdecimal() or len(expires) > 18 or int(expires) < self.world.gatekeeper.now():
            raise Refusal(40310013)
        text = f"{settings.token_secret}&{expires}&{path}"
        if hashlib.md5(text.encode()).hexdigest()[12:20] != sign:
            raise Refusal(40310013)

    def _edge_headers(self) -> list[tuple[str, str]]:
        expires = http_date(self.world.gatekeeper.now() + _AGE)
        return [
            ("X-Source", "U/200"),
            ("X-Cache", "HIT"),
            ("Via", "T.1.H, V.simulator"),
            ("Cache-Control", f"max-age={_AGE}"),
            ("Expires", expires),
            ("Age", "1"),
        ]


def _token_of(request: Request) -> str:
    found = parse_qs(request.query.decode("latin-1")).get("_upt")
    if found:
        return found[0]
    try:
        cookie = SimpleCookie(request.header(b"cookie") or "").get("_upt")
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _compress(request: Request, item: Item, reply: Reply) -> None:
    """Do to text what an edge does when the client lets it: gzip, with a weak ETag."""
    accepts = "gzip" in (request.header(b"accept-encoding") or "")
    if accepts and reply.status == 200 and item.size > 256 and item.type.startswith(_TEXT):
        gzip_reply(reply)
