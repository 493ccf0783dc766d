"""The ledgers of a job's volumes: of this machine, or of the machines of a running job, asked through the broker."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec

from bucketpull.domain.decoding import json_decoder, msgpack_decoder
from bucketpull.domain.errors import BucketpullError, ConfigError, VolumeError
from bucketpull.domain.model import Extent
from bucketpull.domain.progress import Snapshot
from bucketpull.journal.journal_reader import JobRecord, JournalReader
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.reading import ledger_answers
from bucketpull.reading.ledger_answers import FaultsPage, ObjectsPage, Place
from bucketpull.transport.job_key import MachineKey
from bucketpull.wiring.coordinator_client import ApiError, broker_client, query_client
from bucketpull.wiring.job_key_file import worker_key
from bucketpull.wiring.journals import journal_to_read
from bucketpull.wiring.settings import Settings

TRIES: Final = 3  # of ten seconds each: then a machine counts as away

T = TypeVar("T")


class Ledgers(Protocol):
    """The volumes of a job, and what their ledgers say. Reading a ledger raises VolumeError if it is not available."""

    def configuration(self) -> dict[str, str]:
        """Return what the job was begun with."""

    def volumes(self) -> list[KnownVolume]:
        """Return all volumes that the job has ever had."""

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """Return the ledger blocks that may hold an object, the newest first."""

    def place(self, volume: KnownVolume, offset: int, directory: bytes, name: bytes) -> Place | None:
        """Read one block of a ledger."""

    def objects(self, volume: KnownVolume, below: bytes) -> Iterator[ObjectsPage]:
        """Give the objects of a volume in or below a directory (b"": all)."""


class LocalLedgers:
    """See `Ledgers`: the volumes that are mounted here."""

    def __init__(self, reader: JournalReader) -> None:
        self.configuration, self.volumes, self.where = reader.configuration, reader.volumes, reader.where
        self.place, self.objects = ledger_answers.look, ledger_answers.objects


@contextmanager
def ledgers(settings: Settings, *, by_broker: bool) -> Iterator[Ledgers]:
    """Open the ledgers of a job. Raises BucketpullError where the job is not known here, or its coordinator does not answer."""
    if by_broker:
        with closing(RemoteLedgers(settings)) as machines:
            yield machines
    else:
        with journal_to_read(settings) as reader:
            yield LocalLedgers(reader)


_read_error = json_decoder(ApiError)
_read_objects: Callable[[bytes], ObjectsPage] = msgpack_decoder(ObjectsPage)
_read_faults: Callable[[bytes], FaultsPage] = msgpack_decoder(FaultsPage)
_read_place: Callable[[bytes], Place | None] = msgpack_decoder(Place | None)
_read_progress: Callable[[bytes], tuple[int, int]] = msgpack_decoder(tuple[int, int])


class RemoteLedgers:
    """See `Ledgers`: the volumes of all machines. `close` it.

    Raises:
        ConfigError: Broker, job or key are not known, or the key is that of one machine.
        TransportError: The coordinator does not answer.

    """

    def __init__(self, settings: Settings) -> None:
        key = worker_key(settings)
        if isinstance(key, MachineKey):
            raise ConfigError(
                f"--job-key-file: is the key of machine {key.machine}; to ask all machines takes the job's own"
            )
        self._client = broker_client(settings)
        self._books = self._client.get("/api/books", JobRecord)
        self._there = {each.machine for each in self._client.get("/api/job", Snapshot).machines}
        self._queries = query_client(settings)
        self._runner = asyncio.Runner()

    def configuration(self) -> dict[str, str]:
        """See `Ledgers`."""
        return self._books.configuration

    def volumes(self) -> list[KnownVolume]:
        """See `Ledgers`."""
        return self._books.volumes

    def where(self, directory: bytes, name: bytes) -> list[Extent]:
        """See `Ledgers`."""
        return self._client.get("/api/where", list[Extent], directory=directory.hex(), name=name.hex())

    def place(self, volume: KnownVolume, offset: int, directory: bytes, name: bytes) -> Place | None:
        """See `Ledgers`: an available ledger is one whose machine answers and has the volume."""
        query = {"volume": volume.id, "offset": offset, "directory": directory.hex(), "name": name.hex()}
        status, body = self._ask(volume, f"/ledger/place?{urlencode(query)}")
        return _read(volume, status, body, _read_place)

    def objects(self, volume: KnownVolume, below: bytes) -> Iterator[ObjectsPage]:
        """See `Ledgers`."""
        return self._pages(volume, "/ledger/objects", {"below": below.hex()}, _read_objects, lambda *_: None)

    def faults(
        self, volume: KnownVolume, *, hashed: bool, told: Callable[[int, int], None]
    ) -> Iterator[FaultsPage]:
        """Have a volume compared with its ledger; `told` hears how many objects and bytes were looked at. Raises as `place`."""
        return self._pages(volume, "/ledger/faults", {"hash": "1"} if hashed else {}, _read_faults, told)

    def close(self) -> None:
        """Disconnect."""
        try:
            self._runner.run(self._queries.close())
        finally:
            self._runner.close()

    def _pages(
        self,
        volume: KnownVolume,
        path: str,
        query: dict[str, Any],
        decode: Callable[[bytes], T],
        told: Callable[[int, int], None],
    ) -> Iterator[T]:
        query |= {"volume": volume.id, "reading": secrets.token_hex(8)}
        number = 1
        while True:
            status, body = self._ask(volume, f"{path}?{urlencode(query | {'page': number})}")
            if status == 204:
                return
            if status == 202:
                told(*_read(volume, status, body, _read_progress))
                continue
            yield _read(volume, status, body, decode)
            number += 1

    def _ask(self, volume: KnownVolume, target: str) -> tuple[int, bytes]:
        if volume.machine not in self._there:
            raise VolumeError(volume.path, f"machine {volume.machine} is away; start `bucketpull work` there")
        from bucketpull.transport.remote_query import MachineSilent  # the extra `rabbitmq`

        error: BucketpullError | None = None
        for _ in range(TRIES):
            try:
                return self._runner.run(self._queries.ask_machine(volume.machine, target))
            except MachineSilent as silent:
                error = silent
        self._there.discard(volume.machine)
        raise VolumeError(volume.path, str(error))


def _read(volume: KnownVolume, status: int, body: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        if status < 400:
            return decode(body)
        detail = _read_error(body).error
    except msgspec.DecodeError as error:
        detail = f"its machine is of another version ({error}); install the same"
    raise VolumeError(volume.path, detail)
