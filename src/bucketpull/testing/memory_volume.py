"""A volume without a disk (`ports.Volume`): files, ledger and notes in memory; it can be full, sick, killed and cut from power."""

from collections.abc import Iterable, Sequence

import msgspec

from bucketpull.domain.batching import Batch, decode_parts, ids_of, spans_of
from bucketpull.domain.errors import LedgerError, VolumeError, VolumeFull, VolumeSick
from bucketpull.domain.messages import Begun
from bucketpull.domain.model import Extent, Former, Id, Part
from bucketpull.domain.placement import BLOCK_BYTES
from bucketpull.domain.record import Block, Claim, Conclusion, Inspection, Record
from bucketpull.domain.status import VolumeState, VolumeStatus

Version = tuple[int, int]

_records = msgspec.msgpack.Decoder(list[Record]).decode


class MemoryVolume:
    """One disk. `files` maps directory and name to size (bytes) and mtime (Unix seconds).

    `foreign` are files of others, by MD5; what is kept of them is in `kept`. `trouble` is raised by every call while it is set. `boots` counts power cuts, and is what a note says of its boot.
    """

    def __init__(self, id: str, free_bytes: int = 1 << 40) -> None:  # noqa: A002 - the field's name everywhere
        self.id = id
        self.path = f"/{id}"
        self.files: dict[Id, Version] = {}
        self.foreign: dict[Id, tuple[int, bytes]] = {}
        self.kept: set[Id] = set()
        self.blocks: list[Block | None] = []
        self.trouble: VolumeError | None = None
        self.free_bytes = free_bytes
        self.boots = 0
        self._notes: dict[tuple[str, int], tuple[int, set[Id], bytes]] = {}

    def write(self, directory: bytes, name: bytes, size: int, mtime: int) -> None:
        """Do what a writer does: give a whole file its final name."""
        self.files[directory, name] = (size, mtime)

    def cut_power(self) -> None:
        """Lose the files that no block of the ledger describes."""
        described = set(self._described(0))
        self.files = {key: version for key, version in self.files.items() if key in described}
        self.boots += 1

    def status(self) -> VolumeStatus:
        """See `ports.Volume`."""
        self._check()
        stored = len(set(self._described(0)))
        size = sum(size for size, _ in self.files.values())
        free = max(0, self.free_bytes - size - len(self.files) * BLOCK_BYTES)
        return VolumeStatus(
            self.id, "", self.path, VolumeState.OPEN, free, 1 << 40, 0, 0, 0, 0, stored, size, 0.0,
            ledger_end=len(self.blocks),
        )  # fmt: skip

    def probe(self) -> None:
        """See `ports.Volume`."""
        self._check()

    def intend(self, journal: str, work: int, body: bytes = b"") -> None:
        """See `ports.Volume`."""
        self._check()
        self._notes.setdefault((journal, work), (self.boots, set(self.files), body))

    def pending(self, journal: str) -> list[tuple[int, list[int]]]:
        """See `ports.Volume`."""
        return [(work, self._offsets(name, work)) for name, work in self._notes if name == journal]

    def recover(self, journal: str, work: int, parts: Sequence[Part]) -> list[Record]:
        """See `ports.Volume`."""
        self._check()
        boot, before, _ = self._notes.get((journal, work), (-1, set(), b""))
        if boot != self.boots:
            return []
        return [record for part in parts if (record := self._whole(part, before)).names]

    def inspect(self, parts: Sequence[Part], adopts: str) -> Inspection:
        """See `ports.Volume`; by date every file of the right length is the object, by MD5 the source decides."""
        self._check()
        seen = Inspection([], [])
        for part in parts:
            right = [
                index
                for index, name in enumerate(part.names)
                if self.foreign.get((part.directory, name), (-1, b""))[0] == part.sizes[index]
            ]
            if adopts == "date" and right:
                seen.records.append(Record.of(part).take(right))
            elif adopts == "md5":
                seen.claims.extend(
                    Claim(part.directory, name, self.foreign[part.directory, name][1])
                    for name in (part.names[index] for index in right)
                )
        return seen

    def clear(self, batch: Batch, older: Sequence[int] = ()) -> None:
        """See `ports.Volume`; nobody changes what is stored here."""
        del older
        self._check()
        keys = ids_of(batch.parts) if self.foreign else set()
        self.kept |= self.foreign.keys() & keys
        for key in keys:
            self.foreign.pop(key, None)

    def settle(self, blocks: Sequence[Block], is_new: bool = False) -> list[Extent]:
        """See `ports.Volume`."""
        self._check()
        if is_new:
            self._check_new(blocks)
        self.blocks += blocks
        return [Extent(self.id, len(self.blocks) - len(blocks) + index) for index in range(len(blocks))]

    def forget(self, journal: str, works: Iterable[int]) -> None:
        """See `ports.Volume`."""
        self._check()
        for work in works:
            self._notes.pop((journal, work), None)

    def conclude(self, journal: str, conclusions: Sequence[Conclusion]) -> None:
        """See `ports.Volume`."""
        self._check()
        spared = {key for each in conclusions for offset in each.kept for key in self._keys(offset)}
        gone = {at for each in conclusions for at in set(each.gone) & set(self._offsets(journal, each.work))}
        for offset in sorted(gone, reverse=True):
            for key in set(self._keys(offset)) - set(self._described(offset + 1)) - spared:
                self._delete(key)
            self.blocks[offset] = None
        for each in conclusions:
            if (journal, each.work) in self._notes:
                self._remove_unsettled(journal, each.work)
                self.forget(journal, [each.work])

    def _remove_unsettled(self, journal: str, work: int) -> None:
        _, before, body = self._notes[journal, work]
        described = set(self._described(0))
        for part in decode_parts(body) if body else []:
            for name in part.names:
                if (part.directory, name) not in before | described:
                    self._delete((part.directory, name))

    def remove(self, journal: str, copies: Sequence[Former]) -> None:
        """See `ports.Volume`."""
        del journal
        self._check()
        for copy in copies:
            wanted = ids_of(decode_parts(copy.parts))
            later = set(self._described(max(copy.offsets, default=-1) + 1))
            gone = wanted - (later - self._as_described(copy.offsets))
            for offset in copy.offsets:
                self._thin(offset, wanted)
            for offset in range(len(self.blocks)):
                self._thin(offset, gone)
            for key in gone:
                self._delete(key)

    def read(self, offset: int) -> list[Record]:
        """See `ports.Volume`."""
        self._check()
        block = self.blocks[offset] if 0 <= offset < len(self.blocks) else None
        if block is None:
            raise LedgerError(self.path, f"no whole entry at {offset}")
        return [record for record in _records(block.records) if record.names]

    def close(self) -> None:
        """See `ports.Volume`."""

    def reopen(self) -> tuple[VolumeStatus, dict[int, list[Begun]]]:
        """Be opened anew, as the agent is told: what was begun and not settled is removed."""
        for journal, work in list(self._notes):
            if not self._offsets(journal, work):
                self.conclude(journal, [Conclusion(work)])
        return self.status(), self.known()

    def known(self) -> dict[int, list[Begun]]:
        """Return the batches that are noted, with an object of each of their blocks."""
        return {
            work: [Begun(work, self.id, at, spans_of(self.read(at))) for at in self._offsets(journal, work)]
            for journal, work in self._notes
        }

    def wait(self) -> None:
        """Answer after a moment."""

    def fill(self) -> None:
        """Refuse bytes from now on."""
        self.trouble = VolumeFull(self.path, "no bytes left")

    def sicken(self) -> None:
        """Fail from now on."""
        self.trouble = VolumeSick(self.path, "input/output error")

    def _check(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _offsets(self, journal: str, work: int) -> list[int]:
        return [
            offset
            for offset, block in enumerate(self.blocks)
            if block is not None and (block.journal, block.work) == (journal, work)
        ]

    def _thin(self, offset: int, gone: set[Id]) -> None:
        """Take objects out of a block; one of which nothing was left is known as none that counts."""
        block = self.blocks[offset]
        if block is None:
            return
        records = _records(block.records)
        left = [record.take(record.matching(set(record.ids()) - gone)) for record in records]
        self.blocks[offset] = msgspec.structs.replace(block, records=msgspec.msgpack.encode(left))

    def _as_described(self, offsets: Iterable[int]) -> set[Id]:
        """Return the objects of blocks whose files are the versions that a block has."""
        records = [record for at in offsets for record in self._records_at(at)]
        return {
            each
            for record in records
            for each, *version in zip(record.ids(), record.sizes, record.mtimes, strict=True)
            if self.files.get(each) == tuple(version)
        }

    def _check_new(self, blocks: Iterable[Block]) -> None:
        keys = [key for block in blocks for record in _records(block.records) for key in record.ids()]
        earlier = {at for block in blocks for at in block.former}
        earlier.update(at for journal, work in self._notes for at in self._offsets(journal, work))
        compared = {key for at in earlier for key in self._keys(at)}
        assert len(keys) == len(set(keys) - compared), "settled as new, and is not"

    def _keys(self, offset: int) -> list[Id]:
        return [key for record in self._records_at(offset) for key in record.ids()]

    def _records_at(self, offset: int) -> list[Record]:
        block = self.blocks[offset]
        return [] if block is None else _records(block.records)

    def _delete(self, key: Id) -> None:
        """Remove a file; one that is written under its name later is newer than every note."""
        self.files.pop(key, None)
        for _, before, _ in self._notes.values():
            before.discard(key)

    def _described(self, start: int) -> list[Id]:
        return [key for offset in range(start, len(self.blocks)) for key in self._keys(offset)]

    def _whole(self, part: Part, before: set[Id]) -> Record:
        versions = zip(part.sizes, part.mtimes, strict=True)
        found = [
            index
            for index, (name, version) in enumerate(zip(part.names, versions, strict=True))
            if self.files.get((part.directory, name)) == version and (part.directory, name) not in before
        ]
        return Record.of(part).take(found)
