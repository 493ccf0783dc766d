"""What an agent does, event by event: nothing runs but the agent, and time is what the events say."""

from typing import get_args

import msgspec
import pytest

from bucketpull.agent.actions import (
    Call,
    KillProcess,
    OpenVolume,
    StartProcess,
    TellCoordinator,
    TellProcess,
    Verb,
)
from bucketpull.agent.agent import Agent
from bucketpull.agent.clearing import AT_ONCE
from bucketpull.agent.parameters import AgentParameters
from bucketpull.domain.batching import batch_of, decode_parts, encode_batch, encode_parts
from bucketpull.domain.errors import MachineShort, Reason, VolumeError, VolumeFull
from bucketpull.domain.messages import (
    Assignment,
    BatchReceipt,
    BatchVerdict,
    Control,
    Died,
    Fatal,
    Handback,
    Mount,
    Outcome,
    Pulse,
    Release,
    Removed,
    ScanAssignment,
    ScanReceipt,
    Stop,
    Tick,
    Tune,
    Unmount,
    Work,
)
from bucketpull.domain.model import Extent, Former, Part, Span, WorkKind
from bucketpull.domain.record import Block, Record
from bucketpull.domain.status import EndpointStatus, VolumeState
from bucketpull.domain.user_limits import Limits
from bucketpull.testing.memory_volume import MemoryVolume
from bucketpull.transport import wire

encode = msgspec.msgpack.encode
NAMES = [b"n%d" % number for number in range(8)]


def part(*names, size=10, mtime=5):
    return Part(b"d", "", list(names), [size] * len(names), [mtime] * len(names))


def batch(id_, *parts, **fields):
    return Work(id_, WorkKind.BATCH, encode_batch(batch_of(parts or [part(*NAMES)])), **fields)


def names_in(assignments):
    """Return the names of all objects that were assigned, in order."""
    given = (part for tell in assignments for part in decode_parts(tell.message.parts))
    return sorted(name for part in given for name in part.names)


class Harness:
    """An agent, its volumes, and what it wanted: `told` by process, `said`, `replaced` and `opened`.

    Calls of volumes are carried out at once, but for those to a volume in `hanging`.
    """

    def __init__(self, *volumes, processes=2, **parameters):
        self.now = 100.0
        self.volumes = {volume.id: volume for volume in volumes or (MemoryVolume("v1"),)}
        self.hanging = set()
        self.told, self.said, self.killed, self.started, self.opened = [], [], [], [], []
        self.agent = Agent(AgentParameters("m1", "j", "1", "i1", **parameters), processes, self.now)
        for volume in self.volumes.values():
            self.agent.volume_opened(volume.status(), {}, self.now)
        self.act()

    def act(self):
        while actions := self.agent.actions():
            for action in actions:
                self.do(action)

    def do(self, action):
        if isinstance(action, TellProcess):
            self.told.append(action)
        elif isinstance(action, TellCoordinator):
            self.said.append(action.message)
            self.agent.delivered(action.message, self.now)
        elif isinstance(action, KillProcess):
            self.killed.append(action.process)
        elif isinstance(action, StartProcess):
            self.started.append(action.process)
        elif isinstance(action, OpenVolume):
            self.opened.append(action.path)
        elif action.ask.volume not in self.hanging:
            self.call(action)

    def call(self, call: Call):
        try:
            answer = getattr(self.volumes[call.ask.volume], call.ask.verb)(*call.ask.arguments)
        except VolumeError as error:
            answer = error
        self.agent.disk_answered(call.id, answer, self.now)

    def give(self, *messages):
        self.agent.received(messages, self.now)
        self.act()

    def control(self, **fields):
        self.give(Control(fields.pop("limits", Limits()), **fields))

    def hear(self, message, process=0):
        self.agent.process_sent(process, message, self.now)
        self.act()

    def unmounts(self):
        return [(tell.process, tell.message) for tell in self.told if isinstance(tell.message, Unmount)]

    def wait(self, seconds, step=0.25):
        until = self.now + seconds
        while self.now < until:
            self.now += step
            self.agent.wake(self.now)
            self.act()

    def assignments(self):
        return [tell for tell in self.told if isinstance(tell.message, Assignment)]

    def store(self, tell, *names, rest=()):
        """Say that an assignment's objects are stored, or some of them."""
        found = decode_parts(tell.message.parts)[0]
        wanted = names or found.names
        volume = self.volumes[tell.message.volume]
        for name in wanted:
            volume.write(found.directory, name, 10, 5)
        count = len(wanted)
        records = [Record(found.directory, found.cursor, list(wanted), [10] * count, [5] * count)]
        left = [part(*rest)] if rest else []
        outcome = Outcome(
            tell.message.id,
            count,
            10 * count,
            encode(records),
            [],
            [],
            [],
            rest=left,
        )
        self.hear(outcome, tell.process)

    def receipts(self):
        return [message for message in self.said if isinstance(message, BatchReceipt)]

    def pulse(self):
        return [message for message in self.said if isinstance(message, Pulse)][-1]


