"""Faults that spoil a right reply on its way."""

from collections.abc import Callable
from typing import Final

from bucketpull.simulator.content import content_range
from bucketpull.simulator.faults import Call, Rule
from bucketpull.simulator.message import Delivery, Literal, Reply, Window
from bucketpull.simulator.transforms import gzip_reply, weaken

_GETS: Final = frozenset({"rest.get", "cdn.get"})
_OBJECTS: Final = _GETS | {"rest.head", "cdn.head"}
_BODIES: Final = _GETS | {"rest.list"}


def _cut(rule: Rule, reply: Reply) -> int:
    """Return after how many body bytes to stop: `after=` bytes, or the middle; always before the end."""
    length = len(reply.content)
    return max(0, min(int(rule.number("after", length // 2)), length - 1))


def _reset_body(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """connection reset in the body, after= bytes (half)"""
    reply.delivery = Delivery(cut=_cut(rule, reply), ending="reset")


def _truncate(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """connection closed in the body although Content-Length says more, after= bytes (half)"""
    reply.delivery = Delivery(cut=_cut(rule, reply), ending="close")


def _stall(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """nothing more comes in the body, the connection stays open, after= bytes (half)"""
    reply.delivery = Delivery(cut=_cut(rule, reply), ending="stall")


def _drip(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """the body comes at rate= bytes a second (1000)"""
    reply.delivery = Delivery(drip=rule.number("rate", 1000))


def _slow(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """the answer comes seconds= later (1)"""
    reply.delay += rule.number("seconds", 1)


def _chunked(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """the whole body, chunked, without Content-Length"""
    reply.delivery = Delivery(chunked=True)


def _chunked_cut(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """chunked without Content-Length, closed without the final chunk, after= bytes (half)"""
    reply.delivery = Delivery(cut=_cut(rule, reply), ending="close", chunked=True)


def _hidden_error(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """200 with an x-error-code header, code= (50300006), chunked, and only after= bytes of the body (half)"""
    reply.headers.append(("x-error-code", str(int(rule.number("code", 50300006)))))
    reply.content = Literal(reply.body.read(0, _cut(rule, reply)))
    reply.delivery = Delivery(chunked=True)


def _multipart_etag(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """the ETag of a multipart upload: 32 hexadecimal digits that are no MD5 of the content, with Content-MD5 as wrong"""
    etag = (reply.header("ETag") or '""').strip('"')
    reply.set_header("ETag", f'"{etag[::-1]}"')
    if reply.header("Content-MD5"):
        reply.set_header("Content-MD5", etag[::-1])


def _no_md5(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """neither ETag nor Content-MD5"""
    reply.set_header("ETag", None)
    reply.set_header("Content-MD5", None)


def _corrupt(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """one byte of the body is wrong, at= its offset (the middle); the length is right"""
    length = len(reply.content)
    if length:
        data = bytearray(reply.body.read(0, length))
        data[min(int(rule.number("at", length // 2)), length - 1)] ^= 0xFF
        reply.content = bytes(data)


def _short(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """fewer bytes than the object has, with the Content-Length of the few, after= bytes (half)"""
    reply.content = Literal(reply.body.read(0, _cut(rule, reply)))


def _gzip(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """gzip although the client asked for identity"""
    if reply.status == 200:
        gzip_reply(reply)


def _weak_etag(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """a weak ETag"""
    weaken(reply)


def _ignore_range(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """200 with the whole object to a request with Range"""
    body = reply.content
    if reply.status == 206 and isinstance(body, Window):
        reply.status = 200
        reply.set_header("Content-Range", None)
        reply.content = Window(body.key, body.size, body.version, 0, body.size)


def _replaced(rule: Rule, call: Call, reply: Reply) -> None:  # noqa: ARG001
    """206 of another version of the object, with that version's ETag: it was replaced between two ranges"""
    body = reply.content
    if reply.status == 206 and isinstance(body, Window):
        reply.content = Window(body.key, body.size, body.version + 1, body.start, body.stop)
        reply.set_header("ETag", f'"{content_range(body.key, 16, 0, 16, body.version + 1).hex()}"')
        reply.set_header("Content-MD5", None)


Effect = Callable[[Rule, Call, Reply], None]
EFFECTS: Final[dict[str, tuple[frozenset[str], Effect]]] = {
    "reset-body": (_BODIES, _reset_body),
    "truncate": (_BODIES, _truncate),
    "stall": (_BODIES, _stall),
    "drip": (_BODIES, _drip),
    "slow": (_BODIES | _OBJECTS, _slow),
    "chunked": (_BODIES, _chunked),
    "chunked-cut": (_BODIES, _chunked_cut),
    "hidden-error": (_BODIES, _hidden_error),
    "multipart-etag": (_OBJECTS, _multipart_etag),
    "no-md5": (_OBJECTS, _no_md5),
    "corrupt": (_GETS, _corrupt),
    "short": (_GETS, _short),
    "gzip": (_BODIES, _gzip),
    "weak-etag": (_OBJECTS, _weak_etag),
    "ignore-range": (_GETS, _ignore_range),
    "replaced": (_GETS, _replaced),
}
