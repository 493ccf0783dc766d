"""Trouble is told once when it begins and once when it ends."""

import msgspec
import pytest
from tests.report.conftest import volume

from bucketpull.domain.status import VolumeState
from bucketpull.report.events import (
    BrokerEvents,
    MachineEvents,
    RoomEvents,
    StallEvents,
    VolumeEvents,
    WaitEvents,
)
from bucketpull.report.words import Words


def events(told):
    return [(event, about) for _, event, about, _ in told]


def test_machines_that_come_and_go_are_told_once():
    changes = MachineEvents()

    assert events(changes.look({"alpha": 2, "beta": 1}, set(), 0.0)) == [
        ("machine.joined", "machine alpha"),
        ("machine.joined", "machine beta"),
    ]
    assert events(changes.look({"alpha": 2, "beta": 1}, set(), 1.0)) == []
    assert events(changes.look({"alpha": 2}, {"beta"}, 2.0)) == [("machine.left", "machine beta")]
    assert events(changes.look({"alpha": 2}, {"beta"}, 3.0)) == []


@pytest.mark.parametrize(
    "state", [VolumeState.AWAY, VolumeState.DRAINING, VolumeState.LOST, VolumeState.SICK]
)
def test_what_becomes_of_a_volume_is_told_in_chinese_too(state):
    changes, words = VolumeEvents(), Words("zh")
    list(changes.look([volume(1)], set(), 0.0))

    ((*_, text),) = changes.look([volume(1, state=state)], set(), 10.0)

    assert text.startswith(f"volume alpha:/mnt/disk1 is {state}")
    assert state not in words.message(text)


def test_what_is_odd_with_a_volume_is_told_once_a_minute_while_its_number_grows_and_at_the_end():
    changes = VolumeEvents()

    def told(number, now, **options):
        odd = [volume(1, warning=f"had {number} files of others" if number else "")]
        return [text.split()[3] for *_, text in changes.look(odd, {"alpha"}, now, **options)]

    assert [told(number, number / 2) for number in range(4)] == [[], ["1"], [], []]
    assert told(0, 30.0) == told(3, 50.0) == []
    assert told(7, 60.5) == ["7"]
    assert told(7, 130.0) == told(7, 131.0, is_end=True) == told(0, 132.0) == []
    assert told(7, 133.0) == ["7"]
    assert told(8, 202.0) == ["8"]
    assert told(9, 203.0, is_end=True) == ["9"]


def test_why_a_volume_is_drained_is_told_in_chinese_as_a_whole():
    assert Words("zh").message("takes no new objects, as asked") == "按要求不再写入新对象"


def test_a_machine_that_fell_silent_is_told_again_when_it_is_heard():
    changes = MachineEvents()
    list(changes.look({"alpha": 1}, set(), 0.0))

    ((level, event, about, text),) = changes.look({}, set(), 10.0)
    assert (level, event, about) == ("warning", "machine.silent", "machine alpha")
    ((level, event, about, text),) = changes.look({"alpha": 1}, set(), 70.0)
    assert (level, event, about) == ("info", "machine.back", "machine alpha")
    assert "after 1 min" in text


def test_how_long_a_machine_was_not_heard_counts_from_when_it_was_heard_last():
    changes = MachineEvents(silence_seconds=30.0)
    list(changes.look({"alpha": 1}, set(), 0.0))
    list(changes.look({}, set(), 35.0))

    ((*_, text),) = changes.look({"alpha": 1}, set(), 47.0)
    assert text == "machine alpha is heard again, after 42 s"


def test_a_machine_that_came_back_and_left_between_two_looks_is_told_once():
    changes = MachineEvents()
    list(changes.look({"alpha": 1}, set(), 0.0))
    list(changes.look({}, set(), 10.0))

    assert events(changes.look({}, {"alpha"}, 20.0)) == [("machine.back", "machine alpha")]
    assert events(changes.look({}, {"alpha"}, 21.0)) == []


def test_which_machine_all_that_is_left_waits_for_is_told_with_its_end():
    changes, words = WaitEvents(), Words("zh")
    waits = [*[["gamma"]] * 13, [], *[["gamma"]] * 3, []]

    told = [each for now, machines in enumerate(waits) for each in changes.look(machines, float(now))]

    assert events(told) == [("work.waits", "work"), ("work.goes-on", "work")]
    first, second = (text for *_, text in told)
    assert "waits for machine gamma" in first
    assert second == "what was left goes on, after 13 s"
    assert words.message(first).startswith("剩余部分在等待机器 gamma")
    assert words.message(second).startswith("剩余部分又继续进行了")


def test_a_lack_of_room_is_told_with_its_end():
    changes = RoomEvents()

    told = [
        event for now, state in enumerate(["transferring", "no-room", "no-room", "listing", "listing"])
        for _, event, _, _ in changes.look(state, {VolumeState.FULL}, now)
    ]  # fmt: skip

    assert told == ["job.no-room", "job.room"]


@pytest.mark.parametrize(
    ("volumes", "said"),
    [
        ({VolumeState.FULL, VolumeState.SICK}, "no volume has room: the job waits; free some space"),
        ({VolumeState.SICK}, "no volume can be written: the job waits until one is back"),
        ({VolumeState.SICK, VolumeState.AWAY}, "no volume can be written"),
    ],
)
def test_it_is_said_why_no_volume_takes_objects(volumes, said):
    [(_, _, _, text)] = RoomEvents().look("no-room", volumes, 0.0)

    assert text.startswith(said)


