import pytest

from bucketpull.report import times


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
    assert times.duration(seconds) == english
    assert times.duration(seconds, "zh") == chinese


def test_what_took_less_than_ten_seconds_is_told_to_a_tenth():
    assert [times.elapsed(seconds) for seconds in (0.04, 0.36, 9.94, 9.96, 75)] == [
        "0.0 s", "0.4 s", "9.9 s", "10 s", "1 min 15 s",
    ]  # fmt: skip
