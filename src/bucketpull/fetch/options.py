"""How transfers are made, whatever they fetch."""

import msgspec


class FetchOptions(msgspec.Struct, frozen=True):
    """Timeouts in seconds, speeds in bytes a second.

    A transfer that receives less than `stall_bytes_per_second` for `stall_seconds` is ended, also while it waits for its first
    byte: there is no limit on the whole, since large objects on slow links take what they take.
    `buffer_bytes` holds a usual object whole, so that it costs one call of Python.
    """

    connect_seconds: float = 15.0
    stall_seconds: float = 30.0
    stall_bytes_per_second: int = 256
    buffer_bytes: int = 128 << 10
    connections: int = 1024
    ca_file: str | None = None
    insecure: bool = False