def test_a_batch_is_noted_assigned_settled_and_reported():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    assert harness.volumes["v1"].pending("j") == [(7, [])]

    harness.store(tell)

    (receipt,) = harness.receipts()
    assert (receipt.work, receipt.stored, receipt.bytes, receipt.extents) == (7, 8, 80, [Extent("v1", 0)])
    assert harness.agent.pulse().volumes[0].ledger_end == 1  # not less than the receipt says
    assert not harness.agent.is_quiet
    harness.control(booked=[7])
    assert harness.agent.is_quiet
    assert harness.volumes["v1"].pending("j") == []


def test_a_machine_is_quiet_when_its_notes_are_gone_and_not_before():
    harness = Harness()
    harness.give(batch(7))
    harness.store(*harness.assignments())
    harness.wait(1.0)
    assert harness.pulse().clears == 1

    harness.agent.received([Control(Limits(), booked=[7])], harness.now)
    (forget,) = harness.agent.actions()

    assert forget.ask.verb == "forget"
    assert not harness.agent.is_quiet
    harness.call(forget)
    harness.act()
    assert harness.agent.is_quiet
    assert harness.pulse().clears == 0


def damaged(batch):
    return msgspec.structs.replace(batch, body=b"\xc1 no parts")


def test_objects_are_placed_and_booked_by_what_is_said_of_them_without_reading_their_names():
    harness = Harness()
    harness.give(Work(7, WorkKind.BATCH, encode_batch(damaged(batch_of([part(*NAMES)])))))
    (tell,) = harness.assignments()
    records = encode([Record(b"d", "", NAMES, [10] * 8, [5] * 8)])
    harness.hear(Outcome(tell.message.id, 8, 80, records, [], [], []))
    harness.wait(1.0)
    (receipt,) = harness.receipts()
    assert (receipt.stored, receipt.bytes) == (8, 80)


def test_stragglers_are_the_next_part_of_their_batch():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    harness.wait(6.0)
    harness.store(tell, *NAMES[:6], rest=NAMES[6:])
    harness.wait(1.0)
    harness.store(tell, *NAMES[6:])

    first, second = harness.receipts()
    assert (first.part, first.stored, first.remainder.parts[0].names) == (0, 6, NAMES[6:])
    assert (second.part, second.stored, second.remainder) == (first.next_part, 2, None)
    assert first.next_part > 0


def test_a_part_is_not_reported_while_another_of_its_outcomes_is_being_settled():
    harness = Harness(MemoryVolume("v1", free_bytes=4 * 4200), MemoryVolume("v2", free_bytes=4 * 4200))
    harness.give(batch(7))
    one, other = harness.assignments()
    harness.wait(6.0)
    harness.hanging.add(one.message.volume)
    harness.store(one, *decode_parts(one.message.parts)[0].names)
    harness.store(other)
    harness.wait(2.0)
    assert harness.receipts() == []


def test_smaller_disks_share_a_batch_and_what_fits_nowhere_is_returned():
    harness = Harness(MemoryVolume("v1", free_bytes=3 * 4200), MemoryVolume("v2", free_bytes=3 * 4200))
    harness.give(batch(7))
    for tell in harness.assignments():
        harness.store(tell)
    harness.wait(0.5)

    (receipt,) = harness.receipts()
    assert (receipt.stored, receipt.returned.objects) == (6, 2)
    assert harness.pulse().window == 0


def test_scans_go_to_the_process_with_the_fewest_and_again_when_it_dies():
    harness = Harness()
    harness.give(*(Work(number, WorkKind.SCAN, b"\x90") for number in (1, 2, 3)))
    assert [tell.process for tell in harness.told if isinstance(tell.message, ScanAssignment)] == [0, 1, 0]
    harness.hear(ScanReceipt(1, ""), 0)
    assert harness.said[-1] == ScanReceipt(1, "m1")
    harness.hear(ScanReceipt(77, ""), 0)
    assert len(harness.said) == 1

    harness.told.clear()
    harness.hear(Died(), 0)
    assert [type(tell.message) for tell in harness.told] == [Tune, Mount, ScanAssignment]
    assert harness.agent.holds() == {2, 3}


def test_the_successor_of_a_dead_process_learns_limits_and_volumes_before_it_is_given_anything():
    harness = Harness(processes=1)
    harness.control(limits=Limits(bytes_per_second=1000.0))
    harness.give(batch(7))

    harness.agent.process_sent(0, Died(), harness.now)

    started, *told, asked = harness.agent.actions()
    assert started == StartProcess(0)
    assert [type(tell.message) for tell in told] == [Tune, Mount]
    assert asked.ask.verb == "recover"
    assert told[0].message.limits.bytes_per_second == 1000.0


def test_each_process_is_told_its_share_of_the_bandwidth_when_the_need_changes_and_so_is_a_successor():
    harness = Harness()
    harness.control(limits=Limits(bytes_per_second=1000.0))
    for received in (0, 500, 1000, 1500):
        harness.wait(0.5)
        cdn = EndpointStatus(1, 9.0, 1, 0, 1.0, received=received)
        harness.hear(Tick(0, 0, 0, {"cdn": cdn}, {}, {}, {}, {}), 1)
    harness.hear(Died(), 1)

    tunes = [(tell.process, tell.message) for tell in harness.told if isinstance(tell.message, Tune)]
    assert [process for process, _ in tunes] == [0, 1, 0, 1, 1]
    shares = [tune.limits.bytes_per_second for _, tune in tunes]
    assert shares == pytest.approx([500.0, 500.0, 50.0, 950.0, 950.0])


