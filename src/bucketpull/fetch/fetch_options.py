"""The settings of all transfers: timeouts, idle connections, what is trusted by TLS."""

from typing import Final

import msgspec

# A connection that is idle for longer is not needed at the present level, and may keep other processes out of a server that takes so many.
IDLE_SECONDS: Final = 2.0


class FetchOptions(msgspec.Struct, frozen=True):
    """How transfers are made. Timeouts in seconds, speeds in bytes a second; the settings of the same names have these defaults.

    A transfer is ended when there is no connection after `connect_seconds`, no answer `first_byte_seconds` after its start,
    or when less than `stall_bytes_per_second` came on average in a window of `stall_seconds`. There is no limit on the
    whole: large objects on slow links take what they take.

    `kept_connections` bounds those that are kept idle, not those in use. `direct` allows usual requests to go past libcurl.
    """

    connect_seconds: float = 15.0
    first_byte_seconds: float = 60.0
    stall_seconds: float = 30.0
    stall_bytes_per_second: int = 256
    kept_connections: int = 1024
    ca_file: str | None = None
    insecure: bool = False
    direct: bool = True
