import msgspec
import pytest

from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.scheduler import BATCHES_MOST, HELD_MOST, Load, Scheduler, limited_by
from bucketpull.domain.messages import Tick
from bucketpull.domain.status import EndpointStatus, VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits
from bucketpull.transport.rabbitmq_worker import PREFETCH


class Open:
    is_open = True
    is_sick = False
    status = VolumeStatus("v", "m", "/v", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0)

    def __init__(self):
        self.queued, self.written = {}, {}

    def silent_seconds(self, now):
        return 0.0


def tick(*, still=0.0, key="", unstarted=0, objects=0):
    return Tick(objects, 0, unstarted, {}, {}, {}, {}, {}, waiting_for=key, still_seconds=still)


@pytest.fixture
def scheduler():
    scheduler = Scheduler("alpha", 2)
    scheduler.volumes["v"] = Open()
    return scheduler


def pulse_of(scheduler, held=0, at=1.0):
    return scheduler.pulse(AgentParameters("alpha", "journal", "0.1.0", "1"), [], held, at)


def test_smaller_batches_are_asked_for_in_greater_number(scheduler):
    assert pulse_of(scheduler, 3).window == 3 + 4

    for _ in range(50):
        scheduler.note_batch(80)

    assert 45 <= pulse_of(scheduler).window <= 55

    for _ in range(50):
        scheduler.note_batch(1)
    assert pulse_of(scheduler, 300).window == BATCHES_MOST
    assert pulse_of(scheduler, 450).window == 450 + 4
    assert pulse_of(scheduler, HELD_MOST - 1).window == HELD_MOST
    assert pulse_of(scheduler, HELD_MOST).window == HELD_MOST < PREFETCH, "else no word would come through"


def test_a_few_small_batches_among_large_ones_do_not_fill_the_disks_with_promises(scheduler):
    for _ in range(50):
        scheduler.note_batch(8)  # what others handed back
    scheduler.unstarted = [1500, 1500]

    assert pulse_of(scheduler, 12).window <= 12 + 4, "those in hand have 250 objects each"


def test_ticks_that_come_in_a_lump_are_no_speed(scheduler):
    for at, objects in ((1.0, 0), (1.5, 50), (2.0, 100), (40.0, 150), (40.00001, 200), (40.00002, 4000)):
        scheduler.tick(0, tick(objects=objects), at)
    assert pulse_of(scheduler).window == 4, "two thousand objects for each process, as at the start"
    for at, objects in ((40.5, 8000), (41.0, 12000)):
        scheduler.tick(0, tick(objects=objects), at)
    assert pulse_of(scheduler).window == 22, "8,000 a second is a speed"


def frozen(scheduler, begin, end, *, step=1.0, ticking=()):
    """Look every second; return who is found to stand still, and when first."""
    now = begin
    while now < end:
        now += step
        for process in ticking:
            scheduler.tick(process, tick(), now)
        found = scheduler.frozen_processes(now)
        if found:
            return found, now - begin
    return [], None


def test_a_process_that_says_nothing_for_two_minutes_stands_still(scheduler):
    for process in (0, 1):
        scheduler.tick(process, tick(), 0.0)
    assert frozen(scheduler, 0.0, 300.0, ticking=[0]) == ([1], 121.0)
    scheduler.forget(1, 300.0)
    assert frozen(scheduler, 300.0, 600.0, ticking=[0]) == ([1], 122.0)  # the new one says nothing either


def test_nobody_stands_still_who_waits_for_a_disk_or_slept_with_the_machine(scheduler):
    scheduler.tick(0, tick(), 0.0)
    assert frozen(scheduler, 0.0, 1000.0, step=200.0) == ([], None)
    scheduler.volumes["v"].silent_seconds = lambda now: 9.0
    assert frozen(scheduler, 1000.0, 1300.0) == ([], None)


def test_a_pulse_names_what_has_been_waited_for_longest(scheduler):
    scheduler.tick(0, tick(still=12.0, key="a/short"), 1.0)
    scheduler.tick(1, tick(still=42.0, key="a/long"), 1.0)

    pulse = pulse_of(scheduler)

    assert (pulse.waiting_for, pulse.still_seconds) == ("a/long", 42.0)


