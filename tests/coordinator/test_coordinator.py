"""What the coordinator decides: who gets work, who is told what, and how a job ends. In virtual time."""

import pytest
from tests.coordinator.harness import Harness

from bucketpull.coordinator.budget_watch import BudgetWatch
from bucketpull.coordinator.fleet import RESTORED, Fleet
from bucketpull.domain import budget
from bucketpull.domain.batching import batch_of, decode_batch, encode_batch, encode_parts, spans_of
from bucketpull.domain.budget import Budget, Spending
from bucketpull.domain.endpoints import State
from bucketpull.domain.errors import JournalError, Reason, SourceRefused
from bucketpull.domain.messages import (
    BatchReceipt,
    BatchVerdict,
    Begun,
    Fatal,
    Goodbye,
    Handback,
    Poison,
    Pulse,
    Removed,
    ScanReceipt,
    Work,
)
from bucketpull.domain.model import Extent, Former, Part, Position, WorkKind
from bucketpull.domain.status import EndpointStatus, VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits

NAMES = [b"n%02d" % number for number in range(20)]


def disk(machine="m1", state=VolumeState.OPEN, objects=20):
    size = 1 << 40
    return VolumeStatus(
        f"{machine}a", machine, f"/{machine}", state, size, size, 9, 9, 0, 0, objects, 10 * objects, 0.0
    )


def pulse(machine="m1", *volumes, window=9, scan_window=0, holds=(), **changes):
    usual = {"incarnation": f"of {machine}", "version": "1", "processes": 1, "objects": 0, "bytes": 0}
    counts = {"retries": {}, "failures": {}, "endpoints": {}}
    return Pulse(
        machine=machine, window=window, scan_window=scan_window, holds=list(holds),
        volumes=list(volumes or [disk(machine)]), **(usual | counts | changes),
    )  # fmt: skip


def stored(work, machine="m1", **changes):
    """Say that all of a batch was stored."""
    objects = sum(len(part.names) for part in decode_batch(work.body).parts)
    extents = [Extent(f"{machine}a", work.id)]
    return BatchReceipt(work.id, machine, stored=objects, bytes=10 * objects, extents=extents, **changes)


def has_stop(controls):
    return any(control.stop for control in controls)


@pytest.fixture
def start(in_memory):
    """Start a coordinator of a job with twenty objects in four batches."""

    def make(names=NAMES, **parameters):
        return Harness(in_memory(names, 5), **parameters)

    return make


def test_a_job_is_given_out_booked_confirmed_and_ended(start):
    harness = start()
    harness.hear(pulse())
    works = harness.works("m1")
    assert (len(works), harness.coordinator.state) == (4, "transferring")

    receipts = [stored(work) for work in works]
    harness.hear(*receipts)
    controls = harness.controls("m1")
    assert sorted(work for control in controls for work in control.booked) == [work.id for work in works]
    assert has_stop(controls)
    assert set(map(id, receipts)) <= set(map(id, harness.settled))

    harness.hear(Goodbye("m1", "of m1"))
    assert harness.has_ended
    harness.coordinator.conclude()
    assert harness.coordinator.state == "complete"
    assert harness.coordinator.counters.stored == 20


@pytest.mark.parametrize(
    ("objects", "state", "missing"), [(19, "incomplete", 1), (0, "incomplete", 20), (30, "complete", 0)]
)
def test_a_job_is_complete_only_if_the_ledgers_hold_what_its_books_count(start, objects, state, missing):
    harness = start()
    harness.hear(pulse())
    harness.hear(*[stored(work) for work in harness.works("m1")])
    harness.hear(pulse("m1", disk(objects=objects)), Goodbye("m1", "of m1"))
    harness.coordinator.conclude()
    assert (harness.coordinator.state, harness.coordinator.missing) == (state, missing)
    assert harness.coordinator.lost == missing


