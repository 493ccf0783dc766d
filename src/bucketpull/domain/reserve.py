"""How much of each volume is kept free."""

import re
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import parse_size

DEFAULT_RESERVE: Final = "1G"


def parse_reserve(text: str, total_bytes: int) -> int:
    """Return the bytes to keep free on a volume of so many bytes: a size, or a share such as "5%".

    Raises ConfigError where it is neither, or a share above 100%.
    """
    share = re.fullmatch(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*%", text.strip()) if "%" in text else None
    if share is None:
        return parse_size("--reserve", text)
    if float(share[1]) > 100:
        raise ConfigError(f"--reserve: {text!r} is more than the whole volume; write less")
    return int(total_bytes * float(share[1]) / 100)
