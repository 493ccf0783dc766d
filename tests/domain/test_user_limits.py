"""What the user limits: bandwidth by time of day, and what a coordinator that starts again takes over of limits that were changed while the job ran."""

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_limits import Limits, Steering, parse_bandwidth

_HOUR = 3600.0
_CHANGED = Steering({"rate": "200.0"}, Limits(7, 50.0, 3e6, paused=True), "00:00,3M 12:00,off")


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


def test_with_the_same_options_everything_stays_as_it_was_changed():
    assert _CHANGED.under({"rate": "200.0"}, Limits(None, 200.0)) is _CHANGED


@pytest.mark.parametrize("options", [{}, {"rate": "90.0"}, {"rate": "200.0", "bandwidth": "5M"}])
def test_other_options_hold_and_a_pause_stays(options):
    asked = Limits(None, 90.0, 5e6)
    found = _CHANGED.under(options, asked)
    assert found == Steering(options, Limits(None, 90.0, 5e6, paused=True), options.get("bandwidth"))
