"""The lines that a worker prints: where it joined, from time to time what it does, its volumes, and whether it hears the coordinator. Pure."""

from collections.abc import Iterator

from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import VolumeState
from bucketpull.report import figures
from bucketpull.report.news import VolumeNews

Line = tuple[str, str]  # level, text

EVERY_SECONDS = 30.0
STOPPING = "stopping: finishing what has begun"
# A coordinator reminds each machine of its limits four times in so long.
SILENT_SECONDS = 60.0


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
        self._volume_news = VolumeNews()

    def look(self, pulse: Pulse, heard_at: float, now: float) -> Iterator[Line]:
        """Return what is to be said now; `heard_at` is when the coordinator was heard last."""
        if heard_at > self._heard_at and self._is_silent:
            self._is_silent = False
            yield (
                "info",
                f"the coordinator is heard again, after {figures.duration(heard_at - self._heard_at)}",
            )
        self._heard_at = max(self._heard_at, heard_at)
        if not self._is_silent and now - self._heard_at > SILENT_SECONDS:
            self._is_silent = True
            silence = figures.duration(now - self._heard_at)
            yield (
                "warning",
                f"nothing is heard of the coordinator for {silence}: what is in hand is finished, and what came of it waits at the broker",
            )
        for level, _, _, text in self._volume_news.look(pulse.volumes, {pulse.machine}, now):
            yield level, text
        if now - self._told_at >= EVERY_SECONDS:
            yield "info", self._progress(pulse, now)

    def _progress(self, pulse: Pulse, now: float) -> str:
        seconds = now - self._told_at
        objects, size = (pulse.objects - self._objects) / seconds, (pulse.bytes - self._bytes) / seconds
        self._told_at, self._objects, self._bytes = now, pulse.objects, pulse.bytes
        takes = sum(volume.state is VolumeState.OPEN for volume in pulse.volumes)
        return (
            f"fetched {figures.count(pulse.objects)} ({figures.speed(objects)}, {figures.size(size)}/s); "
            f"batches in hand: {len(pulse.holds)}; volumes that take objects: {takes} of {len(pulse.volumes)}"
        )
