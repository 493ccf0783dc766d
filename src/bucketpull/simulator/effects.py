"""What each fault does. A fault acts in one of four places, and each place has its table.

    instead      the request is answered by something else, before it is looked at
    changed      the object is another one, or none
    page         a listing's page is spoilt
    afterwards   the right reply is spoilt on its way

`describe()` lists them all.
"""

from collections.abc import Callable
from typing import Final

from bucketpull.simulator import page_effects, reply_effects
from bucketpull.simulator.contents import Folder, Item
from bucketpull.simulator.cursor import Cursors
from bucketpull.simulator.faults import KINDS, Call, Rule, parse_rule
from bucketpull.simulator.listing import Ask, Page
from bucketpull.simulator.message import Delivery, Reply

Refuse = Callable[[int, str], Reply]

ALL: Final = frozenset({f"rest.{kind}" for kind in KINDS} | {"cdn.get", "cdn.head"})
REST: Final = frozenset(label for label in ALL if label.startswith("rest."))
CDN: Final = ALL - REST
GETS: Final = frozenset({"rest.get", "cdn.get"})
OBJECTS: Final = GETS | {"rest.head", "cdn.head"}
LISTS: Final = frozenset({"rest.list"})
BODIES: Final = GETS | LISTS

_CHALLENGE: Final = b"<!DOCTYPE html><html><head><script>document.cookie='c=1';location.reload()</script></head><body></body></html>"
_BAD_GATEWAY: Final = b"<html><head><title>502 Bad Gateway</title></head><body><center>marco</center></body></html>"


