"""What is shown of a job while its coordinator hears nobody: that, and no time left; and what is told while nothing comes."""

import pytest

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.coordinator.effects import Moment
from bucketpull.domain.parameters import CoordinatorParameters
from bucketpull.domain.progress import JobState
from bucketpull.report.summary import time_left
from bucketpull.report.words import Words
from bucketpull.wiring.monitor import Monitor
from bucketpull.wiring.system_clock import SystemClock


@pytest.fixture
def coordinator():
    coordinator = Coordinator(CoordinatorParameters(), Moment(0.0, 0.0, "2026-05-01"))
    coordinator.state = JobState.TRANSFERRING
    return coordinator


@pytest.fixture
def monitor(coordinator):
    return Monitor(coordinator, SystemClock(), "photos", "upyun://photos", None, [])


def test_a_job_without_its_broker_says_so_and_has_no_time_left(monitor):
    monitor.unheard = lambda: 125.0

    snapshot = monitor.snapshot()

    assert snapshot.state == "no-broker"
    assert time_left(snapshot, Words("en")) == (
        "time left not known while the broker cannot be reached, for 2 min 5 s now"
    )
    assert time_left(snapshot, Words("zh")) == "连不上消息服务器已 2 分 5 秒，无法估计剩余时间"  # noqa: RUF001


def test_the_state_is_the_jobs_again_when_the_broker_is_reached(monitor):
    monitor.unheard = lambda: 0.0
    assert monitor.snapshot().state == "transferring"


def test_a_job_that_has_ended_needs_no_broker(monitor, coordinator):
    monitor.unheard = lambda: 125.0
    coordinator.state = JobState.COMPLETE
    assert monitor.snapshot().state == "complete"
