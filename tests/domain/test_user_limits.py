"""What a coordinator that starts again takes over of limits that were changed while the job ran."""

import pytest

from bucketpull.domain.user_limits import Limits, Steering

_CHANGED = Steering({"rate": "200.0"}, Limits(7, 50.0, 3e6, paused=True), "00:00,3M 12:00,off")


def test_with_the_same_options_everything_stays_as_it_was_changed():
    assert _CHANGED.under({"rate": "200.0"}, Limits(None, 200.0)) is _CHANGED


@pytest.mark.parametrize("options", [{}, {"rate": "90.0"}, {"rate": "200.0", "bandwidth": "5M"}])
def test_other_options_hold_and_a_pause_stays(options):
    asked = Limits(None, 90.0, 5e6)
    found = _CHANGED.under(options, asked)
    assert found == Steering(options, Limits(None, 90.0, 5e6, paused=True), options.get("bandwidth"))
