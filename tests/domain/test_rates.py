from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.progress import Rates, StageProgress
from bucketpull.domain.rates import SERIES_POINTS, ActiveTime, Series, SpeedMeter, StageMeter


def test_without_samples_all_speeds_are_zero():
    assert SpeedMeter().rates() == Rates()


def test_a_steady_job_has_the_same_speed_now_and_in_the_mean():
    meter = SpeedMeter()

    for tick in range(200):
        meter.sample(tick / 2, tick * 50, tick * 5000, tick * 80)

    assert meter.rates() == Rates(100.0, 100.0, 10_000.0, 10_000.0, 160.0)


def test_the_speed_of_now_follows_a_change_within_ten_seconds():
    meter = SpeedMeter()
    done = 0

    for second in range(120):
        done += 100 if second < 100 else 10
        meter.sample(second, done, done * 10, done)

    assert meter.rates().objects_now == 10
    assert 80 < meter.rates().objects_mean < 90


def test_what_was_done_in_an_earlier_session_is_no_speed():
    meter = SpeedMeter()

    meter.sample(1000.0, 5_000_000, 10**12, 6_000_000)
    meter.sample(1001.0, 5_000_010, 10**12 + 500, 6_000_000)

    assert meter.rates().objects_mean == 10
    assert meter.rates().bytes_now == 500


def test_paused_time_does_not_lower_the_mean_and_the_speed_of_now_is_zero_meanwhile():
    meter = SpeedMeter()
    for second in range(11):
        meter.sample(second, second * 100, 0, 0)
    for second in range(11, 3600):
        meter.sample(second, 1000, 0, 0, running=False)

    assert meter.rates(running=False).objects_now == 0
    assert meter.rates().objects_mean == 100


def test_a_clock_that_goes_back_adds_no_active_time():
    time = ActiveTime()

    time.advance(10, running=True)
    time.advance(4, running=True)

    assert time.advance(5, running=True) == 1


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=3000))
def test_a_series_keeps_its_ends_and_its_bound_however_long_it_gets(gaps):
    series = Series()
    at = 0.0
    series.append(0.0, 0.0)

    for gap in gaps:
        at += gap
        series.append(at, at * 3)

    assert len(series._seconds) <= SERIES_POINTS + 1
    assert series.value_at(at) == at * 3
    assert abs(series.speed(0.0, at) - 3) < 1e-6
    assert abs(series.speed(at / 3, at / 2) - 3) < 1e-3


def test_the_session_begins_with_the_last_sample_before_the_job_runs():
    meter = SpeedMeter()

    meter.sample(0.0, 0, 0, 0, False)
    meter.sample(0.5, 1_000_000, 10**9, 2_000_000)
    meter.sample(2.5, 1_000_200, 10**9 + 2000, 2_000_300)

    assert meter.rates() == Rates(100.0, 100.0, 1000.0, 1000.0, 150.0)


def test_each_stage_of_an_objects_way_has_its_own_speed():
    meter = StageMeter()

    meter.sample(0.0, {"listed": 0, "booked": 0})
    stages = meter.sample(5.0, {"listed": 500, "booked": 50})

    assert stages == {"listed": StageProgress(500, 100.0), "booked": StageProgress(50, 10.0)}
    assert meter.sample(5.0, {"listed": 500, "booked": 50})["listed"].per_second == 100.0


def test_a_stage_whose_counter_falls_has_no_negative_speed():
    meter = StageMeter()

    meter.sample(0.0, {"fetched": 500})

    assert meter.sample(1.0, {"fetched": 100})["fetched"].per_second == 0.0
