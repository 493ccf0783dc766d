"""Faults that spoil a right reply on its way; they say false where there is nothing to spoil."""

import hashlib
from collections.abc import Callable
from typing import Final

from upyun_simulator.bodies import md5_hex
from upyun_simulator.faults import ALL, BODIES, GETS, OBJECTS, Effect, Rule
from upyun_simulator.message import Delivery, Reply, Window, gzip_reply, weaken


def _cut(rule: Rule, reply: Reply) -> int:
    """Return after how many body bytes to stop: `after=` bytes, or the middle; always before the end."""
    length = len(reply.content)
    return max(0, min(int(rule.number("after", length // 2)), length - 1))


def _broken(ending: str, *, chunked: bool = False) -> Callable[[Rule, Reply], bool]:
    def spoil(rule: Rule, reply: Reply) -> bool:
        if len(reply.content):
            reply.delivery = Delivery(cut=_cut(rule, reply), ending=ending, chunked=chunked)
        return bool(reply.delivery)

    return spoil


def _drip(rule: Rule, reply: Reply) -> bool:
    reply.delivery = Delivery(drip=rule.number("rate", 1000))
    return len(reply.content) > 0


def _slow(rule: Rule, reply: Reply) -> bool:
    reply.delay += rule.number("seconds", 1)
    return True


def _chunked(_rule: Rule, reply: Reply) -> bool:
    reply.delivery = Delivery(chunked=True)
    return True


def _hidden_error(rule: Rule, reply: Reply) -> bool:
    reply.headers.append(("x-error-code", str(int(rule.number("code", 50300006)))))
    reply.content = reply.body.read(0, _cut(rule, reply))
    reply.delivery = Delivery(chunked=True)
    return True


def _multipart_etag(_rule: Rule, reply: Reply) -> bool:
    md5 = (reply.header("ETag") or "").strip('"')[::-1]
    reply.set_header("ETag", f'"{md5}"')
    if reply.header("Content-MD5"):
        reply.set_header("Content-MD5", md5)
    return True


def _no_md5(_rule: Rule, reply: Reply) -> bool:
    reply.set_header("ETag", None)
    reply.set_header("Content-MD5", None)
    return True


def _content_type(rule: Rule, reply: Reply) -> bool:
    reply.set_header("Content-Type", rule.options.get("type", "text/html"))
    return _with_md5(rule, reply)


def _stored_encoding(rule: Rule, reply: Reply) -> bool:
    reply.set_header("Content-Encoding", rule.options.get("as", "gzip"))
    return _with_md5(rule, reply)


def _with_md5(rule: Rule, reply: Reply) -> bool:
    """Leave the ETag, or with md5=0 put one in its place that is no MD5."""
    if rule.options.get("md5") == "0":
        reply.set_header("ETag", f'"v-{(reply.header("ETag") or "")[1:9]}"')
        reply.set_header("Content-MD5", None)
    return True


def _begins_with(rule: Rule, reply: Reply) -> bool:
    if reply.status != 200 or not len(reply.content):
        return False
    first = rule.options.get("text", "<svg").encode()
    body = reply.body.read(0, len(reply.content))
    reply.content = (first + body[len(first) :])[: len(body)]
    reply.set_header("ETag", f'"{hashlib.md5(reply.content).hexdigest()}"')
    reply.set_header("Content-MD5", None)
    return _with_md5(rule, reply)


def _early_hints(rule: Rule, reply: Reply) -> bool:
    reply.hints = [("ETag", f'"{rule.options.get("etag", "0" * 32)}"'), ("Link", "</a.css>; rel=preload")]
    return True


def _header(rule: Rule, reply: Reply) -> bool:
    reply.set_header(rule.options.get("name", "Last-Modified"), rule.options.get("value", "9" * 400))
    return True


def _corrupt(rule: Rule, reply: Reply) -> bool:
    length = len(reply.content)
    if not length:
        return False
    data = bytearray(reply.body.read(0, length))
    data[min(int(rule.number("at", length // 2)), length - 1)] ^= 0xFF
    reply.content = bytes(data)
    return True


def _short(rule: Rule, reply: Reply) -> bool:
    if not len(reply.content):
        return False
    reply.content = reply.body.read(0, _cut(rule, reply))
    return True


def _gzip(_rule: Rule, reply: Reply) -> bool:
    if reply.status == 200:
        gzip_reply(reply)
    return reply.status == 200


def _weak_etag(_rule: Rule, reply: Reply) -> bool:
    weaken(reply)
    return True


def _ignore_range(_rule: Rule, reply: Reply) -> bool:
    body = reply.content
    if reply.status != 206 or not isinstance(body, Window):
        return False
    reply.status = 200
    reply.set_header("Content-Range", None)
    reply.content = Window(body.key, body.size, body.version, 0, body.size)
    return True


def _replaced(_rule: Rule, reply: Reply) -> bool:
    body = reply.content
    if reply.status != 206 or not isinstance(body, Window):
        return False
    reply.content = Window(body.key, body.size, body.version + 1, body.start, body.stop)
    reply.set_header("ETag", f'"{md5_hex(body.key, body.size, body.version + 1)}"')
    reply.set_header("Content-MD5", None)
    return True


EFFECTS: Final[dict[str, Effect[Callable[[Rule, Reply], bool]]]] = {
    "reset-body": Effect(BODIES, _broken("reset"), "connection reset in the body, after= bytes (half)"),
    "truncate": Effect(
        BODIES,
        _broken("close"),
        "connection closed in the body although Content-Length says more, after= bytes (half)",
    ),
    "stall": Effect(
        BODIES,
        _broken("stall"),
        "nothing more comes in the body, the connection stays open, after= bytes (half)",
    ),
    "drip": Effect(BODIES, _drip, "the body comes at rate= bytes a second (1000)"),
    "slow": Effect(ALL, _slow, "the answer comes seconds= later (1)"),
    "chunked": Effect(BODIES, _chunked, "the whole body, chunked, without Content-Length"),
    "chunked-cut": Effect(
        BODIES,
        _broken("close", chunked=True),
        "chunked without Content-Length, closed without the final chunk, after= bytes (half)",
    ),
    "hidden-error": Effect(
        BODIES,
        _hidden_error,
        "200 with an x-error-code header, code= (50300006), chunked, and only after= bytes of the body (half)",
    ),
    "multipart-etag": Effect(
        OBJECTS,
        _multipart_etag,
        "the ETag of a multipart upload: 32 hexadecimal digits that are no MD5 of the content, with Content-MD5 as wrong",
    ),
    "no-md5": Effect(OBJECTS, _no_md5, "neither ETag nor Content-MD5"),
    "content-type": Effect(
        OBJECTS, _content_type, "another Content-Type: type= (text/html); md5=0: and no MD5 in the ETag"
    ),
    "stored-encoding": Effect(
        OBJECTS,
        _stored_encoding,
        "a Content-Encoding as= (gzip), as stored with the object; the bytes are its own; md5=0: and no MD5 in the ETag",
    ),
    "begins-with": Effect(
        GETS, _begins_with, "the object begins with text= (<svg); md5=0: and no MD5 in the ETag"
    ),
    "early-hints": Effect(
        GETS, _early_hints, "103 before the answer, with an ETag of its own: etag= (zeros)"
    ),
    "header": Effect(OBJECTS, _header, "a header name= (Last-Modified) with value= (400 digits)"),
    "corrupt": Effect(
        GETS, _corrupt, "one byte of the body is wrong, at= its offset (the middle); the length is right"
    ),
    "short": Effect(
        GETS,
        _short,
        "fewer bytes than the object has, with the Content-Length of the few, after= bytes (half)",
    ),
    "gzip": Effect(BODIES, _gzip, "gzip although the client asked for identity"),
    "weak-etag": Effect(OBJECTS, _weak_etag, "a weak ETag"),
    "ignore-range": Effect(GETS, _ignore_range, "200 with the whole object to a request with Range"),
    "replaced": Effect(
        GETS,
        _replaced,
        "206 of another version of the object, with that version's ETag: it was replaced between two ranges",
    ),
}
