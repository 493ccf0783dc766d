"""Files of others that lie in an object's place and may be it: they are asked for only if they are not."""

from hashlib import md5
from typing import Final

import msgspec

from bucketpull.domain.exchange import Request, Response, Verdict
from bucketpull.downloader.transfer import Transfer

NOT_MODIFIED: Final = 304


def unless_claimed(request: Request, transfer: Transfer) -> Request:
    """Ask for an object unless its MD5 is that of the file: ETags are MD5s where the source states any (RFC 9110, 13.1.2)."""
    condition = f'If-None-Match: "{transfer.claim.hex()}"'
    return msgspec.structs.replace(request, headers=(*request.headers, condition))


def has_body(transfer: Transfer, response: Response) -> bool:
    """Tell whether what came is what lies there: not every ETag is an MD5, and not everybody heeds conditions."""
    digest = md5(usedforsecurity=False)
    for chunk in response.chunks:
        digest.update(chunk)
    return digest.digest() == transfer.claim


def is_stated(transfer: Transfer, verdict: Verdict) -> bool:
    """Tell whether an answer states the MD5 of what lies there."""
    return verdict.md5 == transfer.claim.hex()
