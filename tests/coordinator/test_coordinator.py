"""What the coordinator decides: who gets work, who is told what, and how a job ends. In virtual time."""

import pytest
from tests.coordinator.desk import Desk

from bucketpull.domain.batching import decode_parts, draft, encode_parts, spans_of
from bucketpull.domain.budget import Budget
from bucketpull.domain.errors import JournalError, Reason, SourceRefused
from bucketpull.domain.messages import (
    BatchReceipt,
    Begun,
    Fatal,
    Goodbye,
    Handback,
    Limits,
    Poison,
    Pulse,
    Removed,
    ScanReceipt,
    Verdict,
)
from bucketpull.domain.model import (
    Extent,
    Former,
    LaneStatus,
    Part,
    Position,
    VolumeState,
    VolumeStatus,
    WorkKind,
)

NAMES = [b"n%02d" % number for number in range(20)]


def disk(machine="m1", state=VolumeState.OPEN, objects=20):
    size = 1 << 40
    return VolumeStatus(
        f"{machine}a", machine, f"/{machine}", state, size, size, 9, 9, 0, 0, objects, 10 * objects, 0.0
    )


def pulse(machine="m1", *volumes, window=9, scan_window=0, holds=(), **changes):
    usual = {"incarnation": f"of {machine}", "version": "1", "processes": 1, "objects": 0, "bytes": 0}
    counts = {"retries": {}, "failures": {}, "lanes": {}}
    return Pulse(
        machine=machine, window=window, scan_window=scan_window, holds=list(holds),
        volumes=list(volumes or [disk(machine)]), **(usual | counts | changes),
    )  # fmt: skip


def stored(work, machine="m1", **changes):
    """Say that all of a batch was stored."""
    objects = sum(len(part.names) for part in decode_parts(work.body))
    extents = [Extent(f"{machine}a", work.id)]
    return BatchReceipt(work.id, machine, stored=objects, bytes=10 * objects, extents=extents, **changes)


def has_stop(controls):
    return any(control.stop for control in controls)


@pytest.fixture
def start(in_memory):
    """Start a coordinator of a job with twenty objects in four batches."""

    def make(names=NAMES, **policy):
        return Desk(in_memory(names, 5), **policy)

    return make


def test_a_job_is_given_out_booked_confirmed_and_ended(start):
    desk = start()
    desk.hear(pulse())
    works = desk.works("m1")
    assert (len(works), desk.coordinator.state) == (4, "transferring")

    receipts = [stored(work) for work in works]
    desk.hear(*receipts)
    controls = desk.controls("m1")
    assert sorted(work for control in controls for work in control.booked) == [work.id for work in works]
    assert has_stop(controls)
    assert set(map(id, receipts)) <= set(map(id, desk.settled))

    desk.hear(Goodbye("m1", "of m1"))
    assert desk.has_ended
    desk.coordinator.conclude()
    assert desk.coordinator.state == "complete"
    assert desk.coordinator.counters.stored == 20


@pytest.mark.parametrize(
    ("objects", "state", "missing"), [(19, "incomplete", 1), (0, "incomplete", 20), (30, "complete", 0)]
)
def test_a_job_is_complete_only_if_the_ledgers_hold_what_its_books_count(start, objects, state, missing):
    desk = start()
    desk.hear(pulse())
    desk.hear(*[stored(work) for work in desk.works("m1")])
    desk.hear(pulse("m1", disk(objects=objects)), Goodbye("m1", "of m1"))
    desk.coordinator.conclude()
    assert (desk.coordinator.state, desk.coordinator.missing) == (state, missing)


def test_volumes_that_nobody_ever_told_of_hold_nothing(start):
    desk = start()
    desk.hear(pulse())
    forged = [
        BatchReceipt(work.id, "m1", stored=5, bytes=50, extents=[Extent("nowhere", 0)])
        for work in desk.works("m1")
    ]
    desk.hear(*forged)
    desk.hear(pulse("m1", disk(objects=0)), Goodbye("m1", "of m1"))
    desk.coordinator.conclude()
    assert (desk.coordinator.state, desk.coordinator.missing) == ("incomplete", 20)