def _code(default: int) -> Callable[[Rule, Call, Refuse, str], Reply]:
    """Answer with an error code; `code=` is another one, `retry_after=` adds the header."""

    def answer(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
        reply = refuse(int(rule.number("code", default)), request_id)
        if "retry_after" in rule.options:
            reply.headers.append(("Retry-After", rule.options["retry_after"]))
        return reply

    answer.__doc__ = f"an error code, {default} unless code= says another; retry_after= adds the header"
    return answer


def _bad_gateway(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """502 with a proxy's HTML page"""
    return Reply(502, [("Content-Type", "text/html")], _BAD_GATEWAY)


def _empty_500(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """500 with no body"""
    return Reply(500, [])


def _reset(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """connection reset before any byte"""
    return Reply(0, [], delivery=Delivery(ending="reset", before_head=True))


def _silence(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """no answer at all, the connection stays open"""
    return Reply(0, [], delivery=Delivery(ending="stall", before_head=True))


def _hang_up(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """connection closed in order before any byte"""
    return Reply(0, [], delivery=Delivery(ending="close", before_head=True))


def _html(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """200 with the HTML of a JavaScript challenge"""
    return Reply(200, [("Content-Type", "text/html; charset=utf-8")], _CHALLENGE)


def _json_200(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """200 with the JSON of an error, code= (42900001)"""
    code = int(rule.number("code", 42900001))
    return Reply(200, [("Content-Type", "application/json")], refuse(code, request_id).content)


def _redirect(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:  # noqa: ARG001
    """302 to an error image, to= (/error.jpg)"""
    return Reply(302, [("Location", rule.options.get("to", "/error.jpg"))])


def _now_folder(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply:
    """the object has become a folder: a listing, or with `x-upyun-folder: false` code= (40400001)"""
    if call.listener == "cdn":
        return refuse(40400001, request_id)
    if call.kind == "head":
        return Reply(200, [("x-upyun-file-type", "folder")], no_body=True)
    if (call.request.header(b"x-upyun-folder") or "").lower() == "false":
        return refuse(int(rule.number("code", 40400001)), request_id)
    cursor = "g2gCZAAEbmV4dGQAA2VvZg"
    return Reply(200, [("x-upyun-list-iter", cursor)], b"inside.jpg\tN\t10\t1400000000")


def _wrong_416(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply | None:
    """416 with a valid Content-Range to a request with Range; others are not concerned"""
    if b"range" not in call.request.headers:
        return None
    item = call.contents.item(call.key)
    reply = refuse(41610003, request_id)
    reply.headers.append(("Content-Range", f"bytes */{item.size if item else 0}"))
    return reply


_INSTEAD: Final[dict[str, tuple[frozenset[str], Callable[[Rule, Call, Refuse, str], Reply | None]]]] = {
    "429": (ALL, _code(42900001)),
    "503": (ALL, _code(50300000)),
    "499": (ALL, _code(49900001)),
    "403": (ALL, _code(40310003)),
    "401": (ALL, _code(40100005)),
    "404": (ALL, _code(40400001)),
    "error": (ALL, _code(50300044)),
    "502-html": (ALL, _bad_gateway),
    "500-empty": (ALL, _empty_500),
    "reset": (ALL, _reset),
    "silence": (ALL, _silence),
    "hang-up": (ALL, _hang_up),
    "html": (BODIES, _html),
    "json-200": (BODIES, _json_200),
    "redirect": (ALL, _redirect),
    "now-folder": (OBJECTS, _now_folder),
    "416": (GETS, _wrong_416),
}


def _gone(rule: Rule, call: Call, item: Item) -> None:  # noqa: ARG001
    """404 for an object that is listed"""


def _expired(rule: Rule, call: Call, item: Item) -> None:  # noqa: ARG001
    """the object's time to live ends with this request: 404, and no longer listed"""
    call.contents.delete(item.key)  # type: ignore[attr-defined]


def _size_differs(rule: Rule, call: Call, item: Item) -> Item:  # noqa: ARG001
    """the object was replaced since it was listed: other bytes, by= more of them (7), a later time"""
    by = int(rule.number("by", 7))
    return item._replace(size=max(0, item.size + by), mtime=item.mtime + 3600, version=item.version + 1)


def _stale(rule: Rule, call: Call, item: Item) -> Item:  # noqa: ARG001
    """an older version: other bytes, three quarters of them (same=1: as many), an earlier time"""
    size = item.size if rule.options.get("same") == "1" else item.size * 3 // 4
    return item._replace(size=size, mtime=item.mtime - 3600, version=item.version + 1_000)


_CHANGED: Final[dict[str, tuple[frozenset[str], Callable[[Rule, Call, Item], Item | None]]]] = {
    "gone": (OBJECTS, _gone),
    "expired": (OBJECTS, _expired),
    "size-differs": (OBJECTS, _size_differs),
    "stale": (OBJECTS, _stale),
}

STICKY: Final = frozenset({"gone", "now-folder", "size-differs", "multipart-etag", "no-md5"})

_WHERE: Final = (
    {name: kinds for name, (kinds, _) in _INSTEAD.items()}
    | {name: kinds for name, (kinds, _) in _CHANGED.items()}
    | dict.fromkeys(page_effects.EFFECTS, LISTS)
    | {name: kinds & (OBJECTS | LISTS) for name, (kinds, _) in reply_effects.EFFECTS.items()}
)


def parse(text: str) -> Rule:
    """Read a rule such as `429:p=0.1`; ValueError names what is wrong and what there is."""
    return parse_rule(text, _WHERE, STICKY)


def describe() -> dict[str, str]:
    """Return every fault with what it does, in one line."""
    tables = (_INSTEAD, _CHANGED, reply_effects.EFFECTS)
    effects: dict[str, object] = {name: effect for table in tables for name, (_, effect) in table.items()}
    effects |= page_effects.EFFECTS
    return {name: (effect.__doc__ or "").strip() for name, effect in effects.items()}


def instead(rule: Rule, call: Call, refuse: Refuse, request_id: str) -> Reply | None:
    """Return the fault's own answer, None where it acts elsewhere."""
    found = _INSTEAD.get(rule.name)
    return found[1](rule, call, refuse, request_id) if found else None


def changed(rule: Rule, call: Call, item: Item) -> Item | None:
    """Return the object as the fault has it."""
    found = _CHANGED.get(rule.name)
    return found[1](rule, call, item) if found else item


def on_pages(rule: Rule) -> bool:
    """Return whether the fault spoils pages."""
    return rule.name in page_effects.EFFECTS


def page(rule: Rule, call: Call, ask: Ask, folder: Folder, cursors: Cursors) -> Page:
    """Return the spoilt page."""
    return page_effects.EFFECTS[rule.name](rule, call, ask, folder, cursors)


def afterwards(rule: Rule, call: Call, reply: Reply) -> Reply:
    """Return the reply as the fault leaves it; errors are left alone."""
    found = reply_effects.EFFECTS.get(rule.name)
    if found and reply.status in {200, 206}:
        found[1](rule, call, reply)
    return reply