def test_what_a_process_held_that_dies_while_the_agent_leaves_is_handed_back():
    harness = Harness(processes=1)
    harness.give(batch(7))
    harness.agent.stop(harness.now)
    harness.act()

    harness.hear(Died())

    assert harness.started == []
    assert len(harness.assignments()) == 1
    assert sum(len(part.names) for part in harness.receipts()[-1].returned.parts) == len(NAMES)
    assert harness.agent.is_empty


def test_what_is_not_begun_is_handed_back_at_the_end_and_what_is_stored_is_kept():
    harness = Harness()
    harness.give(Work(1, WorkKind.SCAN, b"\x90"), batch(7))
    (tell,) = harness.assignments()
    harness.control(stop=True)
    assert harness.agent.dismissed
    assert [tell.message for tell in harness.told if isinstance(tell.message, Stop)] == [Stop(8.0)] * 2
    assert harness.said[-1] == Handback([1], "m1")
    assert not harness.agent.is_empty

    outcome = Outcome(tell.message.id, 0, 0, b"", [], [], [part(*NAMES)], trouble=Reason.INTERRUPTED)
    harness.hear(outcome, tell.process)
    harness.give(batch(8), batch(9))

    (receipt,) = harness.receipts()
    assert (receipt.work, receipt.returned.objects) == (7, 8)
    assert harness.agent.is_empty
    harness.agent.stop(harness.now)
    assert [m.works for m in harness.said if isinstance(m, Handback)] == [[1], [8], [9]]
    pulse = harness.agent.pulse()
    assert (pulse.window, pulse.scan_window) == (0, 0)


def test_when_others_have_nothing_to_do_half_of_what_is_not_begun_is_handed_back_and_the_rest_goes_on():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    harness.control(release=True)
    assert [tell.process for tell in harness.told if tell.message == Release()] == [0, 1]

    harness.hear(
        Outcome(
            tell.message.id, unplaced=[part(*NAMES[4:])], trouble=Reason.INTERRUPTED, rest=[part(*NAMES[:4])]
        ),
        tell.process,
    )
    harness.wait(6.0)

    (receipt,) = harness.receipts()
    assert (receipt.returned.objects, receipt.remainder.objects) == (4, 4)
    assert len(harness.assignments()) == 1
    harness.store(tell, *NAMES[:4])
    harness.wait(2.0)
    assert [receipt.stored for receipt in harness.receipts()] == [0, 4]


def test_limits_are_shared_out_and_a_refusal_is_passed_on():
    harness = Harness()
    harness.control(limits=Limits(concurrency=9, requests_per_second=10.0, bytes_per_second=100.0))
    tunes = [tell.message for tell in harness.told if isinstance(tell.message, Tune)]
    assert tunes == [Tune(Limits(4, 5.0, 50.0))] * 2

    harness.hear(Fatal("", Reason.CREDENTIALS, "no"))
    assert harness.agent.refusal == Fatal("m1", Reason.CREDENTIALS, "no")
    assert harness.said == [harness.agent.refusal]


def test_volumes_are_drained_taken_again_and_added():
    harness = Harness()
    harness.control(drain_volumes=["/v1"])
    assert harness.agent.scheduler.volumes["v1"].status.state is VolumeState.DRAINING
    harness.wait(0.5)
    assert harness.agent.scheduler.volumes["v1"].status.state is VolumeState.DRAINING
    harness.give(batch(7))
    assert harness.receipts()[0].returned.objects == 8

    harness.control(add_volumes=["/v1", "/v9"])
    assert harness.agent.scheduler.volumes["v1"].is_open
    assert harness.opened == ["/v9"]


def test_former_copies_are_removed_when_nothing_is_in_hand():
    harness = Harness()
    harness.volumes["v1"].write(b"d", b"old", 10, 5)
    harness.give(batch(7))
    copies = [Former(volume, [0], "v2", encode_parts([part(b"old")]), 3) for volume in ("v1", "v9")]
    harness.control(remove=copies)
    assert (b"d", b"old") in harness.volumes["v1"].files
    harness.store(harness.assignments()[-1])
    assert (b"d", b"old") not in harness.volumes["v1"].files
    assert Removed("m1", [3]) in harness.said
    harness.said.clear()
    harness.volumes["v1"].sicken()
    harness.control(remove=copies[:1])
    assert not any(isinstance(message, Removed) for message in harness.said)


def test_an_object_that_kills_its_processes_is_cornered_and_fails_alone():
    harness = Harness(deaths_per_process=1000)
    harness.give(batch(7))
    killer, seen, deaths = NAMES[3], 0, 0
    for _ in range(100):
        new, seen = harness.assignments()[seen:], len(harness.assignments())
        deadly = [tell for tell in new if killer in decode_parts(tell.message.parts)[0].names]
        for tell in new:
            if tell not in deadly:
                harness.store(tell)
        for tell in deadly:
            deaths += 1
            harness.hear(Died(), tell.process)
        harness.wait(1.0)

    failures = [failure for receipt in harness.receipts() for failure in receipt.failures]
    assert [(failure.name, failure.reason) for failure in failures] == [(killer, Reason.POISON)]
    assert sum(receipt.stored for receipt in harness.receipts()) == 7
    assert harness.agent.holds() == set()
    assert deaths == 2 + 6, "it is alone after two, and alone six times"