def test_a_volume_that_could_not_tell_at_the_end_proves_nothing(start):
    desk = start(stop_seconds=1.0)
    desk.hear(pulse())
    desk.hear(*[stored(work) for work in desk.works("m1")])
    desk.wait(3.0, pulse("m1", disk(objects=0)))
    assert desk.has_ended
    desk.coordinator.conclude()
    assert (desk.coordinator.state, desk.coordinator.missing) == ("complete", 0)


def test_a_machine_is_given_no_more_than_its_window_and_the_rest_when_it_has_room(start):
    desk = start()
    desk.hear(pulse(window=1))
    (first,) = desk.works("m1")
    desk.hear(pulse(window=1, holds=[first.id]))
    assert desk.works("m1") == []
    desk.hear(stored(first))
    assert len(desk.works("m1")) == 1


def test_scans_go_to_those_who_list_and_not_while_much_is_outstanding(in_memory):
    desk = Desk(in_memory(), high_water=10)
    desk.hear(pulse(scan_window=4))
    (scan,) = desk.works("m1")
    assert (scan.kind, desk.coordinator.state) == (WorkKind.SCAN, "listing")

    desk.hear(ScanReceipt(scan.id, "m1", positions=[Position(b"x")]))
    (scan,) = desk.works("m1")
    desk.hear(ScanReceipt(scan.id, "m1"))
    assert has_stop(desk.controls("m1"))


def test_what_is_handed_back_is_given_again(start):
    desk = start()
    desk.hear(pulse(window=1))
    (work,) = desk.works("m1")
    desk.hear(Handback([work.id], "m1"))
    assert [again.id for again in desk.works("m1")] == [work.id]


def test_a_receipt_that_comes_second_does_not_count_and_its_machine_is_told_so_when_it_asks(start):
    desk = start()
    desk.hear(pulse(window=1))
    (work,) = desk.works("m1")
    desk.hear(pulse("m2", window=0), stored(work))
    desk.controls("m1")
    late = BatchReceipt(
        work.id, "m2", stored=5, bytes=50, extents=[Extent("m2a", 7)]
    )  # fmt: skip
    desk.hear(late)
    assert desk.coordinator.counters.stored == 5
    assert not any(control.booked or control.verdicts for control in desk.controls("m2"))

    spans = spans_of(decode_parts(work.body))
    desk.hear(pulse("m2", window=0, clears=True, begun=[Begun(work.id, "m2a", 7, spans)]))
    verdicts = [verdict for control in desk.controls("m2") for verdict in control.verdicts]
    assert verdicts == [Verdict(work.id, [Extent("m2a", 7)], [Extent("m2a", 7)], [])]


def test_what_is_left_of_a_batch_stays_with_its_machine_and_with_nobody_if_that_has_gone(start):
    desk = start()
    desk.hear(pulse(window=1))
    (work,) = desk.works("m1")
    part = decode_parts(work.body)[0]
    rest = Part(b"", "", part.names[1:], part.sizes[1:], part.mtimes[1:])

    receipt = BatchReceipt(work.id, "m1", stored=1, bytes=10, remainder=draft([rest]), next_part=7)
    desk.hear(receipt)
    assert desk.coordinator.counters.stored == 1
    assert work.id in desk.coordinator.fleet.members["m1"].sent[WorkKind.BATCH]

    again = BatchReceipt(
        work.id, "m3", stored=1, bytes=10, part=7, remainder=draft([Part(b"", "", part.names[2:], part.sizes[2:], part.mtimes[2:])]),
        next_part=8,
    )  # fmt: skip
    desk.hear(again)
    assert [again.id for again in desk.works("m1")] == [work.id]


def test_a_machine_that_falls_silent_loses_its_work_to_others(start):
    desk = start(silence_seconds=5.0)
    desk.hear(pulse(), pulse("m2", window=0))
    mine = {work.id for work in desk.works("m1")}
    desk.wait(6, pulse("m2"))

    assert "m1" in desk.forgotten
    assert {work.id for work in desk.works("m2")} == mine