def test_volumes_that_nobody_ever_told_of_hold_nothing(start):
    harness = start()
    harness.hear(pulse())
    forged = [
        BatchReceipt(work.id, "m1", stored=5, bytes=50, extents=[Extent("nowhere", 0)])
        for work in harness.works("m1")
    ]
    harness.hear(*forged)
    harness.hear(pulse("m1", disk(objects=0)), Goodbye("m1", "of m1"))
    harness.coordinator.conclude()
    assert (harness.coordinator.state, harness.coordinator.missing) == ("incomplete", 20)


def test_a_volume_that_could_not_tell_at_the_end_proves_nothing(start):
    harness = start(stop_seconds=1.0)
    harness.hear(pulse())
    harness.hear(*[stored(work) for work in harness.works("m1")])
    harness.wait(3.0, pulse("m1", disk(objects=0)))
    assert harness.has_ended
    harness.coordinator.conclude()
    assert (harness.coordinator.state, harness.coordinator.missing) == ("complete", 0)


def test_a_machine_is_given_no_more_than_its_window_and_the_rest_when_it_has_room(start):
    harness = start()
    harness.hear(pulse(window=1))
    (first,) = harness.works("m1")
    harness.hear(pulse(window=1, holds=[first.id]))
    assert harness.works("m1") == []
    harness.hear(stored(first))
    assert len(harness.works("m1")) == 1


def test_scans_go_to_those_who_list_and_not_while_much_is_outstanding(in_memory):
    harness = Harness(in_memory(), high_water=10)
    harness.hear(pulse(scan_window=4))
    (scan,) = harness.works("m1")
    assert (scan.kind, harness.coordinator.state) == (WorkKind.SCAN, "listing")

    harness.hear(ScanReceipt(scan.id, "m1", positions=[Position(b"x")]))
    (scan,) = harness.works("m1")
    harness.hear(ScanReceipt(scan.id, "m1"))
    assert has_stop(harness.controls("m1"))


def test_what_is_handed_back_is_given_again(start):
    harness = start()
    harness.hear(pulse(window=1))
    (work,) = harness.works("m1")
    harness.hear(Handback([work.id], "m1"))
    assert [again.id for again in harness.works("m1")] == [work.id]


def test_a_receipt_that_comes_second_does_not_count_and_its_machine_is_told_so_when_it_asks(start):
    harness = start()
    harness.hear(pulse(window=1))
    (work,) = harness.works("m1")
    harness.hear(pulse("m2", window=0), stored(work))
    harness.controls("m1")
    late = BatchReceipt(
        work.id, "m2", stored=5, bytes=50, extents=[Extent("m2a", 7)]
    )  # fmt: skip
    harness.hear(late)
    assert harness.coordinator.counters.stored == 5
    assert not any(control.booked or control.verdicts for control in harness.controls("m2"))

    spans = spans_of(decode_batch(work.body).parts)
    harness.hear(pulse("m2", window=0, clears=1, begun=[Begun(work.id, "m2a", 7, spans)]))
    verdicts = [verdict for control in harness.controls("m2") for verdict in control.verdicts]
    assert verdicts == [BatchVerdict(work.id, [Extent("m2a", 7)], [Extent("m2a", 7)], [])]


def test_what_is_left_of_a_batch_stays_with_its_machine_and_with_nobody_if_that_has_gone(start):
    harness = start()
    harness.hear(pulse(window=1))
    (work,) = harness.works("m1")
    part = decode_batch(work.body).parts[0]
    rest = Part(b"", "", part.names[1:], part.sizes[1:], part.mtimes[1:])

    receipt = BatchReceipt(work.id, "m1", stored=1, bytes=10, remainder=batch_of([rest]), next_part=7)
    harness.hear(receipt)
    assert harness.coordinator.counters.stored == 1
    assert work.id in harness.coordinator.fleet.members["m1"].sent[WorkKind.BATCH]

    again = BatchReceipt(
        work.id, "m3", stored=1, bytes=10, part=7, remainder=batch_of([Part(b"", "", part.names[2:], part.sizes[2:], part.mtimes[2:])]),
        next_part=8,
    )  # fmt: skip
    harness.hear(again)
    assert [again.id for again in harness.works("m1")] == [work.id]


