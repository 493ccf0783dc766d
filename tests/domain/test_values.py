"""Dates and ages as they are written on a command line."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.values import parse_moment

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=8)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01", datetime(2026, 4, 30, 16, 0, tzinfo=UTC)),
        ("2026-05-01T12:30", datetime(2026, 5, 1, 4, 30, tzinfo=UTC)),
        ("2026-05-01T12:30:00+00:00", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)),
        ("30d", datetime(2026, 4, 1, 4, 0, tzinfo=UTC)),
        (" 36H ", datetime(2026, 4, 29, 16, 0, tzinfo=UTC)),
        ("1.5h", datetime(2026, 5, 1, 2, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_of_this_machine_unless_it_names_a_zone(text: str, expected: datetime):
    assert parse_moment("--newer", text, NOW) == expected.timestamp()


@pytest.mark.parametrize("text", ["", "yesterday", "30", "d", "2026-13-01", "99999999999y", "2026-05-01T99"])
def test_what_is_neither_names_the_option_and_the_remedy(text: str):
    with pytest.raises(ConfigError, match=r"^--newer: .*write 2024-05-01"):
        parse_moment("--newer", text, NOW)
