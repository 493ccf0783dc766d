from hypothesis import given
from hypothesis import strategies as st

from bucketpull.fetch.loop import BandwidthLimit

reads = st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 1 << 20)), min_size=1, max_size=200)


@given(rate=st.floats(1_000, 1e9), reads=reads)
def test_whatever_is_read_the_mean_is_kept_save_for_the_burst_and_one_read(rate, reads):
    now, allowance, total = 0.0, BandwidthLimit(rate, 0.0), 0
    for pause, size in reads:
        now += pause
        if allowance.refill(now) <= 0:
            now += allowance.delay() * (1 + 1e-9) + 1e-9
            assert allowance.refill(now) > 0
        allowance.spend(size)
        total += size
    assert (
        total <= rate * (now + BandwidthLimit.BURST_SECONDS) * (1 + 1e-6) + max(size for _, size in reads) + 1
    )


def test_with_something_left_nobody_waits():
    allowance = BandwidthLimit(1_000, 0.0)
    assert allowance.refill(0.0) == 100.0
    assert allowance.delay() == 0.0


def test_debt_is_waited_off():
    allowance = BandwidthLimit(1_000, 0.0)
    allowance.spend(2_099)
    allowance.refill(0.0)
    assert allowance.delay() == 2.0


def test_another_rate_forgives_no_debt_and_gives_no_burst():
    allowance = BandwidthLimit(1_000, 0.0)
    allowance.spend(2_100)

    allowance.change(4_000, 1.0)
    assert allowance.refill(1.0) == -1_000.0
    allowance.change(1_000, 1.25)
    assert allowance.refill(1.25) == 0.0
    assert allowance.refill(9.0) == 100.0