def test_a_machine_that_falls_silent_loses_its_work_to_others(start):
    harness = start(silence_seconds=5.0)
    harness.hear(pulse(), pulse("m2", window=0))
    mine = {work.id for work in harness.works("m1")}
    harness.wait(6, pulse("m2"))

    assert "m1" in harness.forgotten
    assert {work.id for work in harness.works("m2")} == mine


def test_nobodys_silence_counts_while_nobody_can_be_heard(start):
    harness = start(silence_seconds=5.0)
    harness.hear(pulse())
    for _ in range(20):
        harness.hear(hears=False)
    harness.hear(after=1.0)
    assert "m1" in harness.coordinator.fleet.members


def test_work_of_a_machine_that_an_earlier_coordinator_had_goes_to_others_if_it_does_not_come_back(in_memory):
    journal = in_memory(NAMES, 5)
    journal.claim(WorkKind.BATCH, 9, "m9", 1.0)
    harness = Harness(journal, silence_seconds=5.0)
    harness.hear(pulse())
    assert harness.works("m1") == []
    harness.wait(6, pulse())
    assert len(harness.works("m1")) == 4


def test_stop_lets_the_local_worker_hand_back_and_leave(start):
    harness = start(local_machine="m1")
    harness.hear(pulse(), pulse("m2", window=0))
    harness.also(harness.coordinator.stop())
    harness.also(harness.coordinator.stop())
    assert (harness.coordinator.state, has_stop(harness.controls("m1")), has_stop(harness.controls("m2"))) == (
        "interrupted", True, False,
    )  # fmt: skip

    harness.hear(pulse(begun=[]))
    assert not harness.has_ended
    harness.hear(Goodbye("m1", "of m1"))
    assert harness.has_ended
    harness.coordinator.conclude()
    assert harness.coordinator.state == "interrupted"


def test_a_local_worker_that_has_not_said_a_word_yet_is_told_to_stop_too(start):
    """The job ended, and then waited for it for fifty seconds."""
    harness = start(local_machine="m1")
    harness.also(harness.coordinator.stop())
    assert has_stop(harness.controls("m1"))
    harness.hear()
    assert harness.has_ended


def test_stop_waits_no_longer_than_it_is_told(start):
    harness = start(local_machine="m1", stop_seconds=3.0)
    harness.hear(pulse())
    harness.also(harness.coordinator.stop())
    harness.wait(4, pulse())
    assert harness.has_ended


def test_a_refusal_ends_the_job_for_all(start):
    harness = start(local_machine="m1")
    harness.hear(pulse(), pulse("m2"))
    harness.hear(Fatal("m1", Reason.CREDENTIALS, "no"), Fatal("m2", Reason.BANNED, "not heard any more"))
    assert harness.coordinator.state == "refused"
    assert has_stop(harness.controls("m1"))
    assert has_stop(harness.controls("m2"))
    harness.hear(Goodbye("m1", "of m1"), Goodbye("m2", "of m2"))
    assert harness.has_ended
    with pytest.raises(SourceRefused, match="no"):
        harness.coordinator.raise_refusal()


def test_a_refusal_of_another_machine_ends_the_job_only_if_no_machine_is_left(start):
    harness = start(local_machine="lister", refusal_seconds=5.0)
    lister = pulse("lister", window=0)
    lister.volumes = []
    harness.hear(lister, pulse("m2"), pulse("m3"))
    harness.hear(Fatal("m2", Reason.CREDENTIALS, "of m2"))
    harness.wait(7, lister, pulse("m3"))
    assert harness.coordinator.refusal is None

    harness.hear(Fatal("m3", Reason.CREDENTIALS, "of m3"), Goodbye("m2", "of m2"), Goodbye("m3", "of m3"))
    harness.wait(8, lister)
    assert harness.coordinator.refusal is not None
    assert harness.coordinator.refusal.detail == "of m3"


