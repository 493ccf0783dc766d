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


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (0.2, "0 s", "0 秒"),
        (42, "42 s", "42 秒"),
        (125, "2 min 5 s", "2 分 5 秒"),
        (3 * 3600 + 12 * 60, "3 h 12 min", "3 小时 12 分"),
        (4 * 86400 + 59, "4 d", "4 天"),
    ],
)
def test_durations_have_the_two_largest_units(seconds, english, chinese):
    assert figures.duration(seconds) == english
    assert figures.duration(seconds, "zh") == chinese


def test_a_hundred_percent_is_all_and_nothing_less():
    assert figures.percent(0.99999) == "99.9 %"
    assert figures.percent(1.0) == "100.0 %"
    assert figures.percent(1.7) == "100.0 %"


def test_slow_speeds_keep_a_digit_after_the_point():
    assert [figures.speed(value) for value in (0, 2.54, 1234.5)] == ["0/s", "2.5/s", "1,234/s"]


def test_what_took_less_than_ten_seconds_is_told_to_a_tenth():
    assert [figures.elapsed(seconds) for seconds in (0.04, 0.36, 9.94, 9.96, 75)] == [
        "0.0 s", "0.4 s", "9.9 s", "10 s", "1 min 15 s",
    ]  # fmt: skip
