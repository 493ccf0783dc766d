"""Whether what lies at an object's path can be the file that was stored there, as one `stat` tells."""

import os
import stat
from typing import Final

_MTIME_SECONDS: Final = 2.0  # FAT keeps even seconds


def has_length(found: os.stat_result | None, length: int) -> bool:
    """Tell whether it is a regular file of this length in bytes; a link is none."""
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == length


def has_date(found: os.stat_result, mtime: int) -> bool:
    """Tell whether it has this date (Unix seconds), as exactly as file systems keep it."""
    return abs(found.st_mtime - mtime) < _MTIME_SECONDS
