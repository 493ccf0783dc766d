"""Placement: never more than fits, whole batches where possible, the faster disk more."""

from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.placement import BLOCK_BYTES, VolumeRoom, choose, split

rooms_of_any_kind = st.lists(
    st.builds(
        VolumeRoom,
        volume=st.uuids().map(str),
        free_bytes=st.integers(-(10**6), 10**8),
        free_inodes=st.none() | st.integers(0, 2000),
        queued_bytes=st.integers(0, 10**7),
        bytes_per_second=st.floats(0, 1e9),
    ),
    max_size=5,
)


@given(rooms_of_any_kind, st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=50), max_size=30))
def test_no_volume_is_promised_more_than_it_has(rooms, batches):
    for sizes in batches:
        shares = split(rooms, sizes)
        assert sum(count for _, count in shares) == len(sizes)
    for room in rooms:
        if room.promised_objects:
            assert room.promised_bytes + room.promised_objects * BLOCK_BYTES <= room.free_bytes
            assert room.free_inodes is None or room.promised_objects <= room.free_inodes


@given(rooms_of_any_kind, st.integers(1, 1000), st.integers(0, 10**8))
def test_the_choice_is_a_volume_with_room_and_does_not_depend_on_the_order(rooms, objects, size):
    chosen = choose(rooms, objects, size)
    assert (chosen is None) == (not any(room.fits(objects, size) for room in rooms))
    assert chosen is None or chosen.fits(objects, size)
    assert choose(list(reversed(rooms)), objects, size) == chosen


@given(rooms_of_any_kind, st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_a_batch_is_split_only_where_no_volume_takes_it_whole(rooms, sizes):
    whole = any(room.fits(len(sizes), sum(sizes)) for room in rooms)
    assert not whole or len(split(rooms, sizes)) == 1


@given(rooms_of_any_kind, st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_an_object_is_left_out_only_where_no_volume_takes_it(rooms, sizes):
    start = 0
    shares = split(rooms, sizes)
    for volume, count in shares:
        if volume is None:
            assert not any(room.fits(1, size) for room in rooms for size in sizes[start : start + count])
        start += count


def test_a_full_fleet_takes_nothing():
    assert (
        choose([VolumeRoom("a", 0), VolumeRoom("b", -5), VolumeRoom("c", 10**9, free_inodes=0)], 1, 1) is None
    )
    assert split([VolumeRoom("a", 0)], [1, 2, 3]) == [(None, 3)]
    assert choose([], 1, 1) is None


def test_a_third_large_file_goes_to_the_disk_that_has_room_for_it():
    gigabyte = 10**9
    rooms = [VolumeRoom("a", int(4.1 * gigabyte)), VolumeRoom("b", int(2.1 * gigabyte))]
    assert sorted(split(rooms, [2 * gigabyte])[0][0] for _ in range(3)) == ["a", "a", "b"]


def test_many_batches_at_once_do_not_all_go_to_a_large_slow_disk():
    rooms = [
        VolumeRoom("large", 74 * 10**9, bytes_per_second=20_000),
        VolumeRoom("small", 10**9, bytes_per_second=8e6),
    ]
    for _ in range(16):
        split(rooms, [4096] * 1000)
    assert rooms[0].promised_objects <= 3000


def test_before_any_has_shown_its_speed_disks_take_turns_whatever_their_size():
    rooms = [VolumeRoom("large", 74 * 10**9), VolumeRoom("small", 10**9)]
    for _ in range(10):
        split(rooms, [4096] * 1000)
    assert rooms[0].promised_objects == rooms[1].promised_objects


def test_disks_of_different_sizes_fill_up_together():
    rooms = [
        VolumeRoom("large", 3 * 10**9, bytes_per_second=1e8),
        VolumeRoom("small", 10**9, bytes_per_second=1e8),
    ]
    for _ in range(40):
        split(rooms, [25_000] * 1000)
        for room in rooms:
            room.queued_bytes = 0
    shares = {room.volume: room.promised_bytes / room.free_bytes for room in rooms}
    assert abs(shares["large"] - shares["small"]) < 0.03


def simulate(speeds: dict[str, float], seconds: int, arriving: float) -> dict[str, float]:
    """Give out `arriving` bytes a second in batches of 10 MB; return the bytes that each disk wrote."""
    rooms = {name: VolumeRoom(name, 10**15) for name in speeds}
    written = dict.fromkeys(speeds, 0.0)
    for tenth in range(seconds * 10):
        due = int((tenth + 1) * arriving / 10 / 10**7) - int(tenth * arriving / 10 / 10**7)
        for _ in range(due):
            if min(room.queued_bytes for room in rooms.values()) > 64 * 10**6:
                break  # the network waits for the disks
            chosen = choose(list(rooms.values()), 300, 10**7)
            assert chosen
            chosen.promise(300, 10**7)
            chosen.queued_bytes += 10**7
        for name, room in rooms.items():
            done = int(min(room.queued_bytes, speeds[name] / 10))
            written[name] += done
            room.queued_bytes -= done
            room.release(0, done)
            room.bytes_per_second = speeds[name]
    return written


def test_saturated_disks_share_the_work_by_their_speed():
    written = simulate({"slow": 20e6, "fast": 60e6, "faster": 120e6}, 60, 1e9)
    assert sum(written.values()) > 0.95 * 200e6 * 60
    assert 2.5 < written["fast"] / written["slow"] < 3.5


def test_two_equally_slow_disks_are_twice_as_fast_as_one():
    one = simulate({"a": 30e6}, 60, 1e9)
    two = simulate({"a": 30e6, "b": 30e6}, 60, 1e9)
    assert sum(two.values()) > 1.9 * sum(one.values())


def test_a_very_slow_disk_does_not_slow_the_others():
    without = simulate({"a": 50e6, "b": 50e6}, 60, 80e6)
    beside = simulate({"a": 50e6, "b": 50e6, "crawling": 1e6}, 60, 80e6)
    assert beside["a"] + beside["b"] > 0.95 * sum(without.values())


def test_objects_in_packs_need_no_inodes_each_and_less_room():
    room = VolumeRoom("a", 10 << 20, free_inodes=20, packs=True)
    assert room.fits(5_000, 2 << 20)
    assert not VolumeRoom("a", 10 << 20, free_inodes=20).fits(5_000, 2 << 20)
    assert not room.fits(8_000, 2 << 20)