def test_limits_are_shared_out_at_once_reminded_of_and_a_pause_gives_out_nothing(start):
    harness = start(remind_seconds=5.0)
    harness.also(harness.coordinator.set_limits(Limits(paused=True)))
    harness.hear(pulse())
    assert (harness.works("m1"), harness.coordinator.state) == ([], "paused")
    assert harness.controls("m1")[-1].limits.paused
    harness.hear(pulse())
    assert harness.controls("m1") == []
    harness.wait(6, pulse())
    assert len(harness.controls("m1")) == 1

    harness.also(harness.coordinator.set_limits(Limits()))
    harness.hear(pulse())
    assert len(harness.works("m1")) == 4


def test_a_volume_more_is_for_its_machine(start):
    harness = start()
    harness.hear(pulse())
    harness.controls("m1")
    harness.also(harness.coordinator.add_volume("/new", "m1"))
    (control,) = harness.controls("m1")
    assert control.add_volumes == ["/new"]


def test_without_volumes_it_waits_and_without_room_it_says_so_or_ends(start):
    harness = start(exits_when_full=True)
    empty = pulse(window=0)
    empty.volumes = []
    harness.hear(empty)
    assert harness.coordinator.state == "waiting"
    full = pulse("m1", disk(state=VolumeState.FULL), window=0)
    harness.hear(full)
    harness.wait(3, full)
    assert (harness.coordinator.state, harness.has_ended) == ("no-room", False)
    harness.wait(60, full)
    harness.coordinator.conclude()
    assert harness.coordinator.state == "no-room"


def test_without_room_it_ends_so_where_a_machine_that_is_away_is_waited_for_too(start):
    harness = start(exits_when_full=True, local_machine="lister")
    harness.journal.see_volumes([disk("m1")])
    full = pulse("m2", disk("m2", state=VolumeState.FULL), window=0)
    harness.hear(full)
    harness.wait(60, full)
    harness.coordinator.conclude()
    assert (harness.has_ended, harness.coordinator.state) == (True, "no-room")


def test_a_drained_volume_is_insisted_on_until_its_machine_says_so_and_a_lost_one_is_lost(start):
    harness = start()
    harness.coordinator.asked["m1a"] = VolumeState.DRAINING
    harness.hear(pulse())
    assert [control.drain_volumes for control in harness.controls("m1") if control.drain_volumes] == [["m1a"]]
    assert harness.coordinator.fleet.volumes["m1a"].state is VolumeState.DRAINING
    harness.hear(pulse("m1", disk(state=VolumeState.DRAINING)))
    assert not any(control.drain_volumes for control in harness.controls("m1"))

    harness.coordinator.asked["m1a"] = VolumeState.LOST
    harness.hear(pulse("m1", disk(state=VolumeState.SICK)))
    assert harness.coordinator.fleet.volumes["m1a"].state is VolumeState.LOST


def test_a_message_that_nobody_understands_is_a_failure(start):
    harness = start()
    harness.hear(Poison("m1", "81a1"), Poison("m2", "81a1"))
    assert sum(harness.coordinator.counters.failures.values()) == 1


def test_a_journal_whose_disk_is_nearly_full_ends_the_job_in_order(start):
    harness = start(local_machine="m1")
    harness.hear(pulse())
    harness.trouble = JournalError("no room")
    harness.hear(pulse(), after=6.0)
    harness.hear(pulse(), after=6.0)
    assert harness.coordinator.trouble is not None
    assert has_stop(harness.controls("m1"))
    harness.coordinator.conclude()
    assert harness.coordinator.state == "incomplete"  # exit 3, as that of the error
    with pytest.raises(JournalError, match="no room"):
        harness.coordinator.raise_refusal()


def test_any_other_error_of_the_journal_is_raised(start):
    harness = start()
    harness.trouble = JournalError("broken")
    with pytest.raises(JournalError, match="broken"):
        harness.hear(stored(harness.journal.claim(WorkKind.BATCH, 1, "m1", 1.0)[0]))


def counted(size, requests):
    return {"files": EndpointStatus(0, 1.0, requests, 0, 1.0, True, size)}