def test_an_object_that_came_alone_is_blamed_no_sooner_than_one_that_was_cornered():
    """Processes die of something else as well, such as by the hand of who kills them, while slow objects are in hand."""
    harness = Harness(deaths_per_process=1000)
    harness.give(batch(7, part(NAMES[0])))
    for _ in range(6):
        assert harness.receipts() == []
        harness.hear(Died(), harness.assignments()[-1].process)
    (receipt,) = harness.receipts()
    (failure,) = receipt.failures
    assert (failure.reason, failure.attempts) == (Reason.POISON, 6)


def test_what_a_dead_process_left_whole_is_taken_over_and_only_the_rest_is_done_again():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    for name in NAMES[:3]:
        harness.volumes["v1"].write(b"d", name, 10, 5)
    harness.volumes["v1"].write(b"d", NAMES[3], 10, 4)  # the former version

    harness.hear(Died(), tell.process)

    again = harness.assignments()[1:]
    assert names_in(again) == NAMES[3:]
    for each in again:
        harness.store(each)
    harness.wait(6.0)
    receipts = harness.receipts()
    assert sum(receipt.stored for receipt in receipts) == 8
    assert sum(receipt.recovered for receipt in receipts) == 3
    assert sum(receipt.bytes for receipt in receipts) == 80
    assert harness.agent.holds() == set()


def test_a_process_that_dies_when_all_is_written_leaves_nothing_to_be_done():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    for name in NAMES:
        harness.volumes["v1"].write(b"d", name, 10, 5)

    harness.hear(Died(), tell.process)

    assert harness.assignments() == [tell]
    assert harness.receipts()[-1].stored == 8


@pytest.mark.parametrize("then", ["answers", "dies", "fails", "stops"])
def test_while_a_disk_is_asked_what_a_dead_process_left_anything_may_happen(then):
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"), processes=1)
    harness.give(batch(7))
    (tell,) = harness.assignments()
    volume = harness.volumes[tell.message.volume]
    volume.write(b"d", NAMES[0], 10, 5)
    harness.agent.process_sent(0, Died(), harness.now)
    *_, asked = harness.agent.actions()
    if then == "dies":
        harness.hear(Died())
    elif then == "fails":
        volume.sicken()
        harness.wait(1.0)
    elif then == "stops":
        harness.agent.stop(harness.now)

    harness.call(asked)
    harness.act()

    again = harness.assignments()[1:]
    assert names_in(again) == {"fails": NAMES, "stops": []}.get(then, NAMES[1:])
    assert {each.message.volume == volume.id for each in again} <= {then != "fails"}
    for each in again:
        harness.store(each)
    harness.wait(6.0)
    receipts = harness.receipts()
    assert sum(receipt.stored for receipt in receipts) == (1 if then == "stops" else 8)
    assert sum(receipt.returned.objects for receipt in receipts if receipt.returned) == 7 * (then == "stops")


def test_processes_that_only_die_are_a_bug():
    harness = Harness(processes=1, deaths_per_process=3)
    for _ in range(3):
        harness.hear(Died())
    with pytest.raises(RuntimeError, match=r"as soon as they are made$"):
        harness.hear(Died())


def test_a_disk_that_does_not_answer_is_given_up_and_its_batches_go_elsewhere():
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"), hang_seconds=5.0)
    harness.give(batch(7))
    (tell,) = harness.assignments()
    harness.hanging.add(tell.message.volume)
    harness.wait(7.0)
    assert harness.agent.scheduler.volumes[tell.message.volume].is_sick
    assert harness.killed == [tell.process]

    harness.hear(Died(), tell.process)
    second = harness.assignments()[-1]
    assert second.message.volume != tell.message.volume
    harness.store(second)
    assert harness.receipts()[-1].stored == 8


def test_a_disk_that_is_slow_is_named_before_it_is_given_up():
    harness = Harness(hang_seconds=60.0)
    harness.give(batch(7))
    harness.hanging.add("v1")
    harness.wait(15.0)
    assert harness.pulse().waiting_for == "volume /v1"
    assert harness.agent.scheduler.volumes["v1"].is_open
    harness.hear(Tick(0, 0, 0, {}, {"v1": 5}, {"v1": 50}, {}, {}))
    assert harness.agent.scheduler.volumes["v1"].silent_seconds(harness.now) == 0.0


@pytest.mark.parametrize("patience", [2.0, 10.0])
def test_a_ledger_that_cannot_grow_is_tried_again_for_some_seconds(patience):
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"))
    harness.give(batch(7))
    (tell,) = harness.assignments()
    volume = harness.volumes[tell.message.volume]
    volume.settle = _refuse(VolumeFull(volume.path, "no room"))
    harness.store(tell)
    harness.wait(patience)
    del volume.settle
    harness.wait(2.0)
    if patience < 5.0:
        assert [receipt.stored for receipt in harness.receipts()] == [8]
    else:
        harness.store(harness.assignments()[-1])
        assert harness.assignments()[-1].message.volume != volume.id
        assert [receipt.stored for receipt in harness.receipts()] == [8]