def test_a_process_that_is_gone_waits_for_nothing(scheduler):
    scheduler.tick(1, tick(still=42.0, key="a/long"), 1.0)
    scheduler.forget(1, 1.0)

    assert pulse_of(scheduler).waiting_for == ""
    assert pulse_of(scheduler).deaths == 1


def use(scheduler, at, objects, *, arriving=0):
    received = objects * 1000 + arriving
    cdn = EndpointStatus(9, 9.0, objects, 0, 1.0, is_origin=False, received=received)
    told = tick(objects=objects)
    scheduler.tick(1, msgspec.structs.replace(told, endpoints={"cdn": cdn}, arriving=arriving), at)


def used(scheduler):
    cdn = pulse_of(scheduler).endpoints["cdn"]
    assert not cdn.is_origin
    assert not cdn.in_flight
    return cdn.requests, cdn.received


def test_what_a_process_had_used_when_it_was_killed_counts_once_though_it_told_nobody(scheduler):
    use(scheduler, 1.0, 0)
    use(scheduler, 1.5, 50)

    scheduler.forget(1, 1.7)

    # Those in flight at its last word were among its requests.
    assert used(scheduler) == (50 + 20, 70_000)
    assert pulse_of(scheduler).objects == 50


def test_what_a_killed_process_had_not_finished_was_received_for_nothing(scheduler):
    use(scheduler, 1.0, 0)
    use(scheduler, 1.5, 0, arriving=4000)

    scheduler.forget(1, 1.75)

    assert used(scheduler) == (0, 6000)
    assert pulse_of(scheduler).wasted == {"interrupted": 4000}


def test_what_arrives_is_told_of_all_processes_but_those_that_are_gone(scheduler):
    scheduler.tick(0, msgspec.structs.replace(tick(), arriving=500), 1.0)
    scheduler.tick(1, msgspec.structs.replace(tick(), arriving=4000, partial=70_000), 1.0)
    assert pulse_of(scheduler).arriving == 74_500

    scheduler.forget(1, 1.2)

    assert pulse_of(scheduler).arriving == 500


def test_processes_that_are_killed_before_they_told_a_speed_count_by_that_of_the_one_before(scheduler):
    use(scheduler, 1.0, 0)
    use(scheduler, 1.5, 50)
    scheduler.forget(1, 1.5)
    scheduler.tick(1, tick(), 2.0)

    scheduler.forget(1, 2.2)

    assert used(scheduler) == (70, 70_000)


def test_a_process_that_is_killed_before_its_first_word_had_used_nothing(scheduler):
    use(scheduler, 1.0, 0)
    use(scheduler, 1.5, 50)
    scheduler.forget(1, 1.5)

    scheduler.forget(1, 9.0)

    assert used(scheduler) == (50, 50_000)


@pytest.mark.parametrize(("cpu", "limit"), [([0.5, 1.0], ""), ([0.2, 1.8], "cpu")])
def test_a_process_that_computes_all_the_time_is_what_limits(cpu, limit):
    endpoints = {"cdn": EndpointStatus(10, 64.0, 100, 0, 1.0)}

    before, now = Load(0.0, endpoints, [0.0, 0.0]), Load(2.0, endpoints, cpu)

    assert limited_by(before, now, Limits(), [], 100) == limit


@pytest.mark.parametrize(("arriving", "limit"), [(700_000, ""), (950_000, "bandwidth")])
def test_a_cap_on_bandwidth_limits_though_no_object_is_whole_yet(scheduler, arriving, limit):
    scheduler.limits = Limits(bytes_per_second=1e6)
    use(scheduler, 0.5, 0)
    pulse_of(scheduler, 3)
    cdn = EndpointStatus(1, 9.0, 0, 0, 1.0, is_origin=False, received=arriving)
    scheduler.tick(1, msgspec.structs.replace(tick(unstarted=9), endpoints={"cdn": cdn}), 1.5)

    assert pulse_of(scheduler, 3, at=2.0).limited_by == limit


@pytest.mark.parametrize("held", [0, 3], ids=["lists", "fetches too"])
def test_a_cap_on_requests_holds_back_though_many_of_them_bring_no_object(scheduler, held):
    rated = msgspec.structs.replace(tick(objects=40), is_at_rate=True)
    scheduler.limits = Limits(requests_per_second=100.0)
    scheduler.tick(0, rated, 0.5)
    assert pulse_of(scheduler, held).limited_by == "rate"