def test_nobodys_silence_counts_while_nobody_can_be_heard(start):
    desk = start(silence_seconds=5.0)
    desk.hear(pulse())
    for _ in range(20):
        desk.hear(hears=False)
    desk.hear(after=1.0)
    assert "m1" in desk.coordinator.fleet.members


def test_work_of_a_machine_that_an_earlier_coordinator_had_goes_to_others_if_it_does_not_come_back(in_memory):
    journal = in_memory(NAMES, 5)
    journal.claim(WorkKind.BATCH, 9, "m9", 1.0)
    desk = Desk(journal, silence_seconds=5.0)
    desk.hear(pulse())
    assert desk.works("m1") == []
    desk.wait(6, pulse())
    assert len(desk.works("m1")) == 4


def test_stop_lets_the_local_worker_hand_back_and_leave(start):
    desk = start(local_machines=frozenset({"m1"}))
    desk.hear(pulse(), pulse("m2", window=0))
    desk.also(desk.coordinator.stop())
    desk.also(desk.coordinator.stop())
    assert (desk.coordinator.state, has_stop(desk.controls("m1")), has_stop(desk.controls("m2"))) == (
        "interrupted", True, False,
    )  # fmt: skip

    desk.hear(pulse(begun=[]))
    assert not desk.has_ended
    desk.hear(Goodbye("m1", "of m1"))
    assert desk.has_ended
    desk.coordinator.conclude()
    assert desk.coordinator.state == "interrupted"


def test_stop_waits_no_longer_than_it_is_told(start):
    desk = start(local_machines=frozenset({"m1"}), stop_seconds=3.0)
    desk.hear(pulse())
    desk.also(desk.coordinator.stop())
    desk.wait(4, pulse())
    assert desk.has_ended


def test_a_refusal_ends_the_job_for_all(start):
    desk = start(local_machines=frozenset({"m1"}))
    desk.hear(pulse(), pulse("m2"))
    desk.hear(Fatal("m1", Reason.CREDENTIALS, "no"), Fatal("m2", Reason.BANNED, "not heard any more"))
    assert desk.coordinator.state == "refused"
    assert has_stop(desk.controls("m1"))
    assert has_stop(desk.controls("m2"))
    desk.hear(Goodbye("m1", "of m1"), Goodbye("m2", "of m2"))
    assert desk.has_ended
    with pytest.raises(SourceRefused, match="no"):
        desk.coordinator.raise_refusal()


def test_a_refusal_of_another_machine_ends_the_job_only_if_no_machine_is_left(start):
    desk = start(local_machines=frozenset({"lister"}), refusal_seconds=5.0)
    lister = pulse("lister", window=0)
    lister.volumes = []
    desk.hear(lister, pulse("m2"), pulse("m3"))
    desk.hear(Fatal("m2", Reason.CREDENTIALS, "of m2"))
    desk.wait(7, lister, pulse("m3"))
    assert desk.coordinator.refusal is None

    desk.hear(Fatal("m3", Reason.CREDENTIALS, "of m3"), Goodbye("m2", "of m2"), Goodbye("m3", "of m3"))
    desk.wait(8, lister)
    assert desk.coordinator.refusal is not None
    assert desk.coordinator.refusal.detail == "of m3"


def test_limits_are_shared_out_at_once_reminded_of_and_a_pause_gives_out_nothing(start):
    desk = start(remind_seconds=5.0)
    desk.also(desk.coordinator.set_limits(Limits(paused=True)))
    desk.hear(pulse())
    assert (desk.works("m1"), desk.coordinator.state) == ([], "paused")
    assert desk.controls("m1")[-1].limits.paused
    desk.hear(pulse())
    assert desk.controls("m1") == []
    desk.wait(6, pulse())
    assert len(desk.controls("m1")) == 1

    desk.also(desk.coordinator.set_limits(Limits()))
    desk.hear(pulse())
    assert len(desk.works("m1")) == 4


