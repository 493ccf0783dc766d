"""What can be asked of a job while it runs, by the control socket."""

import asyncio
from typing import Final

import msgspec

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.domain.errors import ConfigError, JournalError
from bucketpull.domain.model import VolumeState, VolumeStatus
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.wiring.control import (
    AddVolume,
    Answer,
    ControlServer,
    DrainVolume,
    LoseVolume,
    Question,
    ShowJob,
)
from bucketpull.wiring.monitor import Monitor
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volumes import check_paths, open_one

_HEED_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1
STANDING: Final = frozenset({VolumeState.DRAINING, VolumeState.LOST})


class Steering:
    """Does to a running job what the operator asks. `machine` is the one of this process, "" if it has no volumes."""

    def __init__(
        self,
        settings: Settings,
        journal: SqliteJournal,
        coordinator: Coordinator,
        monitor: Monitor,
        machine: str,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._coordinator = coordinator
        self._monitor = monitor
        self._machine = machine
        self._server = ControlServer(settings.state_folder(), self.obey)
        for volume in journal.volumes():
            if volume.state in STANDING:
                coordinator.asked[volume.id] = volume.state

    async def start(self) -> None:
        """Listen to other commands; where that cannot be, the job runs without."""
        try:
            await self._server.start()
        except OSError as error:
            text = f"{self._settings.state_folder()}: no socket there ({error.strerror}); give another --state to steer the job"
            self._monitor.note("warning", "control.refused", text)

    async def close(self) -> None:
        """Listen no more."""
        await self._server.close()

    async def obey(self, question: Question) -> Answer:
        """Do one thing.

        Raises:
            BucketpullError: It cannot be done.

        """
        if isinstance(question, ShowJob):
            volumes = list(self._coordinator.fleet.volumes.values())
            return Answer(snapshot=msgspec.structs.replace(self._monitor.latest, volumes=volumes))
        if isinstance(question, AddVolume):
            return Answer(await self._add(question.path))
        if isinstance(question, DrainVolume):
            return Answer(await self._drain(question.volume))
        if isinstance(question, LoseVolume):
            return Answer(await self._lose(question.volume))
        await self._coordinator.set_limits(question.limits)
        return Answer("the job is paused" if question.limits.paused else "the limits are set")

    async def _add(self, path: str) -> str:
        if not self._machine:
            raise ConfigError(
                f"volume {path}: this coordinator has no disks; run `bucketpull work` with it on its machine"
            )
        (path,) = check_paths([path])
        known = self._volume(path)
        identity = known.id if known else await asyncio.to_thread(self._try, path)
        if self._coordinator.asked.get(identity) is VolumeState.LOST:
            raise ConfigError(f"volume {path}: was given up as lost ({identity}); empty it to use it again")
        self._coordinator.asked.pop(identity, None)
        await self._coordinator.add_volume(path, self._machine)
        await self._until(identity, VolumeState.DRAINING, wanted=False)
        self._monitor.note("info", "volume.added", f"volume {path} ({identity}) was added")
        return f"volume {path} ({identity}) is in use"

    def _try(self, path: str) -> str:
        """Make and open the volume once, so that an error is told to whoever asked."""
        volume = open_one(path, None, self._settings)
        volume.close()
        return volume.id

    async def _drain(self, name: str) -> str:
        volume = self._known(name)
        if self._coordinator.asked.get(volume.id) is VolumeState.LOST:
            raise ConfigError(f"volume {name}: was given up as lost")
        self._coordinator.asked[volume.id] = VolumeState.DRAINING
        await self._until(volume.id, VolumeState.OPEN, wanted=False)
        return f"volume {volume.path} ({volume.id}) takes no new objects; what it holds stays"

    async def _lose(self, name: str) -> str:
        identity = next(
            (
                volume.id
                for volume in await self._coordinator.call(self._journal.volumes)
                if volume.id == name
            ),
            None,
        )
        if identity is None:
            raise JournalError(f"volume {name}: the job has no such id; `bucketpull volumes` lists them")
        self._coordinator.asked[identity] = VolumeState.LOST
        pages = await self._coordinator.change(self._journal.lose, identity)
        if identity in self._coordinator.fleet.volumes:
            await self._until(identity, VolumeState.LOST, wanted=True)
        return f"volume {identity} is given up; {pages:,} pages are listed again for what it held"

    def _volume(self, name: str) -> VolumeStatus | None:
        volumes = self._coordinator.fleet.volumes.values()
        return next((volume for volume in volumes if name in {volume.id, volume.path}), None)

    def _known(self, name: str) -> VolumeStatus:
        volume = self._volume(name)
        if volume is None:
            raise JournalError(
                f"volume {name}: the running job does not use it; `bucketpull volumes` lists them"
            )
        return volume

    async def _until(self, identity: str, state: VolumeState, *, wanted: bool) -> None:
        """Wait until the volume is known and its state is as wanted."""
        deadline = asyncio.get_running_loop().time() + _HEED_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            volume = self._coordinator.fleet.volumes.get(identity)
            if volume is not None and (volume.state is state) is wanted:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise JournalError(f"volume {identity}: the worker did not heed within {_HEED_SECONDS:.0f} s")