@pytest.mark.parametrize("is_last_resort", [True, False])
def test_what_is_larger_than_each_volume_fails_where_no_other_machine_may_have_room(is_last_resort):
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"), is_last_resort=is_last_resort)
    huge = part(b"huge", size=1 << 41)
    harness.give(batch(7, part(b"a", b"b"), huge))
    (tell,) = harness.assignments()
    harness.store(tell)

    (receipt,) = harness.receipts()
    assert receipt.stored == 2
    if is_last_resort:
        (failure,) = receipt.failures
        assert (failure.name, failure.reason, receipt.returned) == (b"huge", Reason.UNSTORABLE, None)
        assert failure.detail == "it has more bytes than the largest volume (1,099,511,627,776)"
    else:
        assert (receipt.failures, receipt.returned.parts) == ([], [huge])


def test_a_full_disk_is_probed_and_used_again():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    outcome = Outcome(tell.message.id, 0, 0, b"", [], [], [part(*NAMES)], Reason.VOLUME_FULL, "quota")
    harness.hear(outcome, tell.process)
    volume = harness.agent.scheduler.volumes["v1"]
    assert volume.status.state is VolumeState.FULL
    harness.volumes["v1"].probe = _refuse(VolumeFull("/v1", "quota"))
    harness.wait(4.0)
    assert volume.status.state is VolumeState.FULL
    del harness.volumes["v1"].probe
    harness.wait(4.0)
    assert volume.is_open


def test_what_lies_on_volumes_is_skipped_replaced_where_it_lies_or_sent_on():
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"))
    harness.give(batch(1, part(NAMES[0], NAMES[1])))
    harness.store(harness.assignments()[-1])
    held = harness.receipts()[-1].extents
    changed = Part(b"d", "", NAMES[:3], [10, 11, 10], [5, 5, 5])

    harness.give(batch(2, changed, candidates=[*held, Extent("v9", 3)], elsewhere=True))
    second = harness.assignments()[-1]
    assert (second.message.volume, decode_parts(second.message.parts)[0].names) == (
        held[0].volume,
        [NAMES[1]],
    )
    harness.store(second)
    receipt = harness.receipts()[-1]
    assert (receipt.skipped, receipt.stored, receipt.sent_on.objects) == (1, 1, 1)
    assert receipt.compared == [held[0].volume]


def test_a_sick_disk_is_let_go_opened_anew_at_growing_intervals_and_used_again():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    harness.volumes["v1"].sicken()
    volume = harness.agent.scheduler.volumes["v1"]
    harness.wait(20.0)
    assert volume.is_sick
    both = [(0, Unmount("v1")), (1, Unmount("v1"))]
    assert harness.unmounts() == both, "nothing more is begun for it, though a batch is in hand"
    outcome = Outcome(tell.message.id, 0, 0, b"", [], [], [part(*NAMES)], Reason.VOLUME_SICK, "I/O error")
    harness.hear(outcome, tell.process)
    harness.wait(20.0)
    assert harness.unmounts() == both * 2, "and it is closed when nothing is"

    harness.volumes["v1"].trouble = None
    harness.told.clear()
    harness.wait(25.0)
    assert volume.is_open
    assert [tell.process for tell in harness.told if isinstance(tell.message, Mount)] == [0, 1]
    harness.give(batch(8))
    harness.store(harness.assignments()[-1])
    assert harness.receipts()[-1].stored == 8


def test_a_machine_that_lacks_open_files_waits_and_blames_no_disk():
    harness = Harness()
    refusals = [MachineShort("/v1", "too many open files")] * 2
    intend = harness.volumes["v1"].intend
    harness.volumes["v1"].intend = lambda *arguments: (
        _raise(refusals.pop()) if refusals else intend(*arguments)
    )
    harness.give(batch(7))
    assert len(harness.assignments()) == 1
    assert harness.agent.scheduler.volumes["v1"].is_open


def test_nothing_is_noted_on_a_disk_that_fails_and_the_batch_goes_to_another():
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"))
    harness.volumes["v1"].sicken()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    assert tell.message.volume == "v2"
    assert harness.agent.scheduler.volumes["v1"].is_sick
    harness.wait(1.0)
    harness.control(booked=[7])
    harness.volumes["v2"].sicken()
    harness.store(tell)
    assert harness.receipts()[-1].returned.objects == 8


def gone(work, *extents, kept=()):
    """Return the verdict that none of some blocks counts."""
    return BatchVerdict(work, list(extents), list(extents), list(kept))


def begin_again(harness):
    """Start the machine anew; what its volumes note it knows."""
    harness.agent = Agent(AgentParameters("m1", "j", "1", "i2"), 2, harness.now)
    for volume in harness.volumes.values():
        harness.agent.volume_opened(volume.status(), volume.known(), harness.now)
    harness.act()