def test_a_volume_more_is_for_its_machine(start):
    desk = start()
    desk.hear(pulse())
    desk.controls("m1")
    desk.also(desk.coordinator.add_volume("/new", "m1"))
    (control,) = desk.controls("m1")
    assert control.add_volumes == ["/new"]


def test_without_volumes_it_waits_and_without_room_it_says_so_or_ends(start):
    desk = start(exits_when_full=True)
    empty = pulse(window=0)
    empty.volumes = []
    desk.hear(empty)
    assert desk.coordinator.state == "waiting"
    full = pulse("m1", disk(state=VolumeState.FULL), window=0)
    desk.hear(full)
    desk.wait(3, full)
    assert (desk.coordinator.state, desk.has_ended) == ("no-room", False)
    desk.wait(60, full)
    desk.coordinator.conclude()
    assert desk.coordinator.state == "no-room"


def test_a_drained_volume_is_insisted_on_until_its_machine_says_so_and_a_lost_one_is_lost(start):
    desk = start()
    desk.coordinator.asked["m1a"] = VolumeState.DRAINING
    desk.hear(pulse())
    assert [control.drain_volumes for control in desk.controls("m1") if control.drain_volumes] == [["m1a"]]
    assert desk.coordinator.fleet.volumes["m1a"].state is VolumeState.DRAINING
    desk.hear(pulse("m1", disk(state=VolumeState.DRAINING)))
    assert not any(control.drain_volumes for control in desk.controls("m1"))

    desk.coordinator.asked["m1a"] = VolumeState.LOST
    desk.hear(pulse("m1", disk(state=VolumeState.SICK)))
    assert desk.coordinator.fleet.volumes["m1a"].state is VolumeState.LOST


def test_a_message_that_nobody_understands_is_a_failure(start):
    desk = start()
    desk.hear(Poison("m1", "81a1"), Poison("m2", "81a1"))
    assert sum(desk.coordinator.counters.failures.values()) == 1


def test_a_journal_whose_disk_is_nearly_full_ends_the_job_in_order(start):
    desk = start(local_machines=frozenset({"m1"}))
    desk.hear(pulse())
    desk.trouble = JournalError("no room")
    desk.hear(pulse(), after=6.0)
    desk.hear(pulse(), after=6.0)
    assert desk.coordinator.trouble is not None
    assert has_stop(desk.controls("m1"))
    with pytest.raises(JournalError, match="no room"):
        desk.coordinator.raise_refusal()


def test_any_other_error_of_the_journal_is_raised(start):
    desk = start()
    desk.trouble = JournalError("broken")
    with pytest.raises(JournalError, match="broken"):
        desk.hear(stored(desk.journal.claim(WorkKind.BATCH, 1, "m1", 1.0)[0]))


def lanes(size, requests):
    return {"files": LaneStatus(0, 1.0, requests, 0, 1.0, True, size)}


def test_a_trial_gives_out_so_many_objects_and_ends_when_they_are_booked(start):
    desk = start(budget=Budget(objects=7))
    desk.hear(pulse())
    works = desk.works("m1")
    assert sum(len(part.names) for work in works for part in decode_parts(work.body)) == 7
    desk.hear(*[stored(work) for work in works])
    assert desk.coordinator.state == "budget-spent"
    assert has_stop(desk.controls("m1"))


def test_what_comes_back_of_a_trial_is_given_out_again(start):
    desk = start(budget=Budget(objects=5))
    desk.hear(pulse())
    (work,) = desk.works("m1")
    desk.hear(BatchReceipt(work.id, "m1", returned=draft(decode_parts(work.body))))
    assert len(desk.works("m1")) == 1


def test_a_budget_of_bytes_ends_the_job_when_it_is_used_up_and_is_kept_in_the_journal(start):
    desk = start(budget=Budget(bytes=100))
    desk.hear(pulse(window=1))
    desk.hear(pulse(window=1, lanes=lanes(60, 2)))
    desk.hear(pulse(window=1, lanes=lanes(60, 2)), after=3.0)
    assert desk.journal.spending().bytes == 60
    desk.hear(pulse(window=1, lanes=lanes(120, 4)))
    assert desk.coordinator.state == "budget-spent"
    desk.wait(60, pulse(window=0))
    desk.coordinator.conclude()
    assert (desk.has_ended, desk.coordinator.state) == (True, "budget-spent")
    assert desk.journal.spending().bytes == 120


