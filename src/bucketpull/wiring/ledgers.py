"""The ledgers of a job's volumes: of this machine, or through the broker of all."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from bucketpull.domain.model import Extent
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.reading import ledger_contents
from bucketpull.reading.ledger_contents import ObjectsPage, Place
from bucketpull.wiring.journals import journal_to_read
from bucketpull.wiring.settings import Settings


class Ledgers(Protocol):
    """The volumes of a job, and what their ledgers say. Reading a ledger raises VolumeError if it is not available."""

    def configuration(self) -> dict[str, str]:
        """Return what the job was begun with."""
        ...

    def volumes(self) -> list[KnownVolume]:
        """Return all volumes that the job has ever had."""
        ...

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """Return the ledger blocks that may hold an object, the newest first."""
        ...

    def place(self, volume: KnownVolume, offset: int, directory: bytes, name: bytes) -> Place | None:
        """Read one block of a ledger."""
        ...

    def objects(self, volume: KnownVolume, below: bytes) -> Iterator[ObjectsPage]:
        """Give the objects of a volume in or below a directory (b"": all)."""
        ...


class LocalLedgers:
    """See `Ledgers`: the volumes that are mounted here."""

    def __init__(self, reader: JournalReader) -> None:
        self.configuration, self.volumes, self.where = reader.configuration, reader.volumes, reader.where
        self.place, self.objects = ledger_contents.look, ledger_contents.objects


@contextmanager
def ledgers(settings: Settings, *, by_broker: bool) -> Iterator[Ledgers]:
    """Open the ledgers of a job. Raises BucketpullError where the job is not known here, or its coordinator does not answer."""
    if not by_broker:
        with journal_to_read(settings) as reader:
            yield LocalLedgers(reader)
        return
    from bucketpull.wiring.remote_ledgers import RemoteLedgers

    machines = RemoteLedgers(settings)
    try:
        yield machines
    finally:
        machines.close()
