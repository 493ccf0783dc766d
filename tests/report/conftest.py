import copy

import pytest

from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import Counters, Outstanding
from bucketpull.domain.progress import Estimate, Note, Rates, Snapshot
from bucketpull.domain.status import EndpointStatus, VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits

TB = 10**12


def volume(number, machine="alpha", state=VolumeState.OPEN, warning=""):
    return VolumeStatus(
        id=f"volume-{number}",
        machine=machine,
        path=f"/mnt/disk{number}",
        state=state,
        free_bytes=number * TB // 2,
        total_bytes=4 * TB,
        free_inodes=200_000_000,
        total_inodes=240_000_000,
        reserved_bytes=10**9,
        queued_bytes=10**7,
        stored_objects=28_000_000 * number,
        stored_bytes=number * 900 * 10**9,
        written_per_second=75e6,
        detail="input/output error" if state is VolumeState.SICK else "",
        warning=warning,
    )


def pulse(machine, volumes=()):
    return Pulse(
        machine=machine,
        incarnation="1",
        version="0.1.0",
        processes=8,
        objects=56_000_000,
        bytes=18 * TB // 10,
        window=8,
        scan_window=4,
        holds=[1, 2, 3],
        retries={"throttled": 900},
        failures={"missing": 7},
        endpoints={
            "list": EndpointStatus(4, 8.0, 12_000, 3, 1800.0),
            "cdn": EndpointStatus(212, 256.0, 56_000_000, 903, 2_500_000.0),
        },
        volumes=list(volumes),
        limited_by="disk",
    )


@pytest.fixture
def running():
    """A job of 300 million objects on two machines, a bit more than half through, still listing."""
    volumes = [volume(1), volume(2), volume(3, "beta"), volume(4, "beta", VolumeState.SICK)]
    return Snapshot(
        job="photos",
        source="upyun://photos/2024",
        state="transferring",
        at=1_790_000_000.0,
        started=1_789_990_000.0,
        seconds=86_400 * 1.5,
        listing_done=False,
        counters=Counters(
            listed=182_001_233,
            listed_bytes=6 * TB,
            stored=180_345_678,
            skipped=1_234,
            failed=14,
            vanished=3,
            directories=91_002,
            pages=120_331,
            bytes=59 * TB // 10,
            skipped_bytes=40_000_000,
        ),
        outstanding=Outstanding(1200, 8, 1655, 16, 1_654_304, 10**11),
        rates=Rates(4512.3, 4320.1, 149e6, 142e6, 5200.0),
        estimate=Estimate(98_000.0, 88_000.0, 121_000.0, 10 * TB, 303_000_000, 0.5934),
        machines=[pulse("alpha", volumes[:2]), pulse("beta", volumes[2:])],
        volumes=volumes,
        retries={"throttled": 1806, "timeout": 12, "dns": 0},
        failures={"missing": 12, "forbidden": 2},
        limits=Limits(requests_per_second=8000.0),
        limited_by="disk",
        notes=[
            Note(
                1_789_999_000.0,
                "warning",
                "volume.sick",
                "/mnt/disk4 on beta: input/output error",
                "beta:/mnt/disk4",
            )
        ],
    )


@pytest.fixture
def ended(running):
    """The same job at its end, on one machine, incomplete."""
    running = copy.deepcopy(running)
    running.state = "incomplete"
    running.listing_done = True
    running.counters = Counters(
        listed=10_000,
        listed_bytes=333_000_000,
        stored=9_000,
        skipped=986,
        failed=12,
        vanished=2,
        directories=120,
        pages=131,
        bytes=300_000_000,
        skipped_bytes=32_000_000,
    )
    running.outstanding = Outstanding()
    running.estimate = Estimate(0.0, 0.0, 0.0, 333_000_000, 10_000, 1.0)
    running.seconds = 12.25
    running.rates = Rates(objects_mean=734.69, bytes_mean=24.5e6)
    running.machines = running.machines[:1]
    running.volumes = running.volumes[:1]
    return running
