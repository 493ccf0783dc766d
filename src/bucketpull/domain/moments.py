"""Dates as people write them: 2024-05-01, 2024-05-01T12:30, with a zone or in this machine's, or an age: 36h, 30d, 6w."""

import re
from datetime import datetime, timedelta

from bucketpull.domain.errors import ConfigError

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdwy])", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}


def parse_age(text: str) -> float | None:
    """Return an age in seconds; None if the text is none."""
    match = _AGE.fullmatch(text.strip())
    return None if match is None else float(match[1]) * _SECONDS[match[2].lower()]


def parse_moment(name: str, text: str, now: datetime) -> int:
    """Return a date, or an age counted back from `now` (with a zone), as Unix seconds; `name` is the option's, for the error.

    Raises:
        ConfigError: It is neither.

    """
    try:
        age = parse_age(text)
        if age is not None:
            return int((now - timedelta(seconds=age)).timestamp())
        date = datetime.fromisoformat(text.strip())
        return int((date if date.tzinfo else date.replace(tzinfo=now.tzinfo)).timestamp())
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{name}: {text!r} is neither a date nor an age; write 2024-05-01, 2024-05-01T12:30 or 30d"
        ) from error
