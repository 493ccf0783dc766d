"""Who is alive, what each was sent, and what got lost."""

import msgspec

from bucketpull.coordinator.fleet import Fleet, RequestedStates
from bucketpull.domain.messages import Pulse, Work
from bucketpull.domain.model import SentWork, WorkKind
from bucketpull.domain.status import EndpointStatus, VolumeState, VolumeStatus

SILENCE, GRACE = 30.0, 10.0


def pulse(machine="m1", holds=(), window=3, incarnation="one", volumes=(), clears=0):
    return Pulse(
        machine=machine, incarnation=incarnation, version="1", processes=1, objects=0, bytes=0, window=window,
        scan_window=0, holds=list(holds), retries={}, failures={}, endpoints={}, volumes=list(volumes), clears=clears,
    )  # fmt: skip


def works(*ids, passes=0):
    return [Work(id_, WorkKind.BATCH, b"", passes) for id_ in ids]


def fleet_of(*machines, now=0.0):
    fleet = Fleet(SILENCE, GRACE)
    for machine in machines:
        fleet.see(pulse(machine), now)
    return fleet


def test_a_worker_gets_as_much_as_its_window_and_no_more():
    fleet = fleet_of("m1")
    assert fleet.members["m1"].allowance(WorkKind.BATCH) == 3
    fleet.note_sent("m1", WorkKind.BATCH, works(1, 2), 1.0)
    assert fleet.members["m1"].allowance(WorkKind.BATCH) == 1
    fleet.note_ended("m1", 1)
    assert fleet.members["m1"].allowance(WorkKind.BATCH) == 2


def test_a_silent_worker_is_dead_unless_nobody_could_be_heard():
    fleet = fleet_of("m1", "m2")
    fleet.see(pulse("m2"), 20.0)
    assert fleet.silent(31.0) == ["m1"]
    fleet.restart_timers(31.0)
    assert fleet.silent(60.0) == []
    assert sorted(fleet.silent(62.0)) == ["m1", "m2"]


def test_nothing_is_in_flight_at_a_worker_that_is_not_heard_any_more():
    fleet = Fleet(SILENCE, GRACE)
    busy = msgspec.structs.replace(
        pulse(), endpoints={"cdn": EndpointStatus(7, 64.0, 900, 0, 1.0, received=5)}, limited_by="cdn"
    )
    fleet.see(busy, 0.0)
    assert fleet.pulses(2.0) == [busy]

    (silent,) = fleet.pulses(3.0)

    assert silent.endpoints["cdn"] == EndpointStatus(0, 0.0, 900, 0, 1.0, received=5)
    assert silent.limited_by == ""
    fleet.restart_timers(4.0)
    (unheard,) = fleet.pulses(5.0)
    assert unheard == silent, "while nobody can be heard, nobody knows either"


def test_nothing_is_written_to_a_volume_whose_machine_is_not_heard_any_more():
    fleet = Fleet(SILENCE, GRACE)
    written = [
        VolumeStatus(path, "m1", path, VolumeState.OPEN, 1, 1, 1, 1, 0, 7, 0, 0, 5e6) for path in ("/w", "/v")
    ]
    fleet.see(pulse(volumes=written), 0.0)
    assert fleet.volume_statuses(2.0) == written[::-1], "sorted, so that rows stay where they are"

    silent = fleet.volume_statuses(3.0)

    assert [(each.path, each.written_per_second, each.queued_bytes) for each in silent] == [
        ("/v", 0.0, 0),
        ("/w", 0.0, 0),
    ]
    fleet.declare_dead("m1")
    assert {each.written_per_second for each in fleet.volume_statuses(3.0)} == {0.0}


