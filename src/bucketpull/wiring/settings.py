"""What the user asked for, from flags, environment and file, in this order; checked before any side effect."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.packing import Packing, parse_packing
from bucketpull.domain.retry import RETRY_SECONDS
from bucketpull.sources.registry import options_by_name, settings_of
from bucketpull.sources.settings import SourceSettings

_SPLIT: dict[str, Callable[[str], list[str]]] = {
    "volumes": str.split,
    **dict.fromkeys(("rules", "include", "exclude"), str.splitlines),
}


class Settings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Everything that can be said on the command line or in a file, under the same names.

    `reserve`, `bandwidth` are as written ("5G", "10%", "08:00,10M 20:00,off"); None means the default. `options` are those of the
    source, as written: it checks them itself.
    """

    source: str = ""
    volumes: list[str] = []
    options: dict[str, Any] = {}
    rules_file: str | None = None
    include: list[str] = []
    exclude: list[str] = []
    rules: list[str] = []
    min_size: str | None = None
    max_size: str | None = None
    newer: str | None = None
    older: str | None = None
    state: str | None = None
    job: str | None = None
    processes: int | None = None
    concurrency: str = "auto"
    rate: float | None = None
    bandwidth: str | None = None
    verify: Literal["size", "md5", "none"] = "size"
    durability: Literal["batch", "file", "none"] = "batch"
    reserve: str = "1G"
    when_full: Literal["pause", "exit"] = "pause"
    layout: Literal["key", "hashed"] = "key"
    pack: str | None = None
    pack_limit: str = "64M"
    pack_names: Literal["key", "wds"] = "key"
    dashboard: str | None = None
    json: bool = False
    quiet: bool = False
    summary: str | None = None
    broker: str | None = None
    machine: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    connect_seconds: float = 15.0
    first_byte_seconds: float = 60.0
    stall_seconds: float = 30.0
    retry_seconds: float = RETRY_SECONDS
    hang_seconds: float = 60.0
    queue_type: Literal["quorum", "classic"] = "quorum"

    def source_settings(self) -> SourceSettings:
        """Return the source's configuration, not yet checked.

        Raises:
            ConfigError: A source or an option that is not understood.

        """
        return settings_of(self.source, self.options)

    def job_name(self) -> str:
        """Return the job's name: as given, or made of the source."""
        if self.job is not None:
            if not self.job or "/" in self.job or self.job.startswith("."):
                raise ConfigError(f"--job {self.job!r}: a name without '/' and without a leading '.'")
            return self.job
        return self.source_settings().label()

    def state_folder(self) -> Path:
        """Return the folder that holds the job's journal."""
        if self.state is not None:
            return Path(self.state)
        from platformdirs import user_state_path

        return user_state_path("bucketpull") / self.job_name()

    def process_count(self) -> int:
        """Return how many worker processes to run: one a core unless told."""
        count = self.processes if self.processes is not None else len(os.sched_getaffinity(0))
        if not 1 <= count <= 256:
            raise ConfigError(f"--processes {count}: from 1 to 256")
        return count

    def packing(self) -> Packing | None:
        """Return how objects are packed; None where each is a file.

        Raises:
            ConfigError: They cannot be packed so.

        """
        return None if self.pack is None else parse_packing(self.pack, self.pack_limit, self.pack_names)

    def fixed_concurrency(self) -> int | None:
        """Return the transfers in flight for the whole machine; None is automatic."""
        if self.concurrency == "auto":
            return None
        if not self.concurrency.isdigit() or not 1 <= int(self.concurrency) <= 100_000:
            raise ConfigError(f"--concurrency {self.concurrency!r}: 'auto' or a number from 1 to 100000")
        return int(self.concurrency)


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Join flags (None: not given), environment and the file named by flag or BUCKETPULL_CONFIG.

    Raises:
        ConfigError: A name or a value that is not understood; says where it stands.

    """
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    path = given.pop("config", None) or environ.get("BUCKETPULL_CONFIG")
    values = _from_file(Path(path)) if path else {}
    values |= _from_environment(environ)
    values |= {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    return _convert(values, "configuration")


def _from_file(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"--config {path}: {error}") from error
    values = {name.replace("-", "_"): value for name, value in values.items()}
    for name in values:
        if name not in _names():
            raise ConfigError(f"--config {path}: unknown name {name!r}{_hint(name)}")
    _convert(values, f"--config {path}")
    return values


def _names() -> list[str]:
    """Return what may stand in a file: our settings, and those of all sources."""
    own = [name for name in Settings.__struct_fields__ if name != "options"]
    return [*own, *options_by_name()]


def _hint(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, _names(), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    options = options_by_name()
    for name in _names():
        variable = (options[name].variable if name in options else "") or f"BUCKETPULL_{name.upper()}"
        text = environ.get(variable)
        if text:
            values[name] = _SPLIT[name](text) if name in _SPLIT else text
    return values


def _convert(values: dict[str, Any], where: str) -> Settings:
    known = options_by_name()
    options = {name: value for name, value in values.items() if name in known}
    own = {name: value for name, value in values.items() if name not in known}
    try:
        return msgspec.convert(own | {"options": options}, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error
