"""`--bandwidth`, a limit or several by time of day."""

import pytest

from bucketpull.domain.bandwidth_schedule import parse_bandwidth
from bucketpull.domain.errors import ConfigError

_HOUR = 3600.0


def test_one_limit_holds_all_day():
    table = parse_bandwidth("100M")

    assert table.at(0) == table.at(23 * _HOUR) == 100 * 1024**2
    assert table.next_change(0) is None


def test_off_is_no_limit():
    assert parse_bandwidth("off").at(0) is None


def test_limits_change_with_the_time_of_day_and_the_last_holds_over_midnight():
    table = parse_bandwidth("20:00,off 08:00,10M")

    assert table.at(8 * _HOUR - 1) is None
    assert table.at(8 * _HOUR) == 10 * 1024**2
    assert table.at(20 * _HOUR) is None
    assert table.next_change(7 * _HOUR) == _HOUR
    assert table.next_change(20 * _HOUR) == 12 * _HOUR


@pytest.mark.parametrize(
    "text", ["", " ", "10X", "25:00,1M", "08:00", "08:00,1M 08:00,2M", "0", "08:00,0 9:00,1M"]
)
def test_what_is_no_timetable_is_refused_with_the_option_s_name(text):
    with pytest.raises(ConfigError, match="--bandwidth"):
        parse_bandwidth(text)
