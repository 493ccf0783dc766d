"""What is shown of a job while its coordinator hears nobody, and after it has heard of much at once; what is told while nothing comes."""

import asyncio

import pytest
from msgspec.structs import replace

from bucketpull.coordinator.coordinator import Coordinator
from bucketpull.coordinator.effects import Moment
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.domain.budget import Budget
from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import Counters, Outstanding
from bucketpull.domain.progress import JobState
from bucketpull.report.events import ProcessEvents
from bucketpull.report.summary import time_left
from bucketpull.report.words import Words
from bucketpull.wiring.monitor import Monitor
from bucketpull.wiring.system import SystemClock


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


class Watch:
    """A clock that stands until it is set."""

    seconds = 100.0
    set_by = 0.0

    def now(self):
        return self.seconds + self.set_by

    def monotonic(self):
        return self.seconds

    def today(self):
        return "2026-05-01"


def at_work(objects):
    return Pulse(
        machine="m1", incarnation="1", version="0.1.0", processes=2, objects=objects, bytes=objects * 1000, window=10,
        scan_window=0, holds=[], retries={}, failures={}, endpoints={}, volumes=[], placed=objects, written=objects,
        settled=objects,
    )  # fmt: skip


def test_what_machines_did_while_there_was_no_coordinator_is_no_speed_of_its_session(coordinator):
    """A coordinator that was away for 75 seconds is told of 4,500 objects at once; 60 a second are fetched, before and after."""
    watch, total = Watch(), 200_000
    watched = Monitor(coordinator, watch, "photos", "upyun://photos", None, [])

    def look(seconds, stored, fetched):
        watch.seconds = 100.0 + seconds
        coordinator.counters = Counters(
            listed=total, listed_bytes=total * 1000, stored=stored, bytes=stored * 1000
        )
        coordinator.outstanding = Outstanding(
            batches=170, objects=total - stored, bytes=(total - stored) * 1000
        )
        if fetched:
            coordinator.fleet.see(at_work(fetched), watch.seconds)
        return watched.snapshot()

    coordinator.state = JobState.WAITING
    look(0.0, 30_000, 0)
    coordinator.began = watch.seconds, coordinator.counters, coordinator.outstanding
    coordinator.state = JobState.TRANSFERRING
    look(0.5, 34_500, 12_000)
    early = [look(1.0 + step / 2, 34_530 + step * 30, 12_030 + step * 30) for step in range(16)]
    late = [look(9.0 + step / 2, 35_010 + step * 30, 12_510 + step * 30) for step in range(60)]

    assert max(snapshot.rates.objects_now for snapshot in early + late) == pytest.approx(60, rel=0.05)
    assert late[-1].rates.objects_mean == pytest.approx(60, rel=0.05)
    assert late[-1].estimate.seconds == pytest.approx(late[-1].outstanding.objects / 60, rel=0.05)
    assert late[-1].estimate.high < 1.2 * late[-1].estimate.seconds
    stages = late[-1].stages
    assert stages["fetched"].objects == stages["settled"].objects == stages["booked"].objects


def test_what_is_booked_was_settled_and_written_though_no_pulse_has_said_so_yet(coordinator):
    monitor = Monitor(coordinator, Watch(), "photos", "upyun://photos", None, [])
    coordinator.began = 0.0, coordinator.counters, coordinator.outstanding
    coordinator.fleet.see(at_work(500), 100.0)
    coordinator.counters = Counters(listed=5000, stored=700, bytes=700)

    stages = monitor.snapshot().stages

    assert stages["written"].objects == stages["settled"].objects == stages["booked"].objects == 700


class Told:
    """A reporter that keeps what is told."""

    def __init__(self):
        self.events = []

    def note(self, level, event, text):
        self.events.append(event)

    def show(self, snapshot):
        pass


async def look(monitor):
    """Have it look once."""
    watching = asyncio.create_task(monitor.run())
    await asyncio.sleep(0)
    watching.cancel()


def test_a_job_says_that_it_waits_for_another_day_and_that_it_goes_on():
    coordinator = Coordinator(
        CoordinatorParameters(budget=Budget(requests_a_day=100)), Moment(0.0, 0.0, "2026-05-01")
    )
    told = Told()
    monitor = Monitor(coordinator, SystemClock(), "photos", "upyun://photos", None, [told])

    asyncio.run(look(monitor))
    coordinator.budget.spent.add(1000, 100, "2026-05-01")
    asyncio.run(look(monitor))
    asyncio.run(look(monitor))
    coordinator.at = Moment(0.0, 0.0, "2026-05-02")
    asyncio.run(look(monitor))

    assert told.events == ["budget.spent", "budget.renewed"]


def test_a_clock_that_is_set_changes_no_duration_of_the_session(coordinator):
    watch = Watch()
    monitor = Monitor(coordinator, watch, "photos", "upyun://photos", None, [])

    watch.seconds += 60.0
    watch.set_by = -2 * 86400.0

    assert monitor.snapshot().seconds == 60.0


def test_a_process_that_died_is_told_once_and_only_of_those_that_were_seen_alive():
    events = ProcessEvents()
    old, new = at_work(0), at_work(0)
    old.deaths, new.incarnation = 3, "2"
    assert list(events.look([old, new])) == []

    new.deaths = 1
    told = [*events.look([old, new]), *events.look([old, new])]

    assert told == [
        ("warning", "process.died", "machine m1", "a process of machine m1 died: another one does its work")
    ]


