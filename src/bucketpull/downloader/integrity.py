"""Compares whole answers with what is known of their objects: in memory at once, on disk when the writer has hashed them.

What an answer is worth is decided in `domain.evidence`.
"""

from hashlib import md5
from typing import Final

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.evidence import Body, Weight, weigh
from bucketpull.domain.exchange import Request, Response, Verdict
from bucketpull.domain.record import Written
from bucketpull.downloader.large_object import LargeObject
from bucketpull.downloader.transfer import Transfer

NOT_MODIFIED: Final = 304


def is_object(transfer: Transfer, response: Response, verdict: Verdict) -> bool:
    """Tell whether a body in memory is the object; else the verdict says why not."""
    queue, found = transfer.queue, b""
    if verdict.reason is None:
        is_right_size = response.received == transfer.size or verdict.other_size
        if queue.hashes or (verdict.md5 and queue.compares):
            chunks = response.chunks
            found = md5(chunks[0], usedforsecurity=False).digest() if len(chunks) == 1 else _md5_of(response)
            if is_right_size and (not verdict.md5 or found.hex() == verdict.md5):
                queue.states_md5 = bool(verdict.md5)
                transfer.leaf.note_md5(transfer.index, found)
                return True
        elif is_right_size:
            return True
    elif not verdict.doubtful:
        return False
    return _is_believed(transfer, verdict, found or _md5_of(response), response.received)


def _md5_of(response: Response) -> bytes:
    digest = md5(usedforsecurity=False)
    for chunk in response.chunks:
        digest.update(chunk)
    return digest.digest()


def _is_believed(transfer: Transfer, verdict: Verdict, found: bytes, size: int) -> bool:
    body, stated = _body(transfer, size, found), _stated(transfer, verdict)
    weight, doubt = weigh(body, verdict.reason, stated, verdict.other_size, transfer.earlier)
    if weight is Weight.DOUBTED:
        _keep_doubted(transfer, body)
        verdict.detail = _words(doubt, verdict, found, size, transfer.size)
        verdict.reason = doubt
        return False
    verdict.reason = None
    transfer.unsure = doubt
    transfer.leaf.note_md5(transfer.index, found)
    return True


def _keep_doubted(transfer: Transfer, body: Body) -> None:
    """Keep a whole answer to compare the next one with; failures before the first answer of an origin do not count."""
    earlier = transfer.earlier
    if earlier is None or earlier.from_origin is not body.from_origin:
        transfer.tries = 1
    transfer.earlier = body


def is_publishable(transfer: Transfer, large: LargeObject, verdict: Verdict) -> bool:
    """Tell whether what is on disk may be the object, and note which contents it must have; else the verdict says why not."""
    if verdict.reason is not None and not verdict.doubtful:
        return False
    if large.blind and not verdict.md5:
        verdict.reason, verdict.detail = Reason.RANGE, "a part of unknown soundness, and no MD5 to prove it"
        return False
    stated = bytes.fromhex(verdict.md5) if large.blind else _stated(transfer, verdict)
    body, earlier = _body(transfer, large.length), transfer.earlier
    weight, doubt = weigh(body, verdict.reason, stated, verdict.other_size, earlier)
    transfer.doubt = doubt
    if weight is not Weight.DOUBTED:
        transfer.accepts, transfer.unsure, verdict.reason = None, doubt, None
        return True
    transfer.accepts = {}
    for found in {stated, earlier.md5 if earlier else b""} - {b""}:
        weight, about = weigh(body._replace(md5=found), verdict.reason, stated, verdict.other_size, earlier)
        if weight is not Weight.DOUBTED:
            transfer.accepts[found] = about
    if transfer.accepts or doubt in {Reason.CHECKSUM, Reason.SIZE}:
        verdict.reason = None
        return True  # if none is accepted, at least its MD5 gets known: a second answer may be like it
    verdict.detail = _words(doubt, verdict, b"", large.length, transfer.size)
    verdict.reason = doubt
    return False


def note_found(transfer: Transfer, written: Written) -> None:
    """Note the MD5 of what a writer published or refused."""
    if written.reason is None:
        if transfer.accepts:
            transfer.unsure = transfer.accepts[written.md5]
        if written.md5:
            transfer.leaf.note_md5(transfer.index, written.md5)
    elif written.md5 and transfer.large is not None and not transfer.large.blind:
        _keep_doubted(transfer, _body(transfer, transfer.stored, written.md5))
        if transfer.doubt is Reason.SIZE:
            written.reason = Reason.SIZE
            written.detail = f"{transfer.stored} bytes came, {transfer.size} are listed"


def _body(transfer: Transfer, size: int, found: bytes = b"") -> Body:
    as_listed = transfer.size < 0 or size == transfer.size
    return Body(size, found, as_listed, transfer.endpoint.is_origin)


def _stated(transfer: Transfer, verdict: Verdict) -> bytes:
    """Return the MD5 to compare with: always where something is in doubt."""
    wanted = transfer.queue.compares or verdict.reason is not None
    return bytes.fromhex(verdict.md5) if wanted else b""


def _words(doubt: Reason | None, verdict: Verdict, found: bytes, size: int, listed: int) -> str:
    if verdict.reason is not None:
        return verdict.detail
    if doubt is Reason.CHECKSUM:
        return f"md5 {found.hex()} came, {verdict.md5} is stated"
    return f"{size} bytes came, {listed} are listed"


# --- files of others that lie in an object's place and may be it: they are asked for only if they are not


def unless_claimed(request: Request, transfer: Transfer) -> Request:
    """Ask for an object unless its MD5 is that of the file: ETags are MD5s where the source states any (RFC 9110, 13.1.2)."""
    condition = f'If-None-Match: "{transfer.claim.hex()}"'
    return msgspec.structs.replace(request, headers=(*request.headers, condition))


def has_body(transfer: Transfer, response: Response) -> bool:
    """Tell whether the body equals the file in the object's place: not every ETag is an MD5, and not every server honours conditions."""
    return _md5_of(response) == transfer.claim


def is_stated(transfer: Transfer, verdict: Verdict) -> bool:
    """Tell whether an answer states the MD5 of the file in the object's place."""
    return verdict.md5 == transfer.claim.hex()
