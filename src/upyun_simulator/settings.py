"""Everything that can be set about a simulator, in one value that is also the JSON its process is started with."""

from typing import Annotated, Literal

import msgspec

from upyun_simulator.auth import Operator

Port = Annotated[int, msgspec.Meta(ge=0, le=65535, description="a port from 0 (any that is free) to 65535")]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400.0, description="seconds, such as 0.02")]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e15, description="a number, 0 for no limit")]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000, description="a whole number, 0 for no limit")]
Name = Annotated[str, msgspec.Meta(pattern="^[^/?#]+$", description="a name without '/', '?' and '#'")]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Seconds, bytes and requests a second; 0 is off. Ports of 0 are chosen by the system."""

    spec: str = "demo"
    bucket: Name = "demo-bucket"
    operators: tuple[str, ...] = ("operator:password",)  # NAME:PASSWORD[:read+write+delete | :CODE]
    seed: int = 0  # of faults and jitter
    faults: tuple[str, ...] = ()
    clock_offset: float = 0  # seconds that the server's clock is ahead

    host: str = "127.0.0.1"
    api_port: Port = 0
    cdn_port: Port = 0
    control_port: Port = 0
    tls_cert: str = ""
    tls_key: str = ""

    list_latency: Seconds = 0
    api_latency: Seconds = 0
    cdn_latency: Seconds = 0
    jitter: Seconds = 0  # added to each latency, evenly between zero and this
    list_slots: Count = 0  # listings answered at a time, each taking the latency; the others wait
    api_slots: Count = 0
    cdn_slots: Count = 0
    list_rate: Amount = 0  # listings a second, then 429
    api_rate: Amount = 0  # other REST requests a second, then 429
    cdn_rate: Amount = 0  # CDN requests a second, then 403 40310003
    bandwidth: Amount = 0  # bytes a second, all connections together
    connection_bandwidth: Amount = 0  # bytes a second, each connection

    cursors: Literal["rowkey", "sealed"] = "rowkey"  # sealed: forged cursors are refused
    cursor_padding: bool = True
    eof_page: bool = False  # a full last page has a cursor, and an empty page follows
    empty: Literal["array", "object", "absent", "nothing"] = "array"
    folder_noise: bool = False
    max_limit: int = 10_000
    # The answer for a folder that is asked for with `x-upyun-folder: false`; the service may also say 40300015.
    folder_false_code: int = 40400001

    separator: str = "!"
    # The CDN answers for a path without its empty segments, `.` and `..`, as caches do.
    normalises: bool = False
    versions: tuple[str, ...] = ("s400", "small")
    token_secret: str = ""  # of `_upt`; empty is an unprotected domain
    path_signed: Literal["decoded", "encoded"] = "decoded"
    referers: tuple[str, ...] = ()  # hosts a Referer must name, where it is sent
    blocked_agents: tuple[str, ...] = ()  # patterns such as *curl*

    track_keys: bool = False  # count keys fetched more than once (memory grows with the keys fetched)
    access_log: str = ""  # a file, or - for standard error

    def accounts(self) -> list[Operator]:
        """Return the operators; ValueError for one that is not written NAME:PASSWORD[:PERMISSIONS]."""
        return [_operator(text) for text in self.operators]


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Where a started simulator is, and the first operator's credentials."""

    api_url: str
    cdn_url: str
    control_url: str
    bucket: str
    operator: str
    password: str
    pid: int


def _operator(text: str) -> Operator:
    name, _, rest = text.partition(":")
    password, _, extra = rest.partition(":")
    if not name or not password:
        msg = f"operator {text!r} is not complete: write NAME:PASSWORD or NAME:PASSWORD:read"
        raise ValueError(msg)
    if extra.isdecimal():
        return Operator(name, password, refused=int(extra))
    return Operator(name, password, frozenset(extra.split("+"))) if extra else Operator(name, password)