def test_bytes_count_in_the_speed_as_they_arrive_and_once(coordinator):
    """An object of 60 MB arrives within 30 seconds and is counted at their end."""
    watch = Watch()
    coordinator.began = watch.seconds, coordinator.counters, coordinator.outstanding
    monitor = Monitor(coordinator, watch, "photos", "upyun://photos", None, [])

    def speed(seconds, arriving, objects=0, size=0):
        watch.seconds = 100.0 + seconds
        coordinator.fleet.see(replace(at_work(objects), bytes=size, arriving=arriving), watch.seconds)
        return monitor.snapshot().rates.bytes_now

    speeds = [speed(step / 2, step * 1_000_000) for step in range(1, 60)]
    assert speeds[-1] == pytest.approx(2e6)
    assert monitor.snapshot().rates.bytes_mean == pytest.approx(2e6)
    assert monitor.snapshot().counters.bytes == 0
    assert speed(30.0, 0, 1, 60_000_000) == pytest.approx(2e6)


def test_what_came_of_a_transfer_that_failed_is_no_speed(coordinator):
    watch = Watch()
    coordinator.began = watch.seconds, coordinator.counters, coordinator.outstanding
    monitor = Monitor(coordinator, watch, "photos", "upyun://photos", None, [])
    for seconds, arriving in ((1.0, 5_000_000), (2.0, 9_000_000), (3.0, 0)):
        watch.seconds = 100.0 + seconds
        coordinator.fleet.see(replace(at_work(0), arriving=arriving), watch.seconds)
        rates = monitor.snapshot().rates

    assert rates.bytes_now == rates.bytes_mean == 0


def test_while_a_large_object_arrives_nobody_is_told_that_nothing_comes(coordinator):
    """Meanwhile another one is asked for again and again, and refused with a short text."""
    watch, told = Watch(), Told()
    monitor = Monitor(coordinator, watch, "photos", "upyun://photos", None, [told])

    def hear(second, arriving):
        watch.seconds = 100.0 + second
        refusal = second % 2 * 500
        pulse = replace(at_work(0), arriving=arriving + refusal, retries={"throttled": second})
        coordinator.fleet.see(pulse, watch.seconds)
        asyncio.run(look(monitor))

    for second in range(60):
        hear(second, second * 1_000_000)
    assert told.events == ["machine.joined"]

    for second in range(60, 120):
        hear(second, 0)
    assert told.events == ["machine.joined"] + ["source.silent"] * 3


@pytest.mark.parametrize("waits", ["paused", "tries again later"])
def test_while_nothing_is_asked_of_the_source_it_is_not_said_to_be_silent(coordinator, waits):
    watch, told = Watch(), Told()
    monitor = Monitor(coordinator, watch, "photos", "upyun://photos", None, [told])

    def look_at(second, asked):
        watch.seconds = 100.0 + second
        coordinator.fleet.see(replace(at_work(0), retries={"connect": asked}), watch.seconds)
        asyncio.run(look(monitor))

    look_at(0, 1)
    if waits == "paused":
        coordinator.state = JobState.PAUSED
    else:
        coordinator.outstanding.again_at = watch.now() + 60.0
    for second in range(1, 60):
        look_at(second, 1)
    coordinator.state, coordinator.outstanding.again_at = JobState.TRANSFERRING, 0.0
    for second in range(60, 67):
        look_at(second, second)
    assert told.events == ["machine.joined"]

    for second in range(67, 75):
        look_at(second, second)
    assert told.events == ["machine.joined", "source.silent"]


def test_what_is_said_while_no_machine_has_joined_ends_with_the_first_that_does(coordinator):
    watch = Watch()
    watched = Monitor(coordinator, watch, "photos", "upyun://photos", None, [])
    watched.invitation = "no machine has joined"
    coordinator.state = JobState.WAITING

    watch.seconds += 6.0
    asyncio.run(look(watched))
    coordinator.fleet.see(at_work(1), watch.seconds)
    coordinator.fleet.see(replace(at_work(1), machine="m2"), watch.seconds)
    asyncio.run(look(watched))

    invitation, first, second = watched.snapshot().notes
    assert (invitation.text, first.event, second.event) == (
        "no machine has joined",
        "machine.joined",
        "machine.joined",
    )
    assert invitation.about == first.about != second.about


def test_a_cap_counts_for_the_time_left_unless_it_is_another_at_another_time_of_day(coordinator):
    watch, total = Watch(), 200_000
    watched = Monitor(coordinator, watch, "photos", "upyun://photos", None, [])
    coordinator.began = watch.seconds, coordinator.counters, coordinator.outstanding
    for second in range(60):
        watch.seconds += 1
        stored = 60 * second
        coordinator.counters = Counters(
            listed=total, listed_bytes=total * 1000, stored=stored, bytes=stored * 1000
        )
        coordinator.outstanding = Outstanding(
            batches=170, objects=total - stored, bytes=(total - stored) * 1000
        )
        watched.snapshot()
    coordinator.limits = replace(coordinator.limits, bytes_per_second=6000.0)

    capped = watched.snapshot().estimate.seconds
    watched.has_timetable = lambda: True
    by_speed = watched.snapshot().estimate.seconds

    assert capped == pytest.approx(coordinator.outstanding.bytes / 6000)
    assert by_speed == pytest.approx(coordinator.outstanding.bytes / 60_000, rel=0.05)
