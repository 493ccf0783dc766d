"""What holds a worker back, in one word, from what it counted since the pulse before. Pure."""

from collections.abc import Mapping, Sequence
from operator import sub
from typing import NamedTuple

from bucketpull.domain.messages import Limits
from bucketpull.domain.model import EndpointStatus

NEAR = 0.9  # of a cap: transfers end in lumps, so that the cap itself is not reached in each half second
BUSY = 0.85  # of a core, for one process: above it, more transfers would only wait for it
QUEUED_BYTES = 8 << 20  # waiting for one volume, per process: half of what a process lets wait


class Load(NamedTuple):
    """The counters of one moment: monotonic seconds, objects and bytes so far, the endpoints, CPU seconds by process."""

    at: float
    objects: int
    size: int
    endpoints: Mapping[str, EndpointStatus]
    cpu: Sequence[float] = ()


def limited_by(
    before: Load, now: Load, limits: Limits, queued: Sequence[int], unstarted: int, *, is_capped: bool = False
) -> str:
    """Name the limit as `Pulse.limited_by`; `queued` are bytes waiting for each volume, per process.

    `is_capped`: a process begins no more because of the cap on bandwidth.
    """
    seconds = max(now.at - before.at, 0.001)
    for name, endpoint in now.endpoints.items():
        if endpoint.throttled > _throttled(before.endpoints.get(name)):
            return _word(name, endpoint)
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
            _word(name, endpoint)
            for name, endpoint in now.endpoints.items()
            if endpoint.level and endpoint.in_flight >= NEAR * endpoint.level
        ),
        "",
    )


def _throttled(endpoint: EndpointStatus | None) -> int:
    return 0 if endpoint is None else endpoint.throttled


def _near(cap: float | None, speed: float) -> bool:
    return cap is not None and speed >= NEAR * cap


def _word(name: str, endpoint: EndpointStatus) -> str:
    return "source" if endpoint.is_origin else name
