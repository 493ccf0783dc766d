"""What is done with answers: objects go to their volume's writer and are counted when written; what follows from the others is in `remedies`.

This is the hot path: for each object `answered` and `_written` run once.
"""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, Final

import msgspec

from bucketpull.domain.errors import Reason
from bucketpull.domain.evidence import Body, weigh
from bucketpull.domain.http_exchange import Response, Verdict
from bucketpull.domain.record import Written
from bucketpull.downloader.large_object import LargeObject
from bucketpull.downloader.meter import Memory, Meter
from bucketpull.downloader.remedies import Remedies
from bucketpull.downloader.transfer import Transfer
from bucketpull.downloader.volume_queue import VolumeQueue, VolumeQueues

if TYPE_CHECKING:
    from bucketpull.ports import Clock, Fetcher, Source

_NOT_MODIFIED: Final = 304
# How long a writer may hold objects back, to write several at once.
FLUSH_SECONDS: Final = 0.1


class Answers:
    """Takes the answers that the transfers of a process get, and what its writers made of them."""

    def __init__(
        self,
        source: Source,
        fetcher: Fetcher,
        clock: Clock,
        meter: Meter,
        volumes: VolumeQueues,
        remedies: Remedies,
        memory: Memory,
    ) -> None:
        self._source = source
        self._fetcher = fetcher
        self._clock = clock
        self._meter = meter
        self._volumes = volumes
        self._remedies = remedies
        self._memory = memory
        self._now = clock.monotonic()
        self._unix = clock.now()
        self._is_stale = True

    def begin_turn(self, now: float, unix: float) -> None:
        """Note the time: the clock is read once for all answers of a turn, and only if there are any."""
        self._now, self._unix, self._is_stale = now, unix, True

    def answered(self, transfer: Transfer, response: Response) -> None:
        """Hand the object's bytes to its writer, or decide what its failure calls for."""
        if transfer.claim and response.status == _NOT_MODIFIED:
            self._unchanged(transfer, response)
            return
        verdict = self._source.judge(transfer, transfer.endpoint.name, response, self._unix)
        is_it = _is_object(transfer, response, verdict)
        self._finished(transfer, response, verdict)
        if is_it:
            self._store(transfer, response, verdict)
            return
        self._release(transfer)
        self._meter.waste(verdict.reason, response.received)
        is_last = transfer.size < 0 or transfer.at + 1 == len(transfer.routes)
        if response.failure is Reason.SIZE and verdict.reason is Reason.SIZE and is_last:
            transfer.is_large = True  # more came than memory should hold
            self._remedies.line_up(transfer)
        else:
            self._remedies.refused(transfer, response, verdict)

    def begun(self, transfer: Transfer, head: Response) -> None:
        """Give a large object the version that its answer states; an answer that cannot be used is ended here."""
        large = transfer.large
        assert large is not None
        verdict = self._source.judge(
            transfer, transfer.endpoint.name, head, self._unix, large.began, large.version
        )
        headers = head.headers()
        if "content-length" not in headers:
            large.states_no_length(transfer.size)
        large.begun(verdict, headers.get("last-modified", ""))

    def streamed(self, transfer: Transfer, response: Response) -> None:
        """Publish a large object that is whole, or decide how it goes on."""
        large = transfer.large
        assert large is not None
        if transfer.claim and response.status == _NOT_MODIFIED:
            self._unchanged(transfer, response)
            return
        verdict = self._source.judge(
            transfer, transfer.endpoint.name, response, self._unix, large.began, large.version
        )
        if large.mismatch:
            verdict.reason, verdict.detail = Reason.RANGE, large.mismatch
        if large.is_paused:
            large.pause(False)
        is_whole = large.trouble is None and _is_publishable(transfer, large, verdict)
        self._finished(transfer, response, verdict)
        self._release(transfer)
        if large.trouble is not None and large.trouble.reason is not None:
            self._remedies.unwritten(transfer, large.trouble.reason, large.trouble.detail)
        elif (
            is_whole and transfer.claim and not self._make_way(transfer, verdict.md5 == transfer.claim.hex())
        ):
            return
        elif is_whole:
            transfer.stored = large.length
            transfer.queue.states_md5 |= bool(verdict.md5)
            large.publish(transfer.accepts, transfer, verdict.mtime)
        else:
            self._remedies.broke_off(transfer, large, response, verdict)

    def collect(self, queue: VolumeQueue) -> None:
        """Take the outcomes of a volume's writer."""
        assert queue.writer is not None
        for written in queue.writer.outcomes():
            transfer = written.token
            assert isinstance(transfer, Transfer)
            self._written(transfer, written)

    def _finished(self, transfer: Transfer, response: Response, verdict: Verdict) -> None:
        if self._is_stale:
            self._now, self._is_stale = self._clock.monotonic(), False
        endpoint, is_retry = transfer.endpoint, transfer.tries > 1
        endpoint.finished(transfer.target, self._now, verdict, response.seconds, response.received, is_retry)
        if verdict.reason is None and endpoint.is_attentive:
            # Whether what is streamed is believed is known only once it is written.
            endpoint.good(transfer, transfer.large is None)

    def _store(self, transfer: Transfer, response: Response, verdict: Verdict) -> None:
        queue, size = transfer.queue, response.received
        if queue.trouble is not None or queue.writer is None:
            self._meter.waste(queue.trouble, size)
            self._release(transfer)
            self._remedies.displace(transfer)
            return
        # Not every ETag is an MD5, and not every server honours conditions: the body may be that of the file in its place.
        if transfer.claim and not self._make_way(transfer, response.md5() == transfer.claim):
            return
        if size != transfer.size >= 0 and not transfer.endpoint.is_origin:
            self._memory.note_size(size, transfer.size)
        self._memory.held += size - transfer.held
        transfer.held = transfer.stored = size
        mtime = transfer.mtime if transfer.mtime >= 0 else verdict.mtime
        written = queue.writer.put(transfer.directory, transfer.name, mtime, response.chunks, transfer)
        if written is not None:
            self._written(transfer, written)
        elif not queue.is_flush_due:
            queue.is_flush_due = True
            self._fetcher.call_later(FLUSH_SECONDS, lambda: self._flush(queue))

    def _flush(self, queue: VolumeQueue) -> None:
        queue.is_flush_due = False
        if queue.writer is not None:
            queue.writer.flush()

    def _written(self, transfer: Transfer, written: Written) -> None:
        self._memory.held -= transfer.held
        if transfer.large is not None:
            _note_found(transfer, written)
            transfer.large.forget_partial()
            transfer.held, transfer.large = 0, None  # it was published, or thrown away
            if written.reason is None:
                transfer.endpoint.note_probe(transfer)
        if written.reason is not None:
            transfer.held = 0
            self._meter.waste(written.reason, transfer.stored)
            self._remedies.unwritten(transfer, written.reason, written.detail)
            return
        size, batch, meter = transfer.stored, transfer.batch, self._meter
        transfer.queue.written += size
        meter.objects += 1
        meter.bytes += size
        batch.store(transfer.progress, transfer.index, size, written.path)
        if transfer.unsure is not None:
            batch.doubt(transfer.progress, transfer.index, transfer.unsure)
        if written.pack:
            transfer.progress.note_pack(transfer.index, written.pack, written.offset)
        if not batch.left:
            self._volumes.report(batch)

    def _release(self, transfer: Transfer) -> None:
        self._memory.held -= transfer.held
        transfer.held = 0

    # --- files of others in an object's place

    def _unchanged(self, transfer: Transfer, response: Response) -> None:
        """Take over a file that the source says is the object. No body came, so the answer is judged as if it had the whole body."""
        whole = msgspec.structs.replace(response, status=200, received=transfer.size)
        verdict = self._source.judge(transfer, transfer.endpoint.name, whole, self._unix)
        self._finished(transfer, response, verdict)
        self._release(transfer)
        if verdict.reason is None:
            self._take_over(transfer)
        else:
            self._remedies.refused(transfer, response, verdict)

    def _make_way(self, transfer: Transfer, is_same: bool) -> bool:
        """Take over the file in the object's place if the object is the same; else rename it, and tell whether that was possible."""
        if is_same:
            self._release(transfer)
            self._take_over(transfer)
            return False
        writer = transfer.queue.writer
        if writer is not None and writer.set_aside(transfer.directory, transfer.name):
            transfer.claim = b""
            return True
        self._release(transfer)
        self._remedies.fail(
            transfer, Reason.UNSTORABLE, "a file of others lies in its place and cannot be renamed"
        )
        return False

    def _take_over(self, transfer: Transfer) -> None:
        self._remedies.close_stream(transfer, keep=False)
        self._meter.objects += 1
        transfer.batch.claim(transfer.progress, transfer.index, transfer.size, transfer.claim)
        self._volumes.report(transfer.batch)


