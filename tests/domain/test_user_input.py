"""Dates, ages, sizes and numbers as they are written on a command line."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import parse_count, parse_moment, parse_size

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=timezone(timedelta(hours=8)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-01", datetime(2026, 4, 30, 16, 0, tzinfo=UTC)),
        ("2026-05-01T12:30", datetime(2026, 5, 1, 4, 30, tzinfo=UTC)),
        ("2026-05-01T12:30:00+00:00", datetime(2026, 5, 1, 12, 30, tzinfo=UTC)),
        ("30d", datetime(2026, 4, 1, 4, 0, tzinfo=UTC)),
        (" 36H ", datetime(2026, 4, 29, 16, 0, tzinfo=UTC)),
        ("1d12h", datetime(2026, 4, 29, 16, 0, tzinfo=UTC)),
        ("1d 11h 60m", datetime(2026, 4, 29, 16, 0, tzinfo=UTC)),
        ("1.5h", datetime(2026, 5, 1, 2, 30, tzinfo=UTC)),
    ],
)
def test_a_date_is_of_this_machine_unless_it_names_a_zone(text: str, expected: datetime):
    assert parse_moment("--newer", text, NOW) == expected.timestamp()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "30", "d", "2026-13-01", "99999999999y", "1d12", "1d-12h", "2026-05-01T99"]
)
def test_what_is_neither_names_the_option_and_the_remedy(text: str):
    with pytest.raises(ConfigError, match=r"^--newer: .*write 2024-05-01"):
        parse_moment("--newer", text, NOW)


@pytest.mark.parametrize(
    ("text", "size", "count"),
    [
        ("0", 0, 0),
        ("10", 10, 10),
        ("1.5K", 1536, 1500),
        (" 5m ", 5 << 20, 5_000_000),
        ("0.1G", 107374182, 10**8),
        ("7 t", 7 << 40, 7 * 10**12),
    ],
)
def test_a_size_is_binary_and_a_number_decimal(text: str, size: int, count: int):
    assert (parse_size("--min-size", text), parse_count("--max-requests", text)) == (size, count)


@pytest.mark.parametrize(
    ("text", "size"),
    [("5B", 5), ("5 b", 5), ("5iB", 5), ("5KB", 5 << 10), ("5KiB", 5 << 10), ("1.5 kib", 1536)],
)
def test_a_size_may_say_that_it_is_of_bytes(text: str, size: int):
    assert parse_size("--min-size", text) == size
    with pytest.raises(ConfigError):
        parse_count("--max-requests", text)


@pytest.mark.parametrize("text", ["5I", "5BB", "5BiB", "5K iB", "5iKB", "5KK"])
def test_what_is_not_of_bytes_is_no_size(text: str):
    with pytest.raises(ConfigError, match="is not a size"):
        parse_size("--min-size", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "K",
        "-1",
        "1e3",
        "10.5",
        "0.1",
        ".5G",
        "5.G",
        "1.2.3G",
        "1_0",
        "٣",
        "1\u212a",
        "9" * 40,
        "9" * 400,
        "99999P",
        "inf",
        "1,000",
    ],
)
def test_a_part_of_a_single_one_and_what_no_disk_holds_are_neither_size_nor_number(text: str):
    with pytest.raises(ConfigError, match=r"^--min-size: .* is not a size; write a number"):
        parse_size("--min-size", text)
    with pytest.raises(ConfigError, match=r"^--max-requests: .* is not a number; write one"):
        parse_count("--max-requests", text)