def test_volumes_of_a_machine_that_left_are_away_unless_all_leave_at_the_end():
    fleet = Fleet(SILENCE, GRACE)
    states = [VolumeState.OPEN, VolumeState.FULL, VolumeState.SICK]
    for machine in ("m1", "m2"):
        volumes = [
            VolumeStatus(machine + each, machine, each, each, 1, 1, 1, 1, 0, 7, 0, 0, 5e6) for each in states
        ]
        fleet.see(pulse(machine, volumes=volumes), 0.0)

    fleet.leave("m1")
    fleet.leave("m2", at_end=True)

    shown = fleet.volume_statuses(1.0)
    away = [VolumeState.AWAY, VolumeState.AWAY, VolumeState.SICK]
    assert [each.state for each in shown if each.machine == "m1"] == away
    assert {each.state for each in shown if each.machine == "m2"} == set(states)


def test_volumes_of_a_machine_that_came_back_are_there_again():
    fleet = Fleet(SILENCE, GRACE)
    heard = pulse(volumes=[VolumeStatus("v", "m1", "/v", VolumeState.OPEN, 1, 1, 1, 1, 0, 7, 0, 0, 5e6)])
    fleet.see(heard, 0.0)
    fleet.leave("m1")
    fleet.see(heard, 1.0)

    assert [each.state for each in fleet.volume_statuses(1.0)] == [VolumeState.OPEN]


def test_limits_are_shared_by_those_who_take_objects():
    fleet = Fleet(SILENCE, GRACE)
    disk = [VolumeStatus("v", "m1", "/v", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0)]
    fleet.see(pulse("roomy", volumes=disk), 0.0)
    fleet.see(pulse("full", volumes=disk, window=0), 0.0)
    assert fleet.takers == 1
    fleet.note_sent("full", WorkKind.BATCH, works(1), 0.0)
    assert fleet.takers == 2, "what it has in hand still comes"


def test_a_volume_that_was_given_up_is_not_asked_for_again():
    sick = VolumeStatus(
        "v", "m1", "/v", VolumeState.SICK, 1, 1, 1, 1, 0, 0, 0, 0, 0.0, detail="mount it again"
    )
    told = pulse(volumes=[sick])
    assert RequestedStates(v=VolumeState.LOST).applied(told) == []
    assert [(each.state, each.detail) for each in told.volumes] == [(VolumeState.LOST, "given up")]


def test_nobody_waits_for_the_listing_once_all_is_listed():
    fleet = Fleet(SILENCE, GRACE)
    idle = msgspec.structs.replace(pulse(), limited_by="work")
    fleet.see(idle, 0.0)
    assert fleet.pulses(1.0) == [idle]
    (full,) = fleet.pulses(1.0, all_listed=True)
    assert full.limited_by == ""


def test_a_machine_that_is_held_back_by_its_share_of_what_the_source_bears_is_not_said_to_be_by_an_option():
    fleet = Fleet(SILENCE, GRACE)
    shared = msgspec.structs.replace(pulse(), limited_by="rate")
    fleet.see(shared, 0.0)
    assert fleet.pulses(1.0) == [shared]
    (told,) = fleet.pulses(1.0, has_rate=False)
    assert told.limited_by == "source"


def test_the_dead_leave_their_work_and_their_volumes_are_away():
    fleet = Fleet(SILENCE, GRACE)
    fleet.see(
        pulse(volumes=[VolumeStatus("v", "m1", "/v", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0)]), 0.0
    )
    fleet.note_sent("m1", WorkKind.BATCH, works(1, 2), 1.0)
    assert fleet.declare_dead("m1") == [1, 2]
    assert fleet.volumes["v"].state is VolumeState.AWAY
    assert fleet.leave("m1") == []


def test_work_that_is_not_held_for_the_time_of_grace_is_lost_once():
    fleet = fleet_of("m1")
    fleet.note_sent("m1", WorkKind.BATCH, works(1, 2), 1.0)
    fleet.see(pulse(holds=[2]), 12.0)
    assert fleet.lost() == [1]
    assert fleet.lost() == []


