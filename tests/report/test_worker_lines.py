"""What a worker says of itself."""

import msgspec
from tests.report.conftest import pulse, volume

from bucketpull.domain.status import VolumeState
from bucketpull.report.events import STOPPING
from bucketpull.report.words import translated
from bucketpull.report.worker_lines import WorkerLines, answered, joined, left


def at(objects, volumes=()):
    told = pulse("m1", volumes)
    told.objects, told.bytes = objects, objects * 1000
    return told


def test_it_tells_now_and_then_what_it_does():
    lines = WorkerLines(100.0)
    assert list(lines.look(at(500, [volume(1)]), 110.0, 110.0)) == []
    assert list(lines.look(at(3000, [volume(1)]), 130.0, 130.0)) == [
        ("info", "fetched 3,000 (100/s, 100 kB/s); batches in hand: 3; volumes that take objects: 1 of 1")
    ]
    assert list(lines.look(at(3000, [volume(1)]), 131.0, 131.0)) == []


def test_it_tells_what_arrives_before_an_object_is_whole_and_not_what_was_thrown_away():
    lines = WorkerLines(100.0)
    told = [
        text
        for now, size, arriving in ((130.0, 0, 60_000_000), (160.0, 90_000_000, 0), (190.0, 90_000_000, 0))
        for _, text in lines.look(msgspec.structs.replace(at(0), bytes=size, arriving=arriving), now, now)
    ]
    assert [text.partition(";")[0] for text in told] == [
        "fetched 0 (0/s, 2.00 MB/s)", "fetched 0 (0/s, 1.00 MB/s)", "fetched 0 (0/s, 0 B/s)",
    ]  # fmt: skip

    lines = WorkerLines(100.0)
    list(lines.look(msgspec.structs.replace(at(0), arriving=60_000_000), 130.0, 130.0))
    ((_, text),) = lines.look(at(0), 160.0, 160.0)
    assert text.startswith("fetched 0 (0/s, 0 B/s)")


def test_a_silent_coordinator_is_told_once_and_when_it_is_heard_again():
    lines = WorkerLines(100.0)
    said = [line for now in range(101, 190) for line in lines.look(at(0), 100.0, float(now))]
    said += lines.look(at(0), 190.0, 190.0)
    told = [(level, line) for level, line in said if "coordinator" in line]
    assert told == [
        (
            "warning",
            "nothing is heard of the coordinator for 1 min 1 s: what is in hand is finished, and what came of it waits at the broker",
        ),
        ("info", "the coordinator is heard again, after 1 min 30 s"),
    ]


def test_what_becomes_of_its_volumes_is_told():
    lines = WorkerLines(100.0)
    open_ = volume(1, "m1")
    full = msgspec.structs.replace(open_, state=VolumeState.FULL, detail="no bytes left above the reserve")
    said = [
        line
        for now, state in ((101.0, open_), (102.0, full), (103.0, full), (112.0, open_))
        for line in lines.look(at(0, [state]), 100.0, now)
    ]
    path = open_.path
    assert said == [
        (
            "warning",
            f"volume {path} is full: no bytes left above the reserve; free some space, add a volume, or lower --reserve",
        ),
        ("info", f"volume {path} takes objects again, after 10 s"),
    ]


def test_it_is_said_in_chinese_as_well():
    assert translated(joined("photos", 2, 4), "zh") == "已加入任务 photos：磁盘 2，进程 4"  # noqa: RUF001 - Chinese has its own punctuation
    for text in (
        answered("photos", 2),
        STOPPING,
        left("photos", has_ended=True),
        left("photos", has_ended=False),
    ):
        assert translated(text, "zh") != text