@pytest.mark.parametrize("bounds", [{"bytes": 100}, {"bytes_a_day": 100}])
def test_a_budget_that_was_just_enough_leaves_the_job_complete(start, bounds):
    desk = start(budget=Budget(**bounds), local_machines=frozenset({"m1"}))
    desk.hear(pulse())
    works = desk.works("m1")
    desk.hear(pulse(lanes=lanes(120, 4)))
    desk.hear(*[stored(work) for work in works])
    desk.hear(pulse("m1", disk(objects=100)), Goodbye("m1", "of m1"))
    desk.wait(60)
    desk.coordinator.conclude()
    assert (desk.has_ended, desk.coordinator.state) == (True, "complete")


def test_a_budget_of_a_day_pauses_until_tomorrow(start):
    desk = start(budget=Budget(requests_a_day=3))
    desk.hear(pulse(window=1, lanes=lanes(60, 4)))
    desk.hear(pulse(window=9, lanes=lanes(60, 4)))
    assert desk.coordinator.state == "budget-spent"
    assert desk.controls("m1")[-1].limits.paused
    assert not desk.has_ended


def test_copies_that_count_no_more_are_removed_before_all_leave(start):
    desk = start()
    desk.hear(pulse(), pulse("m2", window=0))
    *works, last = desk.works("m1")
    former = Former("m2a", [0], "m1a", encode_parts([Part(b"", "", [NAMES[-1]], [10], [1])]))
    desk.hear(*[stored(work) for work in works], stored(last, former=[former]))
    desk.hear(pulse(), pulse("m2", window=0))
    removals = [copy for control in desk.controls("m2") for copy in control.remove]
    assert [copy.volume for copy in removals] == ["m2a"]
    assert not has_stop(desk.controls("m1"))

    desk.hear(pulse(), pulse("m2", window=0))
    assert not any(control.remove for control in desk.controls("m2"))
    desk.hear(Removed("m2", [copy.id for copy in removals]), pulse("m2", window=0), pulse())
    desk.hear(pulse(), pulse("m2", window=0))
    assert has_stop(desk.controls("m1"))


def test_at_the_end_it_waits_a_little_for_machines_that_are_away(start):
    desk = start(local_machines=frozenset({"lister"}), linger_seconds=5.0)
    desk.journal.see_volumes([disk("m3")])
    lister = pulse("lister", window=0)
    lister.volumes = []
    desk.hear(lister, pulse())
    works = desk.works("m1")
    desk.hear(*[stored(work) for work in works])
    desk.wait(2, lister)
    assert (desk.coordinator.state, desk.has_ended) == ("finishing", False)
    desk.wait(20, lister)
    assert desk.has_ended


def test_a_machine_that_asks_is_told_what_became_of_its_batches_and_given_those_that_nobody_has(start):
    desk = start()
    desk.hear(pulse(window=1))
    (work,) = desk.works("m1")
    desk.hear(stored(work), pulse("m2", window=0))
    desk.controls("m2")
    unknown = next(id_ for id_ in range(1, 99) if desk.journal.holders([id_]) == {id_: ""})
    desk.hear(pulse("m2", window=0, begun=[Begun(work.id, "m2a", -1), Begun(unknown, "m2a", -1)]))
    verdicts = [verdict for control in desk.controls("m2") for verdict in control.verdicts]
    assert verdicts == [Verdict(work.id)]
    assert [again.id for again in desk.works("m2")] == [unknown]


def test_a_job_with_failures_is_incomplete(start):
    desk = start()
    desk.hear(Poison("m1", "81a1"), pulse())
    desk.hear(*[stored(work) for work in desk.works("m1")])
    desk.hear(Goodbye("m1", "of m1"))
    desk.coordinator.conclude()
    assert desk.coordinator.state == "incomplete"
    desk.coordinator.raise_refusal()
