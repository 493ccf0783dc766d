"""What each fault does. A fault acts in one of four places.

    instead      the request is answered by something else, before it is looked at
    changed      the object is another one, or none
    page         a listing's page is spoilt (`page_effects`)
    afterwards   the right reply is spoilt on its way (`reply_effects`)

`describe()` lists them all.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from upyun_simulator import page_effects, reply_effects
from upyun_simulator.contents import Folder, Item
from upyun_simulator.cursor import END, Cursors
from upyun_simulator.faults import ALL, BODIES, GETS, OBJECTS, Effect, Hit, Rule, parse_rule
from upyun_simulator.listing import Ask, Page
from upyun_simulator.message import Delivery, Reply

_CHALLENGE: Final = b"<!DOCTYPE html><html><head><script>document.cookie='c=1';location.reload()</script></head><body></body></html>"
_BAD_GATEWAY: Final = (
    b"<html><head><title>502 Bad Gateway</title></head><body><center>marco</center></body></html>"
)


def _code(default: int) -> Callable[[Hit], Reply]:
    def answer(hit: Hit) -> Reply:
        reply = hit.error(int(hit.rule.number("code", default)))
        if "retry_after" in hit.rule.options:
            reply.headers.append(("Retry-After", hit.rule.options["retry_after"]))
        return reply

    return answer


def _no_head(ending: str) -> Callable[[Hit], Reply]:
    return lambda _hit: Reply(0, [], delivery=Delivery(ending=ending, before_head=True))


def _bad_gateway(_hit: Hit) -> Reply:
    return Reply(502, [("Content-Type", "text/html")], _BAD_GATEWAY)


def _empty_500(_hit: Hit) -> Reply:
    return Reply(500, [])


def _html(_hit: Hit) -> Reply:
    return Reply(200, [("Content-Type", "text/html; charset=utf-8")], _CHALLENGE)


def _json_200(hit: Hit) -> Reply:
    body = hit.error(int(hit.rule.number("code", 42900001))).content
    return Reply(200, [("Content-Type", "application/json")], body)


def _redirect(hit: Hit) -> Reply:
    target = hit.rule.options.get("to", "/error.jpg").replace("{key}", quote(hit.call.key))
    return Reply(int(hit.rule.number("status", 302)), [("Location", target)])


def _now_folder(hit: Hit) -> Reply:
    call = hit.call
    if call.listener == "cdn":
        return hit.error(40400001)
    if call.kind == "head":
        return Reply(200, [("x-upyun-file-type", "folder")], no_body=True)
    if (call.request.header(b"x-upyun-folder") or "").lower() == "false":
        return hit.error(int(hit.rule.number("code", 40400001)))
    return Reply(200, [("x-upyun-list-iter", END)], b"inside.jpg\tN\t10\t1400000000")


def _wrong_416(hit: Hit) -> Reply:
    item = hit.call.contents.item(hit.call.key)
    reply = hit.error(41610003)
    reply.headers.append(("Content-Range", f"bytes 0-0/{item.size if item else 0}"))
    return reply


def _codes(default: int) -> Effect[Callable[[Hit], Reply]]:
    says = f"an error code, {default} unless code= says another; retry_after= adds the header"
    return Effect(ALL, _code(default), says)


INSTEAD: Final[dict[str, Effect[Callable[[Hit], Reply]]]] = {
    "429": _codes(42900001),
    "503": _codes(50300000),
    "499": _codes(49900001),
    "403": _codes(40310003),
    "401": _codes(40100005),
    "404": _codes(40400001),
    "error": _codes(50300044),
    "502-html": Effect(ALL, _bad_gateway, "502 with a proxy's HTML page"),
    "500-empty": Effect(ALL, _empty_500, "500 with no body"),
    "reset": Effect(ALL, _no_head("reset"), "connection reset before any byte"),
    "hang-up": Effect(ALL, _no_head("close"), "connection closed in order before any byte"),
    "silence": Effect(ALL, _no_head("stall"), "no answer at all, the connection stays open"),
    "html": Effect(BODIES, _html, "200 with the HTML of a JavaScript challenge"),
    "json-200": Effect(BODIES, _json_200, "200 with the JSON of an error, code= (42900001)"),
    "redirect": Effect(
        ALL, _redirect, "a redirect, status= (302), to= (/error.jpg); {key} there is the object's key"
    ),
    "now-folder": Effect(
        OBJECTS,
        _now_folder,
        "the object has become a folder: a listing, or with `x-upyun-folder: false` code= (40400001)",
    ),
    "416": Effect(GETS, _wrong_416, "416 with a valid Content-Range to a request with Range"),
}


def _gone(_hit: Hit, _item: Item) -> None:
    return None


def _expired(hit: Hit, item: Item) -> None:
    hit.call.contents.delete(item.key)


def _size_differs(hit: Hit, item: Item) -> Item:
    by = int(hit.rule.number("by", 7))
    return item._replace(size=max(0, item.size + by), mtime=item.mtime + 3600, version=item.version + 1)


def _stale(hit: Hit, item: Item) -> Item:
    size = item.size if hit.rule.options.get("same") == "1" else item.size * 3 // 4
    return item._replace(size=size, mtime=item.mtime - 3600, version=item.version + 1_000)


CHANGED: Final[dict[str, Effect[Callable[[Hit, Item], Item | None]]]] = {
    "gone": Effect(OBJECTS, _gone, "404 for an object that is listed"),
    "expired": Effect(
        OBJECTS, _expired, "the object's time to live ends with this request: 404, and no longer listed"
    ),
    "size-differs": Effect(
        OBJECTS,
        _size_differs,
        "the object was replaced since it was listed: other bytes, by= more of them (7), a later time",
    ),
    "stale": Effect(
        OBJECTS,
        _stale,
        "an older version: other bytes, three quarters of them (same=1: as many), an earlier time",
    ),
}

STICKY: Final = frozenset({"gone", "now-folder", "size-differs", "multipart-etag", "no-md5"})

_TABLES: Final = (INSTEAD, CHANGED, reply_effects.EFFECTS, page_effects.EFFECTS)


def parse(text: str) -> Rule:
    """Read a rule such as `429:p=0.1`; ValueError names what is wrong and what there is."""
    return parse_rule(text, {name: effect for table in _TABLES for name, effect in table.items()}, STICKY)


def describe() -> dict[str, str]:
    """Return every fault with what it does, in one line."""
    return {name: effect.says for table in _TABLES for name, effect in table.items()}


def instead(hit: Hit) -> Reply | None:
    """Return the fault's own answer, None where it acts elsewhere."""
    effect = INSTEAD.get(hit.rule.name)
    return effect.act(hit) if effect else None


def changed(hit: Hit, item: Item) -> Item | None:
    """Return the object as the fault has it."""
    effect = CHANGED.get(hit.rule.name)
    return effect.act(hit, item) if effect else item


def page(hit: Hit, ask: Ask, folder: Folder, cursors: Cursors) -> Page | None:
    """Return the spoilt page, None where the fault acts elsewhere."""
    effect = page_effects.EFFECTS.get(hit.rule.name)
    turn = page_effects.Turn(hit.rule, hit.call.contents, ask, folder, cursors)
    return effect.act(turn) if effect else None


def afterwards(hit: Hit, reply: Reply) -> bool:
    """Spoil a reply on its way; errors are left alone. Return whether the request suffered anything."""
    effect = reply_effects.EFFECTS.get(hit.rule.name)
    if effect is None:
        return True
    return reply.status in {200, 206} and effect.act(hit.rule, reply)
