"""Whether a good answer's bytes are the object's: by the MD5 that is stated, and by the size that is listed."""

from hashlib import md5

from bucketpull.domain.errors import Reason
from bucketpull.domain.exchange import Response, Verdict
from bucketpull.downloader.transfer import Transfer


def is_sound(transfer: Transfer, response: Response, verdict: Verdict) -> bool:
    """Compare the MD5 with the stated one, and the size with the listed one; the verdict then says what is wrong."""
    queue = transfer.queue
    if queue.hashes or (verdict.md5 and queue.compares):
        digest = md5(usedforsecurity=False)
        for chunk in response.chunks:
            digest.update(chunk)
        found = digest.digest()
        if verdict.md5 and found.hex() != verdict.md5:
            verdict.reason = Reason.CHECKSUM
            verdict.detail = f"md5 {found.hex()} came, {verdict.md5} is stated"
            return False
        queue.states_md5 = bool(verdict.md5)
        transfer.leaf.note_md5(transfer.index, found)
    return response.received == transfer.size or is_believed(transfer, response, verdict)


def is_believed(transfer: Transfer, response: Response, verdict: Verdict) -> bool:
    """Believe the origin another size than the listed one if its MD5 vouches for it or it says that it changed.

    Where the listed size is not known (-1), what came whole is believed.
    """
    if transfer.size < 0 or not transfer.endpoint.is_origin or (verdict.md5 and transfer.queue.compares):
        return True
    if changed_since(response, transfer.mtime):
        return True
    verdict.reason = Reason.SIZE
    verdict.detail = f"{verdict.size} bytes came from the origin, {transfer.size} are listed"
    return False


def changed_since(response: Response, mtime: int) -> bool:
    """Say whether the origin itself states that an object changed after it was listed (`mtime`, Unix seconds)."""
    from email.utils import parsedate_to_datetime  # 2 ms of a start that seldom needs it

    if mtime < 0:
        return False
    stated = response.headers().get("last-modified", "")
    try:
        return int(parsedate_to_datetime(stated).timestamp()) != mtime
    except (ValueError, OverflowError):
        return False
