"""The volumes that a journal knows, by name and by the number that extents use."""

from collections.abc import Collection

import msgspec

from bucketpull.domain.model import Extent
from bucketpull.domain.status import VolumeState
from bucketpull.journal.extents import Entry
from bucketpull.journal.journal_connection import ImpossibleRow, JournalConnection, damaged

_STATES = frozenset(state.value for state in VolumeState)


class KnownVolume(msgspec.Struct, frozen=True):
    """A volume as the journal knows it. `machine` and `path` are where it was seen last, "" if never."""

    id: str
    machine: str
    path: str
    state: VolumeState


class Volumes:
    """All volumes of a job, read once and kept in step."""

    def __init__(self, connection: JournalConnection) -> None:
        self._connection = connection
        self._numbers: dict[str, int] = {}
        self._volumes: dict[int, KnownVolume] = {}
        for number, name, machine, path, state in self._connection.rows("volumes"):
            if state not in _STATES:
                raise ImpossibleRow(f"volume {name} is {state!r}")
            self._keep(number, KnownVolume(name, machine, path, VolumeState(state)))

    def all(self) -> list[KnownVolume]:
        """Return all volumes, in the order in which they became known."""
        return list(self._volumes.values())

    def numbers(self) -> list[int]:
        """Return the numbers of all volumes, in the same order."""
        return list(self._volumes)

    def record(self, volume: KnownVolume) -> int:
        """Make a volume known, or note where and how it is; return its number."""
        number = self._numbers.get(volume.id)
        if number is not None and self._volumes[number] == volume:
            return number
        row = (volume.id, volume.machine, volume.path, volume.state.value)
        (written,) = self._connection.rows("write-volume", *row)[0]
        self._keep(written, volume)
        return int(written)

    def number(self, name: str, machine: str) -> int:
        """Return the number of a volume, which is made known if it was not."""
        number = self._numbers.get(name)
        if number is None:
            number = self.record(KnownVolume(name, machine, "", VolumeState.OPEN))
        return number

    def volume(self, number: int) -> KnownVolume:
        """Return what is known of a volume. Raises JournalDamaged where there is none of this number."""
        try:
            return self._volumes[number]
        except KeyError:
            raise damaged(
                self._connection.folder, f"a row names volume {number}, of {len(self._volumes)}"
            ) from None

    def known_number(self, name: str) -> int | None:
        """Return the number of a volume, or None."""
        return self._numbers.get(name)

    def extent(self, entry: Entry) -> Extent:
        """Say an entry in the words of the domain."""
        return Extent(self.volume(entry[0]).id, entry[1])

    def is_there(self, number: int) -> bool:
        """Whether what a volume holds may be counted on."""
        return self.volume(number).state is not VolumeState.LOST

    def at(self, machines: Collection[str]) -> list[int]:
        """Return the numbers of the volumes of some machines."""
        return [number for number, volume in self._volumes.items() if volume.machine in machines]

    def machine_of(self, number: int) -> str:
        """Return the machine of a volume, "" if unknown or lost."""
        volume = self.volume(number)
        return "" if volume.state is VolumeState.LOST else volume.machine

    def _keep(self, number: int, volume: KnownVolume) -> None:
        self._numbers[volume.id] = number
        self._volumes[number] = volume
