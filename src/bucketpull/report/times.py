"""Times for people, in the zone of this machine; all are given in Unix seconds."""

import time


def time_stamp(at: float) -> str:
    """Write a time as the console's lines begin: `2026-05-01 13:37:00`."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def zoned_time_stamp(at: float) -> str:
    """Write a time with its distance from UTC, as a log file's lines begin: `2026-05-01 13:37:00+0800`."""
    return time.strftime("%Y-%m-%d %H:%M:%S%z", time.localtime(at))


def clock(at: float) -> str:
    """Write a time of these hours: `13:37:00`."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def clock_minutes(at: float) -> str:
    """Write the same to the minute: `13:37`."""
    return time.strftime("%H:%M", time.localtime(at))
