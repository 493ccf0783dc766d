"""What holds a worker back, in one word, from what it counted since the pulse before. Pure."""

from collections.abc import Mapping, Sequence
from operator import sub

from bucketpull.domain.messages import Limits
from bucketpull.domain.model import LaneStatus

NEAR = 0.9  # of a cap: transfers end in lumps, so that the cap itself is not reached in each half second
BUSY = 0.85  # of a core, for one process: above it, more transfers would only wait for it
QUEUED_BYTES = 8 << 20  # waiting for one volume, per process: half of what a process lets wait


class Load:
    """The counters of one moment: Unix or monotonic seconds, bytes and objects so far, the lanes, CPU seconds by process."""

    def __init__(
        self, at: float, objects: int, size: int, lanes: Mapping[str, LaneStatus], cpu: Sequence[float] = ()
    ) -> None:
        self.at = at
        self.objects = objects
        self.size = size
        self.lanes = lanes
        self.cpu = cpu


def limited_by(
    before: Load, now: Load, limits: Limits, queued: Sequence[int], unstarted: int, *, is_capped: bool = False
) -> str:
    """Name the limit as `Pulse.limited_by`; `queued` are bytes waiting for each volume, per process.

    `is_capped`: a process begins no more because of the cap on bandwidth.
    """
    seconds = max(now.at - before.at, 0.001)
    for name, lane in now.lanes.items():
        if lane.throttled > _throttled(before.lanes.get(name)):
            return _word(name, lane)
    if any(waiting > QUEUED_BYTES for waiting in queued):
        return "disk"
    for limit, reached in (
        ("bandwidth", is_capped or _near(limits.bytes_per_second, (now.size - before.size) / seconds)),
        ("rate", _near(limits.requests_per_second, (now.objects - before.objects) / seconds)),
        ("cpu", max(map(sub, now.cpu, before.cpu), default=0.0) > BUSY * seconds),
        ("work", unstarted == 0),
    ):
        if reached:
            return limit
    return next(
        (
            _word(name, lane)
            for name, lane in now.lanes.items()
            if lane.level and lane.in_flight >= NEAR * lane.level
        ),
        "",
    )


def _throttled(lane: LaneStatus | None) -> int:
    return 0 if lane is None else lane.throttled


def _near(cap: float | None, speed: float) -> bool:
    return cap is not None and speed >= NEAR * cap


def _word(name: str, lane: LaneStatus) -> str:
    return "source" if lane.is_origin else name