def test_work_that_was_held_long_has_its_grace_from_then_on():
    fleet = fleet_of("m1")
    fleet.note_sent("m1", WorkKind.BATCH, works(1), 1.0)
    for now in range(2, 100):
        fleet.see(pulse(holds=[1]), float(now))
    fleet.see(pulse(holds=[]), 105.0)  # its receipt is on its way
    assert fleet.lost() == []
    fleet.see(pulse(holds=[]), 112.0)
    assert fleet.lost() == [1]


def test_what_an_earlier_coordinator_sent_is_adopted_by_its_machine_or_abandoned():
    fleet = Fleet(SILENCE, GRACE)
    fleet.inherit(
        [SentWork(work, WorkKind.BATCH, machine) for work, machine in ((1, "m1"), (2, "m2"), (3, "m1"))]
    )
    fleet.see(pulse("m1", holds=[1]), 5.0)
    assert fleet.members["m1"].allowance(WorkKind.BATCH) == 1
    fleet.see(pulse("m1", holds=[1]), 16.0)
    assert fleet.lost() == [3]
    assert fleet.abandoned() == [2]
    assert fleet.abandoned() == []


def test_what_an_earlier_coordinator_sent_and_is_given_elsewhere_or_ended_is_not_abandoned():
    fleet = Fleet(SILENCE, GRACE)
    fleet.inherit([SentWork(work, WorkKind.BATCH, "m1") for work in (1, 2, 3)])
    fleet.see(pulse("m2"), 1.0)
    fleet.note_ended("m1", 1)
    fleet.note_ended("m2", 2)
    fleet.note_sent("m2", WorkKind.BATCH, works(3), 2.0)
    assert fleet.batches() == {2, 3}
    assert fleet.abandoned() == [2]


def test_a_remainder_told_before_its_machine_is_heard_again_stays_with_it():
    fleet = Fleet(SILENCE, GRACE)
    fleet.inherit([SentWork(1, WorkKind.BATCH, "m1"), SentWork(2, WorkKind.BATCH, "m1")])
    assert fleet.note_kept("m1", 1, 1.0)
    assert not fleet.note_kept("m2", 2, 1.0)
    assert fleet.abandoned() == [1]


def test_a_worker_started_again_is_told_from_one_that_goes_on():
    fleet = fleet_of("m1")
    assert not fleet.is_new(pulse("m1"))
    assert fleet.is_new(pulse("m1", incarnation="two"))
    assert fleet.is_new(pulse("m2"))


def test_present_are_those_heard_lately_that_hold_and_ask_nothing():
    fleet = fleet_of("m1", "m2", "m3", now=10.0)
    fleet.see(pulse("m2", holds=[1]), 10.0)
    fleet.see(pulse("m3", clears=1), 10.0)
    assert fleet.present(11.0) == {"m1"}
    assert fleet.present(14.0) == set()


def test_what_is_left_of_a_batch_stays_with_the_machine_that_reported_a_part():
    fleet = fleet_of("m1", "m2")
    fleet.note_sent("m2", WorkKind.BATCH, works(1), 1.0)
    assert fleet.note_kept("m1", 1, 2.0)
    assert (fleet.leave("m1"), fleet.leave("m2")) == ([1], [])
    assert not fleet.note_kept("m3", 1, 3.0)


def test_deferred_batches_never_take_all_places_while_there_are_others():
    member = fleet_of("m1").members["m1"]
    assert (member.late_allowance(1), member.late_allowance(20)) == (4, 10)
    member.note_sent(WorkKind.BATCH, works(*range(4), passes=1), 0.0)
    assert (member.late_allowance(1), member.late_allowance(20)) == (0, 10)
    member.note_sent(WorkKind.BATCH, works(*range(4, 100), passes=1), 0.0)
    assert member.late_allowance(20) == 0
    del member.sent[WorkKind.BATCH][0]
    assert member.late_allowance(20) == 1