def test_a_trial_gives_out_so_many_objects_and_ends_when_they_are_booked(start):
    harness = start(budget=Budget(objects=7), local_machine="m1")
    harness.hear(pulse())
    works = harness.works("m1")
    assert sum(len(part.names) for work in works for part in decode_batch(work.body).parts) == 7
    harness.hear(*[stored(work) for work in works])
    assert harness.coordinator.state == "budget-spent"
    assert has_stop(harness.controls("m1"))
    harness.hear(Goodbye("m1", "of m1"))
    assert {each.state for each in harness.coordinator.fleet.volume_statuses(0.0)} == {VolumeState.OPEN}


def test_what_comes_back_of_a_trial_is_given_out_again(start):
    harness = start(budget=Budget(objects=5))
    harness.hear(pulse())
    (work,) = harness.works("m1")
    harness.hear(BatchReceipt(work.id, "m1", returned=batch_of(decode_batch(work.body).parts)))
    assert len(harness.works("m1")) == 1


@pytest.mark.parametrize("leaves", [True, False], ids=["leaves", "is lost"])
def test_what_a_machine_has_of_a_trial_is_given_to_another_when_it_is_gone(start, leaves):
    harness = start(budget=Budget(objects=7), silence_seconds=5.0)
    harness.hear(pulse())
    stays, goes = harness.works("m1")
    harness.hear(pulse("m2"), stored(stays))
    if leaves:
        harness.hear(Handback([goes.id], "m1"), Goodbye("m1", "of m1"), pulse("m2"))
    else:
        harness.wait(7, pulse("m2"))

    assert objects_of(harness.works("m2")) == objects_of([goes])
    assert harness.coordinator.state == "transferring"


def test_a_receipt_that_comes_too_late_to_count_changes_no_trial(start):
    harness = start(budget=Budget(objects=7))
    harness.hear(pulse())
    first, second = harness.works("m1")
    again = BatchReceipt(first.id, "m2", returned=batch_of(decode_batch(first.body).parts))

    harness.hear(stored(first))
    harness.hear(again, pulse("m2"), pulse(holds=[second.id]))

    assert harness.works("m1") + harness.works("m2") == []


def test_a_clock_that_was_far_ahead_keeps_no_job_waiting_for_years():
    today = ["2099-01-01"]
    watch = BudgetWatch(Budget(bytes_a_day=100), lambda: today[0])
    watch.spent.add(100, 1, today[0])

    today[0] = "2026-05-01"
    assert watch.verdict is budget.BudgetState.WAIT_FOR_TOMORROW
    today[0] = "2026-05-02"
    assert watch.verdict is budget.BudgetState.GO_ON


def test_asking_what_a_trial_has_left_changes_nothing_until_machines_are_gone():
    fleet, watch = Fleet(5.0, 5.0), BudgetWatch(Budget(objects=7), lambda: "2026-05-01")
    fleet.see(pulse(), 0.0)
    body = encode_batch(batch_of([Part(b"", "", NAMES[:5], [10] * 5, [1] * 5)]))
    works = [Work(1, WorkKind.BATCH, body)]
    watch.gave(works)
    assert watch.room().objects == watch.room().objects == 2

    fleet.note_sent("m1", WorkKind.BATCH, works, 0.0)
    watch.forget_gone(fleet)
    assert watch.room().objects == 2

    fleet.leave("m1")
    watch.forget_gone(fleet)
    assert watch.room().objects == 7


def test_a_budget_of_bytes_ends_the_job_when_it_is_used_up_and_is_kept_in_the_journal(start):
    harness = start(budget=Budget(bytes=100))
    harness.hear(pulse(window=1))
    harness.hear(pulse(window=1, endpoints=counted(60, 2)))
    harness.hear(pulse(window=1, endpoints=counted(60, 2)), after=3.0)
    assert harness.journal.spending().bytes == 60
    harness.hear(pulse(window=1, endpoints=counted(120, 4)))
    assert harness.coordinator.state == "budget-spent"
    harness.wait(60, pulse(window=0))
    harness.coordinator.conclude()
    assert (harness.has_ended, harness.coordinator.state) == (True, "budget-spent")
    assert harness.journal.spending().bytes == 120