def test_a_batch_without_an_answer_is_asked_about_and_goes_if_it_does_not_count():
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.wait(2.0)
    (question,) = harness.pulse().begun
    assert (question.work, question.volume, question.offset) == (7, "v1", 0)
    assert question.spans == [Span(b"d", "", NAMES[0], NAMES[-1], len(NAMES))]
    assert harness.pulse().clears
    harness.control(verdicts=[gone(7, Extent("v1", 0))])
    assert harness.volumes["v1"].files == {}
    assert harness.agent.is_quiet
    assert not harness.pulse().clears


def test_while_something_is_in_hand_an_answer_is_waited_for_longer():
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.give(batch(8, part(b"other")))
    harness.wait(2.0)
    assert harness.pulse().begun == []
    harness.wait(15.0)
    assert [question.work for question in harness.pulse().begun] == [7]


def test_what_is_found_whole_on_a_disk_that_then_fails_is_reported_with_the_rest_of_its_batch():
    harness = Harness()
    volume = harness.volumes["v1"]
    volume.intend("j", 7)
    for name in NAMES[:5]:
        volume.write(b"d", name, 10, 5)
    harness.agent = Agent(AgentParameters("m1", "j", "1", "i2"), 2, harness.now)
    harness.agent.volume_opened(volume.status(), volume.known(), harness.now)
    harness.act()
    found = volume.recover("j", 7, [part(*NAMES)])
    harness.hanging.add("v1")
    harness.agent.received([batch(7)], harness.now)
    harness.agent.stop(harness.now)
    (call,) = [action for action in harness.agent.actions() if isinstance(action, Call)]
    assert call.ask.verb == "recover"
    harness.agent.scheduler.volumes["v1"].status.state = VolumeState.SICK
    harness.agent.disk_answered(call.id, found, harness.now)
    harness.act()
    (receipt,) = harness.receipts()
    assert (receipt.stored, receipt.returned.objects) == (0, 8)


def test_nothing_is_removed_while_a_batch_is_in_hand():
    """An object that was deferred may come back in another batch, and be written under the name that is to go."""
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.give(batch(8, part(NAMES[0])))
    harness.control(verdicts=[gone(7, Extent("v1", 0))])
    harness.wait(1.0)
    assert harness.pulse().clears
    assert harness.volumes["v1"].files.keys() == {(b"d", name) for name in NAMES}

    harness.store(harness.assignments()[-1])

    assert harness.receipts()[-1].extents == [Extent("v1", 1)]
    assert harness.volumes["v1"].files.keys() == {(b"d", NAMES[0])}
    harness.control(booked=[8])
    assert harness.agent.is_quiet


def test_nothing_is_begun_while_something_is_removed():
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.hanging.add("v1")
    harness.agent.received([Control(Limits(), verdicts=[gone(7, Extent("v1", 0))])], harness.now)
    (removal,) = harness.agent.actions()
    harness.give(batch(8))
    assert len(harness.assignments()) == 1
    harness.hanging.clear()
    harness.call(removal)
    harness.act()
    assert harness.volumes["v1"].files == {}
    assert len(decode_parts(harness.assignments()[1].message.parts)[0].names) == 8


def test_a_batch_that_waits_for_the_removal_is_kept_when_others_have_nothing_to_do():
    harness = Harness()
    harness.give(batch(7), batch(8))
    for tell in harness.assignments():
        harness.store(tell)
    harness.hanging.add("v1")
    harness.agent.received([Control(Limits(), verdicts=[gone(7, Extent("v1", 0))])], harness.now)
    (removal,) = [action for action in harness.agent.actions() if isinstance(action, Call)]
    harness.give(batch(8))  # nobody has it any more, and some of it is here
    harness.control(release=True)

    # Handed back it would never be asked about: what is here of it would stay beside what another machine stores.
    assert not [message for message in harness.said if isinstance(message, Handback)]
    assert 8 in harness.agent.holds()
    harness.hanging.clear()
    harness.call(removal)
    harness.act()
    assert harness.receipts()[-1].work == 8


def test_a_disk_that_is_given_up_while_another_is_cleared_holds_up_nothing():
    """What is asked of a disk that hangs is never answered, whoever asks it after it was given up."""
    harness = Harness(MemoryVolume("v1"), MemoryVolume("v2"))
    for volume in harness.volumes.values():
        volume.intend("j", 7)
    begin_again(harness)
    harness.hanging.add("v1")
    harness.agent.received([Control(Limits(), verdicts=[gone(7)])], harness.now)
    (removal,) = harness.agent.actions()
    harness.hanging.add("v2")
    harness.agent.scheduler.volumes["v2"].stop(VolumeState.SICK, "hangs", harness.now)
    harness.hanging.remove("v1")
    harness.call(removal)
    harness.act()
    harness.give(batch(8))
    (tell,) = harness.assignments()
    assert tell.message.volume == "v1"