# --- whether an answer is the object: in memory at once, on disk when the writer has hashed it; `domain.evidence` weighs it


def _is_object(transfer: Transfer, response: Response, verdict: Verdict) -> bool:
    """Tell whether a body in memory is the object; else the verdict says why not."""
    queue, found = transfer.queue, b""
    if verdict.reason is None:
        is_right_size = response.received == transfer.size or verdict.other_size
        if queue.hashes or (verdict.md5 and queue.compares):
            chunks = response.chunks
            found = md5(chunks[0], usedforsecurity=False).digest() if len(chunks) == 1 else response.md5()
            if is_right_size and (not verdict.md5 or found.hex() == verdict.md5):
                queue.states_md5 = bool(verdict.md5)
                transfer.progress.note_md5(transfer.index, found)
                return True
        elif is_right_size:
            return True
    elif not verdict.doubtful:
        return False
    return _is_believed(transfer, verdict, found or response.md5(), response.received)


def _is_believed(transfer: Transfer, verdict: Verdict, found: bytes, size: int) -> bool:
    body, stated = _body(transfer, size, found), _stated(transfer, verdict)
    is_object, doubt = weigh(body, verdict.reason, stated, verdict.other_size, transfer.earlier)
    if not is_object:
        _keep_doubted(transfer, body)
        verdict.detail = _words(doubt, verdict, found, size, transfer.size)
        verdict.reason = doubt
        return False
    verdict.reason = None
    transfer.unsure = doubt
    transfer.progress.note_md5(transfer.index, found)
    return True