def objects_of(works):
    return sum(len(part.names) for work in works for part in decode_batch(work.body).parts)


def test_machines_together_are_given_no_more_than_a_budget_has_but_for_the_last_object(start):
    harness = start(budget=Budget(bytes=75))
    harness.hear(pulse(window=1), pulse("m2", window=1))
    first, second = harness.works("m1"), harness.works("m2")
    assert (objects_of(first), objects_of(second)) == (5, 3)

    harness.hear(*map(stored, first), *[stored(work, "m2") for work in second], pulse(), pulse("m2"))
    assert objects_of([*harness.works("m1"), *harness.works("m2")]) == 0, "pulses do not tell of it yet"
    harness.hear(pulse(endpoints=counted(40, 5)), pulse("m2", endpoints=counted(30, 3)), after=1.5)
    last = harness.works("m1")
    assert (objects_of(last), objects_of(harness.works("m2"))) == (1, 0), "less was received than listed"
    harness.hear(*map(stored, last), pulse(endpoints=counted(50, 6)), pulse("m2", endpoints=counted(30, 3)))
    assert harness.coordinator.state == "budget-spent"
    assert has_stop(harness.controls("m2"))


def test_what_a_machine_has_of_a_budget_is_free_again_when_it_is_lost(start):
    harness = start(budget=Budget(requests=8), silence_seconds=5.0)
    harness.hear(pulse(window=1), pulse("m2", window=1))
    assert (objects_of(harness.works("m1")), objects_of(harness.works("m2"))) == (5, 3)

    harness.wait(7, pulse("m2", window=2, endpoints=counted(0, 1)))

    assert objects_of(harness.works("m2")) == 4


@pytest.mark.parametrize("bounds", [{"bytes": 75}, {"bytes_a_day": 75}, {"requests": 8}])
def test_what_machines_have_in_hand_when_the_coordinator_comes_back_counts_as_used_up(in_memory, bounds):
    journal = in_memory(NAMES, 5)
    [held] = journal.claim(WorkKind.BATCH, 1, "m1", 1.0)

    harness = Harness(journal, budget=Budget(**bounds), silence_seconds=5.0)
    harness.hear(pulse("m2", window=1))
    assert objects_of(harness.works("m2")) == 3, "m1 was not heard yet"
    harness.hear(pulse(window=1, holds=[held.id]), pulse("m2", window=9))
    assert objects_of(harness.works("m2")) == 0

    harness.wait(7, pulse("m2", window=9))
    assert objects_of(harness.works("m2")) == 5, "m1 is lost, with what it had"


def test_what_a_machine_had_in_hand_is_free_again_if_it_never_comes_back(in_memory):
    journal = in_memory(NAMES, 5)
    journal.claim(WorkKind.BATCH, 1, "m1", 1.0)
    harness = Harness(journal, budget=Budget(requests=8), silence_seconds=5.0)
    harness.hear(pulse("m2", window=1))
    assert objects_of(harness.works("m2")) == 3
    harness.wait(7, pulse("m2", window=9))
    assert objects_of(harness.works("m2")) == 5


def test_when_it_comes_back_to_a_budget_that_is_spent_it_hears_the_machines_before_it_ends(in_memory):
    journal = in_memory(NAMES, 5)
    journal.claim(WorkKind.BATCH, 1, "m1", 1.0)
    journal.note_spending(Spending(bytes=100))
    harness = Harness(journal, budget=Budget(bytes=100), meet_seconds=5.0)
    harness.hear(pulse())
    assert not has_stop(harness.controls("m1"))
    harness.wait(6, pulse(), pulse("m2"))
    assert has_stop(harness.controls("m1"))
    assert has_stop(harness.controls("m2")), "it had nothing in hand, and was heard late"
    assert harness.works("m2") == []


