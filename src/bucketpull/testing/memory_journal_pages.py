"""What a journal in memory knows of listed pages and of the ledger blocks that hold their objects, of volumes and of stale copies."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from bucketpull.domain.batching import decode_batch, decode_parts, encode_parts, ids_of, spans_of
from bucketpull.domain.messages import BatchReceipt
from bucketpull.domain.model import Extent, Former, Id, PageRecord, Part, Position, Span
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.journal.second_copies import MOST_PAGES, stored_parts


class _Page(msgspec.Struct):
    """A listed page, and which of its names each ledger block may hold, in the order of booking.

    `earlier` are the blocks of an earlier run, until the run that lists it anew has ended.
    """

    record: PageRecord
    run: int
    blocks: dict[Extent, tuple[bytes, bytes]] = {}
    earlier: dict[Extent, tuple[bytes, bytes]] = {}


class Catalogue:
    """The pages of one job, the volumes that machines have told of, and what lies where."""

    def __init__(self) -> None:
        self._pages: dict[tuple[bytes, str], _Page] = {}
        self._volumes: dict[str, tuple[str, str, VolumeState]] = {}
        self._former: dict[int, Former] = {}
        self._settled: dict[tuple[str, Id], str] = {}
        self._ids = 0
        self._last_blocks: dict[str, int] = {}

    # --- pages

    def forget_earlier(self) -> None:
        """Forget the blocks of the run before the last one: a new one begins."""
        for page in self._pages.values():
            page.earlier = {}

    def note_page(self, page: PageRecord, run: int) -> None:
        """Note a page as it was listed in this run."""
        key = page.directory, page.cursor
        known = self._pages.get(key)
        blocks = {} if known is None else known.blocks
        is_kept = page.unchanged or known is None or known.run == run
        self._pages[key] = _Page(page, run, *((blocks, {}) if is_kept else ({}, blocks)))

    def doubt(self, pages: Iterable[tuple[bytes, str]]) -> None:
        """Have pages compared when they are listed again, though they be unchanged."""
        for key in pages:
            if key in self._pages:
                page = self._pages[key]
                page.record = msgspec.structs.replace(page.record, digest=b"")

    def with_digest(self, position: Position, run: int) -> Position:
        """Return a position with the digest that its page had in an earlier run, if it was listed then."""
        known = self._pages.get((position.directory, position.cursor))
        if known is None or known.run == run:
            return position
        return msgspec.structs.replace(position, digest=known.record.digest)

    # --- what lies where

    def note_blocks(self, receipt: BatchReceipt, body: bytes) -> None:
        """Note that a receipt's ledger blocks hold objects of its work, whose body this is."""
        for extent in receipt.extents:
            self._volumes.setdefault(extent.volume, (receipt.machine, "", VolumeState.OPEN))
            newest = self._last_blocks.get(extent.volume, 0)
            self._last_blocks[extent.volume] = max(newest, extent.offset)
        for span in decode_batch(body).spans:
            page = self._pages[span.directory, span.cursor]
            for extent in receipt.extents:
                first, last = page.blocks.get(extent, (span.first, span.last))
                page.blocks[extent] = min(first, span.first), max(last, span.last)

    def near(self, spans: Iterable[Span]) -> Iterator[Extent]:
        """Give the blocks that may hold objects of some spans, oldest first."""
        for span in spans:
            for page in self._pages.values():
                if page.record.directory == span.directory:
                    for extent, (first, last) in (*page.earlier.items(), *page.blocks.items()):
                        if first <= span.last and last >= span.first and self.is_there(extent.volume):
                            yield extent

    def holding(self, spans: Sequence[Span]) -> set[Extent] | None:
        """Return all blocks that may hold objects of these pieces of pages."""
        pages = (self._pages.get((span.directory, span.cursor)) for span in spans)
        if any(page is None or page.run == 0 for page in pages):
            return None
        return set(self.near(spans))

    def keep(self, block: Extent, spans: Sequence[Span]) -> None:
        """Note that a block of a known volume holds objects of pieces of pages that are not known."""
        for span in spans if block.volume in self._volumes else ():
            key, ends = (span.directory, span.cursor), (span.first, span.last)
            page = PageRecord(*key, *ends, b"", 0, 0, unchanged=False)
            self._pages.setdefault(key, _Page(page, 0)).blocks[block] = ends
            self.doubt(
                each
                for each, other in self._pages.items()
                if each[0] == span.directory
                and other.record.first <= span.last
                and other.record.last >= span.first
            )

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """Return the blocks in which an object may lie, newest first."""
        found = list(self.near([Span(directory, "", name, name)]))
        return list(dict.fromkeys(reversed(found)))

    # --- volumes

    def see_volumes(self, volumes: Sequence[VolumeStatus]) -> None:
        """Note where volumes are and how."""
        self._volumes.update((each.id, (each.machine, each.path, each.state)) for each in volumes)

    def doubt_restored(self, volumes: Sequence[VolumeStatus]) -> list[str]:
        """Return the volumes whose ledgers end before blocks that were noted, and forget those blocks.

        A page of theirs that was listed in this run is not listed again, as it is on disk.
        """
        found = [each for each in volumes if each.ledger_end <= self._last_blocks.get(each.id, -1)]
        for volume in found:
            self._last_blocks[volume.id] = volume.ledger_end - 1
            self.doubt(
                key for key, page in self._pages.items() if _forget(page, volume.id, volume.ledger_end)
            )
            self._former = {
                id_: copy for id_, copy in self._former.items() if volume.id not in {copy.volume, copy.by}
            }
        return [volume.id for volume in found]

    def counted_on(self) -> dict[str, str]:
        """Return the volumes, those given up left out, by path."""
        return {id_: path for id_, (_, path, _) in self._volumes.items() if self.is_there(id_)}

    def machines(self) -> set[str]:
        """Return the machines that have volumes."""
        return {self.machine_of(volume) for volume in self._volumes} - {""}

    def is_there(self, volume: str) -> bool:
        """Tell whether a volume counts: it was not given up."""
        return self._volumes[volume][2] is not VolumeState.LOST

    def machine_of(self, volume: str) -> str:
        """Return the machine that has a volume, "" where that is not known or the volume was given up."""
        return self._volumes[volume][0] if self.is_there(volume) else ""

    def volumes_of(self, machines: set[str]) -> list[str]:
        """Return the volumes of some machines."""
        return [volume for volume, (owner, *_) in self._volumes.items() if owner in machines]

    def owners(self) -> set[str]:
        """Return the machines that have told of volumes, "" included where none has told."""
        return {owner for owner, *_ in self._volumes.values()}

    # --- stale copies

    def note_former(self, receipt: BatchReceipt) -> None:
        """Note the copies that a receipt's objects have replaced."""
        for each in receipt.former:
            if each.is_double and self.former([each.by], 1):
                self._compare_again(each)
                continue
            self._volumes.setdefault(each.by, (receipt.machine, "", VolumeState.OPEN))
            if each.volume in self._volumes and self.is_there(each.volume) and self.is_there(each.by):
                self._ids += 1
                self._former[self._ids] = msgspec.structs.replace(each, id=self._ids)

    def settle_second_copies(
        self, receipt: BatchReceipt, body: bytes, compared: Collection[Extent], run: int
    ) -> None:
        """Note the second copies of what a receipt has stored: what another page's batch stored on another volume, without knowing."""
        names = {each.volume for each in receipt.extents}
        if receipt.skipped or len(names) != 1 or not all(map(self.is_there, names)):
            return
        for part in stored_parts(receipt, body):
            pages = [
                page
                for (directory, cursor), page in self._pages.items()
                if directory == part.directory
                and cursor != part.cursor
                and page.run == run
                and page.record.first <= max(part.names)
                and page.record.last >= min(part.names)
            ]
            if len(pages) <= MOST_PAGES:
                self._settle_page(receipt, part, pages, compared)

    def _settle_page(
        self, receipt: BatchReceipt, part: Part, pages: Sequence[_Page], compared: Collection[Extent]
    ) -> None:
        places: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
        for place, name in enumerate(part.names):
            over = [page for page in pages if _has(page, name)]
            for copy in self._settle_one(receipt, part.take([place]), over, compared):
                places.setdefault(copy, []).append(place)
        for (volume, offsets, owner), found in places.items():
            self._ids += 1
            body = encode_parts([part.take(found)])
            self._former[self._ids] = Former(volume, list(offsets), owner, body, self._ids)
            self._settled.update(((volume, part.id_at(place)), owner) for place in found)

    def _settle_one(
        self, receipt: BatchReceipt, part: Part, over: Sequence[_Page], compared: Collection[Extent]
    ) -> Iterator[tuple[str, tuple[int, ...], str]]:
        """Give the copies of one object that are to go, which these other pages may list too: volume, offsets, and by which volume they are replaced."""
        [name], volume = part.names, receipt.extents[0].volume
        blocks = {
            extent
            for page in over
            for extent, (first, last) in page.blocks.items()
            if extent.volume != volume
            and extent not in compared
            and self.is_there(extent.volume)
            and first <= name <= last
        }
        if self._is_going(volume, part):
            owner = self._settled.get((volume, part.id_at(0)), "")
            others = {each for each in blocks if each.volume == owner}
            if others and not self._is_going(owner, part):
                yield volume, _offsets(receipt.extents, volume), owner
                self._recall(self._pages[part.directory, part.cursor], others, name)
        elif blocks and len(over) == 1:
            for other in sorted({each.volume for each in blocks}):
                yield other, _offsets(blocks, other), volume
            self._recall(over[0], receipt.extents, name)

    def _is_going(self, volume: str, part: Part) -> bool:
        return any(
            part.id_at(0) in ids_of(decode_parts(each.parts))
            for each in self._former.values()
            if each.volume == volume
        )

    def _recall(self, page: _Page, blocks: Iterable[Extent], name: bytes) -> None:
        for each in blocks:
            first, last = page.blocks.get(each, (name, name))
            page.blocks[each] = min(first, name), max(last, name)
        page.record = msgspec.structs.replace(page.record, digest=b"")

    def _compare_again(self, double: Former) -> None:
        for span in spans_of(decode_parts(double.parts)):
            page = self._pages[span.directory, span.cursor]
            older = {Extent(double.volume, offset): (span.first, span.last) for offset in double.offsets}
            page.blocks = older | page.blocks
            self.doubt([(span.directory, span.cursor)])

    def former(self, volumes: Sequence[str], limit: int) -> list[Former]:
        """Return some copies that count no more."""
        return [
            copy
            for volume in volumes
            for copy in [each for each in self._former.values() if each.volume == volume][:limit]
        ]

    def noted_former(self) -> int:
        """Return how many copies were noted."""
        return self._ids

    def forget_former(self, ids: Sequence[int]) -> None:
        """Forget copies that were removed."""
        for each in ids:
            self._former.pop(each, None)


def _forget(page: _Page, volume: str, end: int) -> bool:
    """Forget the blocks of a page that lay behind the end of a volume's ledger; return whether there were any."""
    lost = [each for each in {*page.earlier, *page.blocks} if each.volume == volume and each.offset >= end]
    for each in lost:
        page.earlier.pop(each, None)
        page.blocks.pop(each, None)
    return bool(lost)


def _offsets(blocks: Iterable[Extent], volume: str) -> tuple[int, ...]:
    return tuple(sorted(each.offset for each in blocks if each.volume == volume))


def _has(page: _Page, name: bytes) -> bool:
    return page.record.first <= name <= page.record.last