def _keep_doubted(transfer: Transfer, body: Body) -> None:
    """Keep a whole answer to compare the next one with; failures before the first answer of an origin do not count."""
    earlier = transfer.earlier
    if earlier is None or earlier.from_origin is not body.from_origin:
        transfer.tries = 1
    transfer.earlier = body


def _is_publishable(transfer: Transfer, large: LargeObject, verdict: Verdict) -> bool:
    """Tell whether what is on disk may be the object, and note which contents it must have; else the verdict says why not."""
    if verdict.reason is not None and not verdict.doubtful:
        return False
    if large.blind and not verdict.md5:
        verdict.reason, verdict.detail = Reason.RANGE, "a part of unknown soundness, and no MD5 to prove it"
        return False
    stated = bytes.fromhex(verdict.md5) if large.blind else _stated(transfer, verdict)
    body, earlier = _body(transfer, large.length), transfer.earlier
    is_object, doubt = weigh(body, verdict.reason, stated, verdict.other_size, earlier)
    transfer.doubt = doubt
    if is_object:
        transfer.accepts, transfer.unsure, verdict.reason = None, doubt, None
        return True
    transfer.accepts = {}
    for found in {stated, earlier.md5 if earlier else b""} - {b""}:
        body = msgspec.structs.replace(body, md5=found)
        is_object, about = weigh(body, verdict.reason, stated, verdict.other_size, earlier)
        if is_object:
            transfer.accepts[found] = about
    if transfer.accepts or doubt in {Reason.CHECKSUM, Reason.SIZE}:
        verdict.reason = None
        return True  # if none is accepted, at least its MD5 gets known: a second answer may be like it
    verdict.detail = _words(doubt, verdict, b"", large.length, transfer.size)
    verdict.reason = doubt
    return False


def _note_found(transfer: Transfer, written: Written) -> None:
    """Note the MD5 of what a writer published or refused."""
    if written.reason is None:
        if transfer.accepts:
            transfer.unsure = transfer.accepts[written.md5]
        if written.md5:
            transfer.progress.note_md5(transfer.index, written.md5)
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