@pytest.mark.parametrize("bounds", [{"bytes": 200}, {"bytes_a_day": 200}])
def test_a_budget_that_was_just_enough_leaves_the_job_complete(start, bounds):
    harness = start(budget=Budget(**bounds), local_machine="m1")
    harness.hear(pulse())
    works = harness.works("m1")
    harness.hear(pulse(endpoints=counted(220, 4)))
    harness.hear(*[stored(work) for work in works])
    harness.hear(pulse("m1", disk(objects=100)), Goodbye("m1", "of m1"))
    harness.wait(60)
    harness.coordinator.conclude()
    assert (harness.has_ended, harness.coordinator.state) == (True, "complete")


def test_a_budget_of_a_day_pauses_until_tomorrow(start):
    harness = start(budget=Budget(requests_a_day=3))
    harness.hear(pulse(window=1, endpoints=counted(60, 4)))
    harness.hear(pulse(window=9, endpoints=counted(60, 4)))
    assert harness.coordinator.state == "budget-spent"
    assert harness.controls("m1")[-1].limits.paused
    assert not harness.has_ended


def test_copies_that_count_no_more_are_removed_before_all_leave(start):
    harness = start()
    harness.hear(pulse(), pulse("m2", window=0))
    *works, last = harness.works("m1")
    former = Former("m2a", [0], "m1a", encode_parts([Part(b"", "", [NAMES[-1]], [10], [1])]))
    harness.hear(*[stored(work) for work in works], stored(last, former=[former]))
    harness.hear(pulse(), pulse("m2", window=0))
    removals = [copy for control in harness.controls("m2") for copy in control.remove]
    assert [copy.volume for copy in removals] == ["m2a"]
    assert not has_stop(harness.controls("m1"))

    harness.hear(pulse(), pulse("m2", window=0))
    assert not any(control.remove for control in harness.controls("m2"))
    harness.hear(Removed("m2", [copy.id for copy in removals]), pulse("m2", window=0), pulse())
    harness.hear(pulse(), pulse("m2", window=0))
    assert has_stop(harness.controls("m1"))


def put_back(harness, ledger_end, **changes):
    """Let a machine be heard; return which of its volumes are told of as put back from an older copy."""
    volume = disk()
    volume.ledger_end = ledger_end
    harness.hear(pulse("m1", volume, window=0, **changes))
    told = harness.coordinator.fleet.volume_statuses(harness.now)
    return [each.id for each in told if each.warning.startswith(RESTORED)]


def test_a_volume_that_was_put_back_from_an_older_copy_is_told_of_as_often_as_it_arrives(start):
    harness = start()
    harness.hear(pulse(window=1))
    [work] = harness.works("m1")
    before = pulse(window=1, incarnation="another")
    harness.hear(before, stored(work))
    assert put_back(harness, work.id + 1) == []
    assert put_back(harness, 0) == []  # it was there all the time

    assert put_back(harness, work.id, incarnation="a third") == ["m1a"]
    assert put_back(harness, work.id, incarnation="a third") == ["m1a"]
    assert harness.journal.where(b"", NAMES[0]) == []


def test_at_the_end_it_waits_a_little_for_machines_that_are_away(start):
    harness = start(local_machine="lister", linger_seconds=5.0)
    harness.journal.see_volumes([disk("m3")])
    lister = pulse("lister", window=0)
    lister.volumes = []
    harness.hear(lister, pulse())
    works = harness.works("m1")
    harness.hear(*[stored(work) for work in works])
    harness.wait(2, lister)
    assert (harness.coordinator.state, harness.has_ended) == ("finishing", False)
    harness.wait(20, lister)
    assert harness.has_ended


def test_at_the_end_the_time_of_waiting_does_not_pass_while_nobody_can_be_heard(start):
    harness = start(local_machine="lister", linger_seconds=5.0)
    harness.journal.see_volumes([disk("m3")])
    lister = pulse("lister", window=0)
    lister.volumes = []
    harness.hear(lister, pulse())
    harness.hear(*[stored(work) for work in harness.works("m1")])
    for _ in range(60):
        harness.hear(lister, hears=False)
    harness.wait(2, lister)
    assert not harness.has_ended, "the machines that were away as well have had no time to come back"
    harness.wait(20, lister)
    assert harness.has_ended


