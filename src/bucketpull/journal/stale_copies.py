"""Stale copies: files that do not count any more, to be removed when their volumes are there."""

from collections.abc import Iterable, Iterator

import msgspec

from bucketpull.domain.batching import decode_parts
from bucketpull.domain.decoding import msgpack_decoder
from bucketpull.domain.model import Former, Id, Part
from bucketpull.journal.journal_connection import JournalConnection, checksum, is_sound
from bucketpull.journal.volume_numbers import Volumes

_encode = msgspec.msgpack.Encoder().encode
_offsets = msgpack_decoder(list[int])


class StaleCopies:
    """Rows of former copies. Every method runs in the caller's transaction.

    `noted` counts those that were noted since the journal was opened. `settled` says which volume has an object instead of another, as far
    as that was found out from the receipts of two pages (`second_copies`).
    """

    def __init__(self, connection: JournalConnection, volumes: Volumes) -> None:
        self._connection = connection
        self._volumes = volumes
        self.noted = 0
        self.settled: dict[tuple[str, Id], str] = {}

    def add(self, copies: Iterable[Former], machine: str) -> list[Former]:
        """Note stale copies of a receipt, except those on volumes that were given up, or replaced by copies there; return the doubles that are not noted.

        A double is not noted while the volume of the other copy has stale copies: that copy may be one of them.
        """
        undecided: list[Former] = []
        for copy in copies:
            volume, owner = self._volumes.known_number(copy.volume), self._volumes.number(copy.by, machine)
            if copy.is_double and self.of([copy.by], 1):
                undecided.append(copy)
                continue
            if volume is not None and self._volumes.is_there(volume) and self._volumes.is_there(owner):
                columns = _encode(copy.offsets), copy.parts
                self._connection.run("add-former", (volume, owner, *columns, checksum(*columns)))
                self.noted += 1
        return undecided

    def of(self, volumes: Iterable[str], limit: int) -> list[Former]:
        """Return some of those on volumes, at most so many a volume. One that was damaged in the file stays on its volume: it might be another by now."""
        found: list[Former] = []
        for name in volumes:
            number = self._volumes.known_number(name)
            if number is not None:
                rows = self._connection.run("former-of", (number, limit)).fetchall()
                found += [
                    Former(name, _offsets(offsets), self._volumes.volume(owner).id, parts, id_)
                    for id_, owner, offsets, parts, kept in rows
                    if is_sound(kept, offsets, parts)
                ]
        return found

    def removed(self, ids: Iterable[int]) -> None:
        """Forget copies that were removed."""
        for id_ in ids:
            self._connection.run("remove-former", (id_,))

    def replaced_by(self, volume: int) -> Iterator[tuple[int, list[int], list[Part]]]:
        """Give those on other volumes that the files of one replaced: volume, offsets of blocks, objects."""
        for other, offsets, parts, kept in self._connection.run("replaced-by", (volume,)):
            if is_sound(kept, offsets, parts):
                yield other, _offsets(offsets), decode_parts(parts)

    def lose(self, volume: int) -> None:
        """Forget stale copies on a volume that is given up, and those that its files replaced: they may be the only copies left."""
        self._connection.run("forget-former", (volume, volume))