def test_a_pulse_can_be_read_while_nothing_but_copies_is_to_be_removed():
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.control(booked=[7])
    assert harness.agent.is_quiet
    harness.hanging.add("v1")
    copies = Former("v1", [0], "v2", encode_parts([Part(b"d", "", [NAMES[0]], [1], [0])]), id=1)

    harness.agent.received([Control(Limits(), remove=[copies])], harness.now)

    pulse = harness.agent.pulse()
    assert pulse.clears == 1
    assert wire.up.read(wire.encode(pulse)) == pulse


def test_more_batches_than_are_cleared_at_once_are_cleared_one_group_after_the_other():
    harness = Harness()
    for work in range(2 * AT_ONCE + 1):
        harness.volumes["v1"].intend("j", work)
    begin_again(harness)
    harness.hanging.add("v1")
    harness.agent.received(
        [Control(Limits(), verdicts=[gone(work) for work in range(2 * AT_ONCE + 1)])], harness.now
    )
    (removal,) = harness.agent.actions()
    assert harness.agent.pulse().removes
    harness.hanging.clear()
    harness.agent.received([batch(1000)], harness.now)
    harness.call(removal)
    harness.act()
    assert harness.agent.pulse().clears == AT_ONCE + 1  # what came meanwhile goes before the rest
    harness.store(harness.assignments()[-1])
    harness.control(booked=[1000])
    assert harness.agent.is_quiet


class UnlistedSizes(MemoryVolume):
    """Finds whole files whose sizes the source does not list."""

    def recover(self, journal, work, parts):
        return [Record(b"d", "", NAMES[:3], [-1] * 3, [5] * 3, stored=[7, 8, 9])]


def test_what_lies_whole_counts_with_the_bytes_of_its_files_where_the_source_lists_no_sizes():
    harness = Harness(UnlistedSizes("v1"))
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.give(batch(7, part(*NAMES[:3], size=-1), part=5))
    _, found = harness.receipts()
    assert (found.recovered, found.recovered_bytes, found.bytes) == (3, 24, 24)


def test_what_a_batch_had_stored_is_settled_anew_when_it_comes_again():
    """Its old block may hold objects that count elsewhere by now: a block counts as a whole, or not at all."""
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.give(batch(7, part(*NAMES[:3]), part=5))  # what is left of it, for all that the coordinator knew
    first, second = harness.receipts()
    assert (first.part, first.stored, first.extents) == (0, 8, [Extent("v1", 0)])
    assert (second.part, second.stored, second.extents) == (5, 3, [Extent("v1", 1)])
    assert (first.recovered, second.recovered, second.recovered_bytes) == (0, 3, second.bytes)
    harness.control(booked=[7])
    harness.wait(1.0)
    assert [question.offset for question in harness.pulse().begun] == [0, 1]
    both = [Extent("v1", 0), Extent("v1", 1)]
    harness.control(verdicts=[BatchVerdict(7, both, both[:1], both[1:])])
    assert harness.volumes["v1"].files.keys() == {(b"d", name) for name in NAMES[:3]}
    assert harness.agent.is_quiet


def test_a_verdict_that_does_not_know_all_blocks_of_a_batch_is_asked_for_again():
    harness = Harness()
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])
    harness.control(verdicts=[BatchVerdict(7)])
    assert len(harness.volumes["v1"].files) == 8
    harness.wait(2.0)
    assert [question.work for question in harness.pulse().begun] == [7]


def test_an_object_that_several_blocks_describe_goes_with_the_last_of_them():
    harness = Harness()
    for work in (7, 8):
        harness.give(batch(work))
        harness.store(harness.assignments()[-1])
    harness.control(verdicts=[gone(8, Extent("v1", 1))])
    assert len(harness.volumes["v1"].files) == 8
    harness.control(verdicts=[gone(7, Extent("v1", 0))])
    assert harness.volumes["v1"].files == {}
    assert harness.agent.is_quiet


def test_objects_that_come_again_as_another_batch_are_told_of_as_counted_already():
    """A machine that was silent may be given the same again: without that the ledger would count them twice for ever."""
    harness = Harness()
    for work, names in ((7, NAMES[:4]), (8, NAMES[4:]), (9, NAMES[3:6])):
        harness.give(batch(work, part(*names)))
        harness.store(harness.assignments()[-1])
        harness.wait(1.0)
    assert [block.former for block in harness.volumes["v1"].blocks] == [[], [], [0, 1]]
    harness.control(booked=[7])
    harness.give(batch(10, part(*NAMES[:5])))
    harness.store(harness.assignments()[-1])
    assert harness.volumes["v1"].blocks[3].former == [1, 2], "of what counts the coordinator tells"


def test_objects_of_two_pages_are_told_of_as_counted_already():
    """A folder that changes while it is listed gives some of its objects on two pages."""
    harness = Harness()
    other = msgspec.structs.replace(part(*NAMES[2:6]), cursor="next")
    beside = msgspec.structs.replace(part(*NAMES), directory=b"other")
    for work, each in ((7, part(*NAMES[:4])), (8, other), (9, beside)):
        harness.give(batch(work, each))
        harness.store(harness.assignments()[-1])
        harness.wait(1.0)
    assert [block.former for block in harness.volumes["v1"].blocks] == [[], [0], []]


class Noting(MemoryVolume):
    """Notes whether what was settled is said to be new."""

    def __init__(self):
        super().__init__("v1")
        self.new = []

    def settle(self, blocks, is_new=False):
        self.new.append(is_new)
        return super().settle(blocks, is_new)


