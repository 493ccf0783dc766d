import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.report import figures


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (33_000, "33.0 kB"),
        (999_600, "1.00 MB"),
        (1.21e12, "1.21 TB"),
    ],
)
def test_sizes_have_three_digits_in_decimal_units(amount, text):
    assert figures.size(amount) == text


@given(st.floats(0, 1e18))
def test_every_size_is_at_most_nine_columns(amount):
    assert len(figures.size(amount)) <= 9


def test_a_hundred_percent_is_all_and_nothing_less():
    assert figures.percent(0.99999) == "99.9 %"
    assert figures.percent(1.0) == "100.0 %"
    assert figures.percent(1.7) == "100.0 %"


def test_slow_speeds_keep_a_digit_after_the_point():
    assert [figures.speed(value) for value in (0, 2.54, 1234.5)] == ["0/s", "2.5/s", "1,234/s"]