def broker_events():
    """Events of a broker, with a clock to set and what they told."""
    told: list[tuple[str, str]] = []
    now = [100.0]
    changes = BrokerEvents(lambda _, event, text: told.append((event, text)), lambda: now[0])
    return changes, now, told


def test_a_broker_is_lost_once_however_often_it_is_tried():
    changes, now, told = broker_events()

    changes.reached()
    assert changes.seconds() == 0.0
    changes.lost(
        "the connection to the broker at b:5672 was lost; it is made again as soon as the broker answers"
    )
    changes.lost("the broker cannot be reached: refused; check --broker, and whether it runs")
    now[0] = 130.0
    assert changes.seconds() == 30.0
    now[0] = 160.0
    changes.reached()
    assert changes.seconds() == 0.0
    changes.reached()

    assert [event for event, _ in told] == ["broker.lost", "broker.reached"]
    assert told[-1][1] == "the broker is reached again, after 1 min"


def test_a_reason_that_keeps_a_broker_away_is_told_after_a_while_and_a_few_of_them_at_most():
    changes, now, told = broker_events()

    for now[0], reason in ((100.0, "lost"), (101.0, "refused"), (111.0, "refused"), (121.0, "refused")):
        changes.lost(reason)
    for second in range(60):
        now[0] = 130.0 + second
        changes.lost(f"reason {second}")
    assert [text for _, text in told] == ["lost", "refused", "reason 0", "reason 1", "reason 2"]

    changes.reached()
    changes.lost("lost")
    assert told[-1] == ("broker.lost", "lost")


def test_a_job_that_only_asks_again_speaks_after_ten_seconds_and_whenever_its_silence_has_doubled():
    changes = StallEvents("https://photos.example")
    spoken = {}

    for second in range(100):
        for level, event, about, text in changes.look(1000.0 + second, 0, {"connect": second, "reset": 1}):
            assert (level, event, about) == ("warning", "source.silent", "source")
            spoken[second] = text

    assert list(spoken) == [10, 20, 40, 80]
    assert spoken[20] == (
        "nothing has come for 20 s: no connection (connect, 20 times; asked: https://photos.example); "
        "check the network, the firewall, and the proxy if there is one"
    )
    assert spoken[80].startswith("nothing has come for 1 min 20 s: no connection (connect, 80 times; ")


def test_a_silence_is_told_again_only_if_it_was_asked_again():
    changes = StallEvents("the service")

    told = [
        second
        for second in range(400)
        if list(changes.look(1000.0 + second, 0, {"garbage": min(second, 12) + 4 * (second > 330)}))
    ]

    assert told == [10, 20, 331]


def test_the_end_of_a_silence_is_told_if_the_silence_was():
    changes = StallEvents("the service")
    ends = {}

    for second in range(60):
        gain = 0 if second < 30 else 1 if second < 35 else 2
        for _, event, _, text in changes.look(1000.0 + second, gain, {"connect": second}):
            if event == "source.back":
                ends[second] = text

    assert ends == {30: "something comes from the source again, after 30 s"}


def test_a_job_to_which_something_comes_is_silent_about_its_retries():
    changes = StallEvents("the service")

    assert not any(list(changes.look(second, second // 9, {"reset": second})) for second in range(200))


def test_a_job_that_waits_without_asking_again_has_no_reason_to_tell():
    changes = StallEvents("the service")

    assert not any(list(changes.look(second, 7, {"reset": 3})) for second in range(200))


def test_time_in_which_nothing_is_asked_is_no_silence_of_the_source():
    changes = StallEvents("the service")
    asked, told = 0, []

    for second in range(90):
        asks = second < 5 or second >= 80
        asked += asks
        told += [
            (second, text) for *_, text in changes.look(1000.0 + second, 7, {"connect": asked}, asks=asks)
        ]

    assert [(second, text.partition(":")[0]) for second, text in told] == [(85, "nothing has come for 10 s")]


def test_a_volume_is_named_with_its_machine_unless_that_is_here():
    full = msgspec.structs.replace(volume(1), machine="alpha", state=VolumeState.FULL)
    ((level, event, about, text),) = VolumeEvents().look([full], {"coordinator/lister"}, 0.0)
    assert (level, event, about) == ("warning", "volume.full", f"alpha:{full.path}")
    assert text.startswith(f"volume alpha:{full.path} is full")
    ((_, _, about, _),) = VolumeEvents().look([full], {"alpha"}, 0.0)
    assert about == full.path


@pytest.mark.parametrize(
    ("detail", "remedy"),
    [
        ("no bytes left above the reserve", "; free some space, add a volume, or lower --reserve"),
        ("file not written: Disk quota exceeded", "; free some space, add a volume, or raise the quota"),
        ("ledger not written: Disk quota exceeded; free some space, raise the quota, or add a volume", ""),
    ],
)
def test_a_full_volume_is_told_with_what_helps_once(detail, remedy):
    full = msgspec.structs.replace(volume(1), state=VolumeState.FULL, detail=detail)

    [(_, _, _, text)] = VolumeEvents().look([full], {full.machine}, 0.0)

    assert text == f"volume {full.path} is full: {detail}{remedy}"
