"""Sizes as people write them: 512, 64K, 100M, 5G, 4T (binary: K is 1,024 bytes), and shares of a disk: 10%."""

import re

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.values import shown_value

_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([KMGTP]?)(?:i?B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def parse_size(name: str, text: str) -> int:
    """Return a number of bytes; `name` is the option's, for the error.

    Raises:
        ConfigError: It is no size.

    """
    match = _SIZE.fullmatch(text.strip())
    size = None if match is None else int(float(match[1]) * 1024 ** _POWERS[match[2].upper()])
    if size is None or size >= 1 << 63:
        raise ConfigError(
            f"{name}: {shown_value(text)} is not a size; write a number with K, M, G or T, such as 100M"
        )
    return size


def parse_count(name: str, text: str) -> int:
    """Return a number of things, such as 5M: here K, M and G are thousands, millions and milliards.

    Raises:
        ConfigError: It is no number.

    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(
            f"{name}: {text!r} is not a number; write one, with K, M or G if you like, such as 5M"
        )
    return int(float(match[1]) * 1000 ** _POWERS[match[2].upper()])


def parse_reserve(text: str, total_bytes: int) -> int:
    """Return the bytes to keep free on a volume of so many bytes: a size, or a share such as "5%".

    Raises:
        ConfigError: It is neither, or a share above 100%.

    """
    share = re.fullmatch(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*%", text.strip())
    if share is None:
        return parse_size("--reserve", text)
    if float(share[1]) > 100:
        raise ConfigError(f"--reserve: {text!r} is more than the whole volume; write less")
    return int(total_bytes * float(share[1]) / 100)
