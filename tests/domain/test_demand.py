import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.budget import Prices
from bucketpull.domain.demand import (
    FreeSpace,
    SampledPage,
    cost,
    demand,
    fit,
    fit_packed,
    is_better_packed,
    mean_size,
    packed,
    rounded,
    seconds,
)

pages = st.lists(
    st.builds(
        lambda objects, mean: SampledPage(objects, objects * mean, objects * rounded(mean)),
        st.integers(0, 10_000),
        st.integers(0, 1_000_000),
    ),
    max_size=30,
)


@given(pages)
def test_a_whole_listing_is_what_it_is(sample):
    needed = demand(sample, whole=True, total_bytes=None)

    assert needed is not None
    assert needed.objects.value == needed.objects.low == needed.objects.high == sum(p.objects for p in sample)
    assert needed.bytes.value == sum(p.bytes for p in sample)
    assert needed.inodes.value == pytest.approx(sum(p.objects for p in sample) + len(sample))


@given(pages, st.integers(1, 10**15))
def test_a_band_holds_its_number(sample, total):
    needed = demand(sample, whole=False, total_bytes=total)

    if needed is not None:
        for guess in (needed.objects, needed.bytes, needed.disk_bytes, needed.inodes):
            assert guess.low <= guess.value * 1.000001
            assert guess.value <= guess.high * 1.000001


def test_the_true_mean_lies_in_the_band_of_most_samples():
    generator = random.Random(7)
    hits = 0
    for _ in range(200):
        sample = [page(generator) for _ in range(40)]
        mean = mean_size(sample)
        hits += mean.low <= 20_000 <= mean.high
    assert hits > 180


def page(generator: random.Random) -> SampledPage:
    sizes = [generator.randint(0, 40_000) for _ in range(generator.randint(10, 200))]
    return SampledPage(len(sizes), sum(sizes), sum(map(rounded, sizes)))


def test_few_pages_are_not_believed():
    mean = mean_size([SampledPage(900, 9000, 0), SampledPage(0, 0, 0)])

    assert (mean.value, mean.low, mean.high) == (10, 5, 20)


def test_without_a_total_what_was_seen_is_the_least():
    needed = demand([SampledPage(10, 1000, 40_960)], whole=False, total_bytes=None)

    assert needed.objects.low == 10
    assert needed.objects.high == math.inf


def test_a_sample_without_objects_says_nothing():
    assert demand([SampledPage(0, 0, 0)], whole=False, total_bytes=1000) is None


def test_blocks_and_directories_take_room():
    needed = demand([SampledPage(10, 1000, 40_960)], whole=True, total_bytes=None)

    assert needed.disk_bytes.value == 40_960 + 4096


def test_the_scarcer_of_room_and_inodes_decides():
    needed = demand([SampledPage(99, 99_000, 99 * 4096)], whole=True, total_bytes=None)

    assert fit(needed, [FreeSpace("a", 1 << 30, 200)]).share == pytest.approx(0.5)
    assert fit(needed, [FreeSpace("a", 819_200, None)]).share == pytest.approx(0.5)
    assert fit(needed, [FreeSpace("a", 409_600, None), FreeSpace("b", 409_600, 10)]).share == pytest.approx(
        0.5
    )
    assert fit(needed, [FreeSpace("a", 0, None)]).share == math.inf


def test_what_the_volumes_hold_already_is_not_needed_again():
    needed = demand([SampledPage(100, 409_600, 409_600)], whole=True, total_bytes=None)

    held = FreeSpace("a", 409_600, None, held_objects=50, held_bytes=209_600)

    assert fit(needed, [held]).share == pytest.approx((409_600 + 4096 - 209_600) / 409_600)


def test_the_slower_of_both_speeds_decides():
    needed = demand([SampledPage(100, 1000, 409_600)], whole=True, total_bytes=None)

    assert seconds(needed, 10, None) == 10
    assert seconds(needed, 10, 50) == 20
    assert seconds(needed, None, None) is None


def test_the_case_that_packs_were_made_for_is_reckoned_as_in_the_docs():
    """300 million objects, 10 TB: the figures of docs/howto/packs.md."""
    objects, size = 300e6, 10e12
    page = SampledPage(10_000, 333_333_333, 10_000 * (33_333 + 2048))
    needed = demand([page] * 10, whole=False, total_bytes=int(size))
    assert needed is not None
    found = packed(needed, 4 << 30)
    assert needed.objects.value == pytest.approx(objects, rel=0.01)
    assert needed.disk_bytes.value - size == pytest.approx(614e9, rel=0.01)
    assert found.disk_bytes.value - size == pytest.approx(262e9, rel=0.01)
    assert 4_500 < found.inodes.value < 5_500
    assert found.read_seconds / 3600 == pytest.approx(15.8, abs=0.5)
    assert found.read_seconds_as_files / 86400 == pytest.approx(21.5, abs=0.5)
    rooms = [FreeSpace(f"/mnt/d{number}", int(4e12), 10**12) for number in range(3)]
    assert is_better_packed(needed, fit(needed, rooms))
    assert fit_packed(needed, rooms, 4 << 30).bytes.value < fit(needed, rooms).bytes.value


def test_files_are_recommended_where_they_are_few_or_large():
    few = demand([SampledPage(1000, 33_000_000, 35_000_000)], whole=True, total_bytes=None)
    large = demand([SampledPage(2_000_000, 10**13, 10**13 + 4_000_000_000)], whole=True, total_bytes=None)
    roomy = [FreeSpace("/mnt/d", 10**15, 10**12)]
    for needed in (few, large):
        assert needed is not None
        assert not is_better_packed(needed, fit(needed, roomy))
    scarce = [FreeSpace("/mnt/d", 10**15, 3_000_000)]
    assert large is not None
    assert is_better_packed(large, fit(large, scarce)), "inodes are scarce"


def test_a_job_costs_its_traffic_and_its_requests():
    needed = demand([SampledPage(10_000, 10_000 * 100_000, 0)], whole=True, total_bytes=None)

    assert cost(needed, Prices(None, None)) is None
    assert cost(needed, Prices(0.3, None)).value == pytest.approx(0.3)
    assert cost(needed, Prices(None, 2.0)).value == pytest.approx(2.0, rel=0.01)
    assert cost(needed, Prices(0.3, 2.0)).value == pytest.approx(2.3, rel=0.01)
    assert cost(needed, Prices(0.0, None)).value == 0
