"""A running job as the API sees and steers it. Reads and changes of the journal go through the coordinator's thread for it."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bucketpull.coordinator.shell import CoordinatorShell
from bucketpull.daemon_thread import in_thread
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, JournalError, Reason
from bucketpull.domain.progress import Snapshot
from bucketpull.domain.status import VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits, Steering
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.report import figures
from bucketpull.wiring.job_limits import Bandwidth, limit_options, limits_now
from bucketpull.wiring.journals import JournalView
from bucketpull.wiring.monitor import Monitor
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.volume_opening import check_copy_of, check_paths, open_one, owner_by

if TYPE_CHECKING:
    from bucketpull.web.api import NewLimits

_ANSWER_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.1
_KEPT: Final = frozenset({VolumeState.DRAINING, VolumeState.LOST})


class JobControl(JournalView):
    """See `web.api.RunningJob`. `machine` is the one of this process, "" if it has no volumes. `run` its `bandwidth`."""

    def __init__(
        self,
        settings: Settings,
        journal: SqliteJournal,
        shell: CoordinatorShell,
        monitor: Monitor,
        machine: str,
    ) -> None:
        super().__init__(settings)
        self._owner = owner_by(journal)
        self._journal = journal
        self._shell = shell
        self._coordinator = shell.coordinator
        self._monitor = monitor
        self.bandwidth = Bandwidth(settings)
        self._machine = machine
        for volume in journal.volumes():
            if volume.state in _KEPT:
                shell.coordinator.asked[volume.id] = volume.state

    def snapshot(self) -> Snapshot:
        """See `RunningJob`."""
        return self._monitor.shown()

    def begin(self) -> None:
        """Begin with the limits that were asked for, and what commands changed of them before a restart.

        A coordinator is started again by its service, and stays paused. Who runs `sync` again wants the job to go on.
        """
        asked = limits_now(self._settings)
        before = self._journal.steering()
        if before is not None and self._settings.broker is None:
            before = before.resumed()
        if before is None:
            self._coordinator.limits = asked
            return
        found = before.under(limit_options(self._settings), asked)
        if found.schedule is None:
            self.bandwidth.leave()
            limits = found.limits
        else:
            limits = msgspec.structs.replace(
                found.limits, bytes_per_second=self.bandwidth.follow(found.schedule)
            )
        self._coordinator.limits = limits
        if found is before:
            text = f"limits are as changed before this start: {_limits_text(limits)}"
            self._monitor.note("info", "limits.kept", text)
        if limits.paused:
            text = "the job was paused before this start; `bucketpull resume` lets it go on"
            self._monitor.note("warning", "job.paused", text)

    async def pause(self, client: str) -> str:
        """See `RunningJob`."""
        await self._change(paused=True)
        self._monitor.note("info", "job.paused", f"paused by {client}")
        return "the job is paused; `bucketpull resume` lets it go on"

    async def resume(self, client: str) -> str:
        """See `RunningJob`."""
        await self._change(paused=False)
        self._monitor.note("info", "job.resumed", f"resumed by {client}")
        return "the job goes on"

    async def stop(self, client: str) -> str:
        """See `RunningJob`."""
        self._monitor.note("info", "job.interrupted", f"stopped by {client}")
        await self._shell.stop()
        return "the job stops; the same command goes on with it"

    async def set_limits(self, limits: "NewLimits", client: str) -> str:
        """See `RunningJob`."""
        given = msgspec.structs.asdict(limits).items()
        changes = {name: value for name, value in given if value is not msgspec.UNSET}
        if "bandwidth" in changes:
            changes["bytes_per_second"] = self.bandwidth.follow(changes.pop("bandwidth"))
        elif "bytes_per_second" in changes:
            self.bandwidth.leave()
        await self._change(**changes)
        text = _limits_text(self._coordinator.limits)
        self._monitor.note("info", "limits.changed", f"limits changed by {client}: {text}")
        return f"the limits of the whole job are now: {text}"

    async def retry(self, reason: str | None, pattern: str | None, client: str) -> int:
        """See `RunningJob`."""
        chosen = None if reason is None else Reason(reason)
        number = await self._shell.change(self._journal.retry, chosen, pattern)
        if number:
            text = f"{counted(number, 'failures are')} work again, asked for by {client}"
            self._monitor.note("info", "failures.retried", text)
        return number

    async def add_volume(self, path: str, client: str) -> str:
        """See `RunningJob`. One of another machine's, drained before, may be named by id or MACHINE:PATH."""
        there = self._volume(path)
        if there is not None and there.machine != self._machine:
            return await self._take_up(there.id, there.path, there.machine, client)
        if not self._machine:
            raise ConfigError(
                f"volume {path}: this coordinator has no disks; run `bucketpull work` with it on its machine"
            )
        (path,) = check_paths([path if there is None else there.path])
        await in_thread(check_copy_of, path, self._paths_here())
        known = self._volume(path)
        identity = known.id if known else await in_thread(self._try, path)
        return await self._take_up(identity, path, self._machine, client)

    async def _take_up(self, identity: str, path: str, machine: str, client: str) -> str:
        """Have a machine use a volume; one that its worker's command line does not name it does not take."""
        if self._coordinator.asked.get(identity) is VolumeState.LOST:
            raise ConfigError(f"volume {path}: was given up as lost ({identity}); empty it to use it again")
        self._coordinator.asked.pop(identity, None)
        await self._shell.add_volume(path, machine)
        path = self._shown(path, machine)
        await self._until(identity, VolumeState.DRAINING, wanted=False)
        self._monitor.note("info", "volume.added", f"volume {path} ({identity}) was added by {client}")
        return f"volume {path} ({identity}) is in use"

    async def drain_volume(self, volume: str, client: str) -> str:
        """See `RunningJob`."""
        found = self._volume(volume)
        if found is None:
            raise JournalError(
                f"volume {volume}: the running job does not use it; `bucketpull volumes` lists them"
            )
        if self._coordinator.asked.get(found.id) is VolumeState.LOST:
            raise ConfigError(f"volume {volume}: was given up as lost; add another one")
        self._coordinator.asked[found.id] = VolumeState.DRAINING
        await self._until(found.id, VolumeState.OPEN, wanted=False)
        path = self._shown(found.path, found.machine)
        self._monitor.note("info", "volume.drained", f"volume {path} ({found.id}) was drained by {client}")
        return f"volume {path} ({found.id}) takes no new objects; what it holds stays"

    async def lose_volume(self, volume: str, client: str) -> str:
        """See `RunningJob`."""
        known = await self._shell.call(self._journal.volumes)
        if volume not in {each.id for each in known}:
            raise JournalError(f"volume {volume}: the job has no such id; `bucketpull volumes` lists them")
        self._coordinator.asked[volume] = VolumeState.LOST
        pages = await self._shell.change(self._journal.lose, volume)
        if volume in self._coordinator.fleet.volumes:
            await self._until(volume, VolumeState.LOST, wanted=True)
        self._monitor.note("warning", "volume.given-up", f"volume {volume} was given up by {client}")
        return f"volume {volume} is given up; {counted(pages, 'pages are')} listed again for what it held"

    async def _change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of `Limits`
        limits = msgspec.structs.replace(self._coordinator.limits, **changes)
        steering = Steering(limit_options(self._settings), limits, self.bandwidth.schedule)
        await self._shell.call(self._journal.note_steering, steering)
        await self._shell.set_limits(limits)

    def _try(self, path: str) -> str:
        """Make and open the volume once, so that an error is told to whoever asked."""
        volume = open_one(path, None, self._settings, self._owner)
        volume.close()
        return volume.id

    def _paths_here(self) -> dict[str, str]:
        """Return where the job's volumes on this machine are, by their ids."""
        volumes = self._coordinator.fleet.volumes.values()
        return {volume.id: volume.path for volume in volumes if volume.machine == self._machine}

    def _shown(self, path: str, machine: str) -> str:
        """Name a volume with its machine where that is another one: several often mount their disks alike."""
        return path if machine == self._machine else f"{machine}:{path}"

    def _volume(self, name: str) -> VolumeStatus | None:
        volumes = self._coordinator.fleet.volumes.values()
        return next(
            (each for each in volumes if name in {each.id, each.path, f"{each.machine}:{each.path}"}), None
        )

    async def _until(self, identity: str, state: VolumeState, *, wanted: bool) -> None:
        """Wait until the volume is known and its state is as wanted."""
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            volume = self._coordinator.fleet.volumes.get(identity)
            if volume is not None and (volume.state is state) is wanted:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise JournalError(
            f"volume {identity}: its machine did not respond within {_ANSWER_SECONDS:.0f} s; try again when it is there"
        )


def _limits_text(limits: Limits) -> str:
    rate = "off" if limits.requests_per_second is None else f"{limits.requests_per_second:g}/s"
    width = "off" if limits.bytes_per_second is None else f"{figures.size(limits.bytes_per_second)}/s"
    return f"rate {rate}, bandwidth {width}, concurrency {limits.concurrency or 'auto'}"
