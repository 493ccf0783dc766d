"""What a worker says of itself while it works for a coordinator on another machine."""

from collections.abc import Iterator
from typing import Final

from bucketpull.domain.messages import Pulse
from bucketpull.domain.status import VolumeState
from bucketpull.report.events import ProcessEvents, VolumeEvents
from bucketpull.report.figures import count, size, speed
from bucketpull.report.times import duration

_LINE_SECONDS: Final = 30.0
# A coordinator reminds each machine of its limits four times in so long.
_SILENT_SECONDS: Final = 60.0


def joined(job: str, volumes: int, processes: int) -> str:
    """Say that a worker has work from now on."""
    return f"joined job {job}: volumes {volumes}, processes {processes}"


def answered(job: str, volumes: int) -> str:
    """Say that the coordinator is there; to look through what was left on a volume may take a while."""
    return f"the coordinator of job {job} answered: opening volumes: {volumes}"


def left(job: str, *, has_ended: bool) -> str:
    """Say why a worker ends."""
    return f"job {job} has ended" if has_ended else f"left job {job}; the same command goes on"


class WorkerLines:
    """Makes a worker's lines of its pulses. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._told_at = now
        self._objects = self._bytes = 0
        self._heard_at = now
        self._is_silent = False
        self._process_events, self._volume_events = ProcessEvents(), VolumeEvents()

    def look(self, pulse: Pulse, heard_at: float, now: float) -> Iterator[tuple[str, str]]:
        """Return level and text of what is to be said now; `heard_at` is when the coordinator was heard last."""
        if heard_at > self._heard_at and self._is_silent:
            self._is_silent = False
            yield "info", f"the coordinator is heard again, after {duration(heard_at - self._heard_at)}"
        self._heard_at = max(self._heard_at, heard_at)
        if not self._is_silent and now - self._heard_at > _SILENT_SECONDS:
            self._is_silent = True
            silence = duration(now - self._heard_at)
            yield (
                "warning",
                f"nothing is heard of the coordinator for {silence}: what is in hand is finished, and what came of it waits at the broker",
            )
        events = [
            *self._process_events.look([pulse]),
            *self._volume_events.look(pulse.volumes, {pulse.machine}, now),
        ]
        for level, _, _, text in events:
            yield level, text
        if now - self._told_at >= _LINE_SECONDS:
            yield "info", self._progress(pulse, now)

    def _progress(self, pulse: Pulse, now: float) -> str:
        seconds = now - self._told_at
        arrived = pulse.bytes + pulse.arriving
        objects, received = (pulse.objects - self._objects) / seconds, max(0, arrived - self._bytes) / seconds
        self._told_at, self._objects, self._bytes = now, pulse.objects, arrived
        takes = sum(volume.state is VolumeState.OPEN for volume in pulse.volumes)
        return (
            f"fetched {count(pulse.objects)} ({speed(objects)}, {size(received)}/s); "
            f"batches in hand: {len(pulse.holds)}; volumes that take objects: {takes} of {len(pulse.volumes)}"
        )