def test_at_the_end_a_machine_that_only_asks_the_same_again_and_again_is_not_waited_for(start):
    harness = start(local_machine="lister", linger_seconds=5.0)
    lister = pulse("lister", window=0)
    lister.volumes = []
    harness.hear(lister, pulse())

    def asking(turn):
        asked = [Begun(97 + (turn + each) % 3, "m1a", each) for each in range(3)]
        return pulse(holds=[97, 98, 99], begun=asked, clears=3)

    harness.hear(asking(0), *[stored(work) for work in harness.works("m1")])
    for turn in range(60):
        assert not harness.has_ended
        harness.hear(lister, asking(turn))
        if has_stop(harness.controls("m1")):
            return
    pytest.fail("it waits for ever")


def test_at_the_end_a_machine_is_waited_for_as_long_as_it_gets_on_with_more_than_it_asks_about_at_once(start):
    harness = start(local_machine="lister", linger_seconds=5.0, removal_seconds=20.0)
    lister = pulse("lister", window=0)
    lister.volumes = []
    harness.hear(lister, pulse())
    harness.hear(pulse(clears=500), *[stored(work) for work in harness.works("m1")])

    def told_to_stop_after(turns, clears, **changes):
        for turn in range(turns):
            asked = [Begun(100 + (turn + each) % 60, "m1a", each) for each in range(50)]
            harness.hear(lister, pulse(begun=asked, clears=clears(turn), **changes))
            if has_stop(harness.controls("m1")):
                return turn
        return turns

    assert told_to_stop_after(120, lambda turn: 500 - turn // 4) == 120
    assert told_to_stop_after(30, lambda _: 400, removes=True) == 30
    assert told_to_stop_after(60, lambda _: 400, removes=True) < 60


def test_a_machine_that_asks_is_told_what_became_of_its_batches_and_given_those_that_nobody_has(start):
    harness = start()
    harness.hear(pulse(window=1))
    (work,) = harness.works("m1")
    harness.hear(stored(work), pulse("m2", window=0))
    harness.controls("m2")
    unknown = next(id_ for id_ in range(1, 99) if harness.journal.holders([id_]) == {id_: ""})
    harness.hear(pulse("m2", window=0, begun=[Begun(work.id, "m2a", -1), Begun(unknown, "m2a", -1)]))
    verdicts = [verdict for control in harness.controls("m2") for verdict in control.verdicts]
    assert verdicts == [BatchVerdict(work.id)]
    assert [again.id for again in harness.works("m2")] == [unknown]


def test_a_job_with_failures_is_incomplete(start):
    harness = start()
    harness.hear(Poison("m1", "81a1"), pulse())
    harness.hear(*[stored(work) for work in harness.works("m1")])
    harness.hear(Goodbye("m1", "of m1"))
    harness.coordinator.conclude()
    assert harness.coordinator.state == "incomplete"
    harness.coordinator.raise_refusal()


def test_machines_are_told_what_is_down_for_all_others_and_when_it_is_not_any_more(start):
    def asking(machine, state, requests=5):
        return pulse(machine, endpoints={"cdn": EndpointStatus(0, 1.0, requests, 0, 0.0, state=state)})

    def down(machine):
        return [control.down for control in harness.controls(machine) if control.down is not None]

    harness = start()
    harness.hear(asking("m1", State.DOWN), asking("m2", State.DOWN), asking("m3", State.UP, requests=0))
    assert [down(machine) for machine in ("m1", "m2", "m3")] == [[["cdn"]]] * 3
    harness.hear(asking("m2", State.UP))
    assert [down(machine) for machine in ("m1", "m2", "m3")] == [[[]], [], [[]]]
    harness.hear(asking("m2", State.UP))
    assert [down(machine) for machine in ("m1", "m2", "m3")] == [[], [], []]
