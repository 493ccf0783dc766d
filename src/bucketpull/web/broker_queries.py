"""Requests that come through the broker: to the API of a job, and to a machine for what the ledgers of its volumes hold.

A machine answers page by page:

| address | what |
| --- | --- |
| `GET /ledger/objects?volume=ID&below=HEX&reading=NAME&page=N` | an `ObjectsPage` |
| `GET /ledger/faults?volume=ID&hash=1&reading=NAME&page=N` | a `FaultsPage` |
| `GET /ledger/place?volume=ID&offset=N&directory=HEX&name=HEX` | a `Place`, or null |

Pages of one reading are asked for in order, each as often as it takes: 200 is one, 202 says that it is being made, 204 that there
are no more. What nobody asks for is not made: who reads slowly holds up nothing but themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bucketpull.daemon_thread import in_thread
from bucketpull.domain.errors import BucketpullError, ConfigError
from bucketpull.domain.status import VolumeStatus
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.reading import ledger_answers
from bucketpull.transport.job_key import OPERATOR
from bucketpull.transport.wire import Query, QueryAnswer
from bucketpull.volumes.verification import Verification
from bucketpull.web.api import Api, failed, request_of

if TYPE_CHECKING:
    from bucketpull.ports import Clock

WAIT_SECONDS: Final = 4.0  # for a page; less than anybody waits for an answer
IDLE_SECONDS: Final = 120.0
MOST_READINGS: Final = 4

Pages = Generator[msgspec.Struct, None, None]
_encode = msgspec.msgpack.Encoder().encode


async def answer_query(api: Api, query: Query, machine: str) -> QueryAnswer:
    """Answer a request to the API of a job; with a machine's key it may not change anything."""
    who = "a command" if machine == OPERATOR else machine
    request = request_of(query.method, query.target, query.body, f"{who} at the broker")
    if machine != OPERATOR and request.method != "GET":
        text = "a machine's key may not change the job; use the job's own, where `bucketpull coordinate` runs"
        response = failed(403, text)
    else:
        response = await api.answer(request)
    return QueryAnswer(response.status, response.body)


class _Abandoned(Exception):
    """The client has stopped asking for pages."""


class _Reading:
    """The pages that a client reads one after the other; the last one is kept, in case the answer was lost."""

    def __init__(self, make: Callable[[_Reading], Pages], clock: Clock) -> None:
        self._clock = clock
        self._asked_at = clock.monotonic()
        self._number = 0
        self._answer = QueryAnswer(204, b"")
        self._making: asyncio.Task[msgspec.Struct | None] | None = None
        self.looked_at = 0, 0
        self._pages = make(self)

    @property
    def is_over(self) -> bool:
        """Whether there are no more pages."""
        return self._number > 0 and self._answer.status == 204

    @property
    def is_idle(self) -> bool:
        """Whether nobody has asked for long."""
        return self._clock.monotonic() - self._asked_at > IDLE_SECONDS

    def watch(self, verification: Verification) -> None:
        """Note how far a verification is, and end it if nobody asks any more."""
        self.looked_at = verification.objects, verification.bytes
        if not verification.objects % 1000 and self.is_idle:
            raise _Abandoned

    async def page(self, number: int) -> QueryAnswer:
        """Return a page: the last one again, or the next."""
        self._asked_at = self._clock.monotonic()
        if number == self._number + 1:
            if self._making is None:
                self._making = asyncio.ensure_future(in_thread(next, self._pages, None))
            await asyncio.wait({self._making}, timeout=WAIT_SECONDS)
            if self._making is not None and self._making.done():
                page, self._making = self._making.result(), None
                self._number += 1
                self._answer = QueryAnswer(204, b"") if page is None else QueryAnswer(200, _encode(page))
            elif self._number != number:
                return QueryAnswer(202, _encode(self.looked_at))
        if number != self._number:
            raise ConfigError("this machine has begun again since; ask again from the start")
        return self._answer

    def close(self) -> asyncio.Future[Any]:
        """Close the volume; one that is being read is closed when its reader notices."""
        closing: asyncio.Future[Any] = self._making or asyncio.ensure_future(in_thread(self._pages.close))
        closing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return closing


class LedgerApi:
    """Answers for the volumes that `volumes` returns."""

    def __init__(self, machine: str, volumes: Callable[[], list[VolumeStatus]], clock: Clock) -> None:
        self._machine = machine
        self._volumes = volumes
        self._clock = clock
        self._readings: dict[str, _Reading] = {}

    async def answer(self, ask: Query, _: str) -> QueryAnswer:
        """Answer a request, whatever it is."""
        request = request_of(ask.method, ask.target, ask.body, "")
        try:
            return await self._answer(request.path, request.query)
        except BucketpullError as error:
            return QueryAnswer(409, _text(error))
        except (KeyError, ValueError) as error:
            return QueryAnswer(400, _text(error))

    async def _answer(self, path: str, query: Mapping[str, str]) -> QueryAnswer:
        volume = self._volume(query["volume"])
        if path == "/ledger/place":
            where = int(query["offset"]), bytes.fromhex(query["directory"]), bytes.fromhex(query["name"])
            return QueryAnswer(200, _encode(await in_thread(ledger_answers.look, volume, *where)))
        if path == "/ledger/objects":
            below = bytes.fromhex(query.get("below", ""))
            return await self._page(query, lambda _: ledger_answers.objects(volume, below))
        if path == "/ledger/faults":
            faults = partial(ledger_answers.faults, volume, hashed=bool(query.get("hash")))
            return await self._page(query, lambda reading: faults(watch=reading.watch))
        return QueryAnswer(404, _text(f"{path}: there is no such thing"))

    async def _page(self, query: Mapping[str, str], make: Callable[[_Reading], Pages]) -> QueryAnswer:
        name, number = query["reading"], int(query["page"])
        self._drop_idle()
        asyncio.get_running_loop().call_later(IDLE_SECONDS + 1.0, self._drop_idle)
        reading = self._readings.get(name)
        if reading is None:
            if sum(not other.is_over for other in self._readings.values()) >= MOST_READINGS:
                raise ConfigError(f"{MOST_READINGS} others read there; ask again later")
            reading = self._readings[name] = _Reading(make, self._clock)
        try:
            answer = await reading.page(number)
        except BaseException:
            if self._readings.pop(name, None) is not None:
                reading.close()
            raise
        return answer

    async def close(self) -> None:
        """Close all readings, except of a disk that does not answer within a second."""
        closing = [reading.close() for reading in self._readings.values()]
        self._readings.clear()
        if closing:
            await asyncio.wait(closing, timeout=1.0)

    def _drop_idle(self) -> None:
        for name in [name for name, reading in self._readings.items() if reading.is_idle]:
            self._readings.pop(name).close()

    def _volume(self, identity: str) -> KnownVolume:
        for volume in self._volumes():
            if volume.id == identity:
                return KnownVolume(volume.id, self._machine, volume.path, volume.state)
        raise ConfigError(
            f"volume {identity}: this machine has it no more; `bucketpull volumes` says where it is"
        )


def _text(error: object) -> bytes:
    return failed(409, str(error)).body