def test_only_what_no_other_block_may_have_is_settled_as_new():
    harness = Harness(Noting())
    for work, names in ((7, NAMES[:4]), (8, NAMES[4:6]), (9, NAMES[3:5]), (10, NAMES[6:])):
        harness.give(batch(work, part(*names)))
        harness.store(harness.assignments()[-1], NAMES[6] if work == 10 else names[0], rest=names[1:])
        harness.wait(6.0)
    assert harness.volumes["v1"].new == [True, True, False, True]
    harness.store(harness.assignments()[-1], NAMES[7])
    assert harness.volumes["v1"].new[4:] == [False], "a part of it was settled before"


def test_batches_of_overlapping_pages_that_are_settled_together_are_not_new():
    harness = Harness(Noting())
    pages = [
        msgspec.structs.replace(part(*NAMES), directory=b"other"),
        part(*NAMES[:4]),
        msgspec.structs.replace(part(*NAMES[2:6]), cursor="next"),
    ]
    for work, page in enumerate(pages):
        harness.give(batch(work, page))
    for tell in harness.assignments():
        harness.store(tell)
    assert len(harness.receipts()) == 3
    assert harness.volumes["v1"].new == [True, False]


def test_what_comes_late_and_counts_as_another_batch_by_now_is_not_compared():
    """A batch that counts is forgotten; the coordinator will not count the late one, and names the block that stays."""
    harness = Harness(Noting())
    for work in (8, 7):
        harness.give(batch(work))
        harness.store(harness.assignments()[-1])
        harness.control(booked=[8])
    assert harness.volumes["v1"].new == [True, True]


def test_what_a_batch_left_beside_its_blocks_goes_when_it_is_booked():
    """A disk failed between two settlings: the batch was done elsewhere, and what is not settled here is nobody's."""
    harness = Harness()
    volume = harness.volumes["v1"]
    volume.intend("j", 7, encode_parts([part(*NAMES)]))
    for name in NAMES[:5]:
        volume.write(b"d", name, 10, 5)
    volume.settle([Block("j", 7, encode([Record(b"d", "", NAMES[:4], [10] * 4, [5] * 4)]))])
    begin_again(harness)
    harness.wait(1.0)
    assert [(each.work, each.offset) for each in harness.pulse().begun] == [(7, 0)]
    harness.control(booked=[7])
    assert len(volume.files) == 5
    harness.control(verdicts=[BatchVerdict(7, [Extent("v1", 0)])])
    assert volume.files.keys() == {(b"d", name) for name in NAMES[:4]}
    assert volume.pending("j") == []
    assert harness.agent.is_quiet


def test_what_was_only_begun_is_cleared_when_nothing_is_in_hand_any_more():
    harness = Harness()
    harness.volumes["v1"].intend("j", 99, encode_parts([part(b"left over")]))
    harness.volumes["v1"].write(b"d", b"left over", 10, 5)
    begin_again(harness)
    harness.give(batch(7))
    harness.control(verdicts=[BatchVerdict(99)])
    assert (b"d", b"left over") in harness.volumes["v1"].files
    harness.store(harness.assignments()[-1])
    assert (b"d", b"left over") not in harness.volumes["v1"].files


def test_files_of_a_process_that_died_are_looked_for_when_their_batch_is_booked():
    harness = Harness()
    harness.give(batch(7))
    (tell,) = harness.assignments()
    harness.volumes["v1"].write(b"d", NAMES[0], 10, 6)  # as where the disk did not keep its date
    harness.agent.process_sent(tell.process, Died(), harness.now)
    harness.act()
    for again in harness.assignments()[1:]:
        deferred = decode_parts(again.message.parts)
        harness.agent.process_sent(
            again.process, Outcome(again.message.id, 0, 0, b"", [], deferred, []), harness.now
        )
    harness.act()
    assert harness.receipts()[-1].deferred.objects == 8
    harness.control(booked=[7])
    harness.wait(1.0)
    assert [(question.work, question.offset) for question in harness.pulse().begun] == [(7, -1)]
    harness.control(verdicts=[BatchVerdict(7)])
    assert harness.volumes["v1"].files == {}


def _raise(error):
    raise error


def _refuse(error):
    def refuse(*_):
        raise error

    return refuse


def test_verbs_are_methods_of_a_volume():
    assert all(hasattr(MemoryVolume("v"), verb) for verb in get_args(Verb))


def test_an_answer_that_may_be_to_what_was_said_of_a_batch_before_proves_nothing():
    volume = MemoryVolume("v1")
    harness = Harness(volume)
    volume.fill()
    harness.wait(5)
    harness.give(batch(7))
    assert harness.receipts()[-1].returned is not None
    volume.trouble = None
    harness.wait(5)
    harness.give(batch(7))
    harness.store(harness.assignments()[-1])

    harness.control(booked=[7])

    assert [work for work, _ in volume.pending("j")] == [7]
    harness.wait(20)
    asked = [begun.work for said in harness.said if isinstance(said, Pulse) for begun in said.begun]
    assert set(asked) == {7}
