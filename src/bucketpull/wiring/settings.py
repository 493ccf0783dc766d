"""What the user asked for; `configuration` makes it of flags, environment and file."""

import os
import re
import socket
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from bucketpull.domain.budget import Prices
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.packing import DEFAULT_LIMIT, Packing, parse_packing
from bucketpull.domain.reserve import DEFAULT_RESERVE
from bucketpull.domain.retry import RETRY_SECONDS
from bucketpull.domain.user_input import Price, Rate, shown_value
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.report.console import inform, tell
from bucketpull.sources.registry import options_by_name, settings_of
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.trusted_path import user_folder

_DAY_SECONDS = 86_400.0
_LONGEST_NAME_BYTES = 200  # a folder's name may have 255
_FETCH = FetchOptions()

Seconds = Annotated[float, msgspec.Meta(gt=0, le=_DAY_SECONDS, description="seconds, above 0, such as 30")]
Processes = Annotated[int, msgspec.Meta(ge=1, le=256, description="a number from 1 to 256")]


class Settings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, dict=True):
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
    first: str | None = None
    limit: int | None = None
    max_bytes: str | None = None
    max_requests: str | None = None
    price_per_gb: Price | None = None
    price_per_10k: Price | None = None
    state: str | None = None
    job: str | None = None
    processes: Processes | None = None
    concurrency: str = "auto"
    rate: Rate | None = None
    bandwidth: str | None = None
    verify: Literal["size", "md5", "none"] = "size"
    durability: Literal["batch", "file", "none"] = "batch"
    reserve: str = DEFAULT_RESERVE
    when_full: Literal["pause", "exit"] = "pause"
    layout: Literal["key", "hashed"] = "key"
    adopt: Literal["md5", "date"] | None = None
    foreign: Literal["keep", "replace"] = "keep"
    pack: str | None = None
    pack_limit: str = DEFAULT_LIMIT
    pack_names: Literal["key", "wds"] = "key"
    dashboard: str | None = None
    dashboard_token: str = ""
    dashboard_token_file: str | None = None
    dashboard_cert: str | None = None
    dashboard_key: str | None = None
    volumes_below: list[str] = []
    json: bool = False
    quiet: bool = False
    summary: str | None = None
    ping: str | None = None
    on_end: str | None = None
    log_file: str | None = None
    broker: str | None = None
    machine: str | None = None
    job_key_file: str | None = None
    job_key: str = ""
    no_job_key: bool = False
    ca_file: str | None = None
    insecure: bool = False
    connect_seconds: Seconds = _FETCH.connect_seconds
    first_byte_seconds: Seconds = _FETCH.first_byte_seconds
    stall_seconds: Seconds = _FETCH.stall_seconds
    retry_seconds: Seconds = RETRY_SECONDS
    hang_seconds: Seconds = 60.0
    queue_type: Literal["quorum", "classic"] = "quorum"

    def tell(self, text: str, *, level: str = "info", private: bool = False, timed: bool = False) -> None:
        """Tell people how it goes, as `console.tell` does, unless they asked to read of errors only."""
        if not self.quiet:
            tell(text, level=level, private=private, timed=timed)

    def inform(self, text: str) -> None:
        """Give people a result, as `console.inform` does, likewise."""
        if not self.quiet:
            inform(text)

    def source_settings(self) -> SourceSettings:
        """Return the source's configuration, not yet checked. Raises ConfigError where a source or an option is not understood."""
        return self._source_settings

    @cached_property
    def _source_settings(self) -> SourceSettings:
        return settings_of(self.source, self.options)

    def source_config(self) -> SourceSettings:
        """Return the source's configuration, checked. Raises ConfigError where it cannot work."""
        source = self.source_settings().checked().prepared()
        return source.with_versions() if "md5" in {self.adopt, self.verify} else source

    def job_name(self) -> str:
        """Return the job's name: as given, or made of the source."""
        if self.job is not None:
            if not self.job or "/" in self.job or self.job.startswith("."):
                raise ConfigError(
                    f"--job {shown_value(self.job)}: write a name without '/' and without a leading '.'"
                )
            if len(os.fsencode(self.job)) > _LONGEST_NAME_BYTES:
                raise ConfigError(
                    f"--job {shown_value(self.job)}: write a name of at most {_LONGEST_NAME_BYTES} bytes"
                )
            return self.job
        return self.source_settings().label()

    def state_folder(self) -> str:
        """Return the folder that holds the job's journal."""
        if self.state is not None:
            return self.state.rstrip("/") or self.state
        return os.path.join(jobs_folder(), self.job_name())

    def secrets(self) -> list[str]:
        """Return the values that nobody else may see."""
        hidden = [str(self.options[name]) for name in secret_options() & self.options.keys()]
        own = (_password_of(self.broker or ""), self.job_key, self.dashboard_token, self.ping or "")
        return [value for value in (*hidden, *own) if value]

    def process_count(self) -> int:
        """Return how many downloaders to run: one a core unless told."""
        return self.processes or min(256, len(os.sched_getaffinity(0)))

    def packing(self) -> Packing | None:
        """Return how objects are packed; None where each is a file. Raises ConfigError where they cannot be packed so."""
        if self.pack is not None:
            return parse_packing(self.pack, self.pack_limit, self.pack_names)
        if self.pack_limit != DEFAULT_LIMIT or self.pack_names != "key":
            raise ConfigError("--pack-limit and --pack-names concern packs only; give --pack too")
        return None

    def fetch_options(self) -> FetchOptions:
        """Return how transfers are made."""
        return FetchOptions(
            connect_seconds=self.connect_seconds,
            first_byte_seconds=self.first_byte_seconds,
            stall_seconds=self.stall_seconds,
            ca_file=self.ca_file,
            insecure=self.insecure,
        )

    def machine_name(self) -> str:
        """Return the name of this machine in the job: as given, or the host's."""
        return self.machine or socket.gethostname() or "localhost"

    def broker_url(self) -> str:
        """Return where RabbitMQ is. Raises ConfigError where nobody said it."""
        if self.broker is None:
            raise ConfigError("--broker: give RabbitMQ's address, such as amqp://USER:PASSWORD@HOST/VHOST")
        return self.broker

    def prices(self) -> Prices:
        """Return what traffic and requests cost."""
        return Prices(self.price_per_gb, self.price_per_10k)

    def fixed_concurrency(self) -> int | None:
        """Return the transfers in flight for the whole machine; None is automatic."""
        if self.concurrency == "auto":
            return None
        if not re.fullmatch("[0-9]{1,6}", self.concurrency) or not 1 <= int(self.concurrency) <= 100_000:
            raise ConfigError(
                f"--concurrency {shown_value(self.concurrency)}: write 'auto' or a number from 1 to 100000"
            )
        return int(self.concurrency)


def secret_options() -> set[str]:
    """Return the names of those options of sources that nobody else may see."""
    return {name for name, option in options_by_name().items() if option.secret}


def jobs_folder() -> str:
    """Return the folder with a folder for each job of the user that has no `--state`.

    Raises ConfigError where the user has none, as a service without HOME.
    """
    folder = user_folder("XDG_STATE_HOME", ".local/state")
    if folder is None:
        raise ConfigError(
            "this user has no home folder for the journal; set HOME, or name a folder with --state"
        )
    return folder


def _password_of(url: str) -> str:
    """Return the password in a URL; all of a URL that is not understood."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return url
