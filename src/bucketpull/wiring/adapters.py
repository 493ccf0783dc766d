"""Adapters made from settings, which all commands use."""

import secrets
import socket
import time
from collections.abc import Sequence
from functools import partial

import msgspec

from bucketpull import __version__
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.errors import ConfigError
from bucketpull.domain.parameters import AgentParameters
from bucketpull.domain.retry import next_page_try, next_try
from bucketpull.fetch.running_request import FetchOptions
from bucketpull.journal.job_settings import OPTION, PRICE
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.wiring.selected_source import order_of
from bucketpull.wiring.settings import Settings


def source_config(settings: Settings) -> SourceSettings:
    """Return the source's configuration, checked. Raises ConfigError where it cannot work."""
    source = settings.source_settings().checked().prepared()
    return source.with_versions() if "md5" in {settings.adopt, settings.verify} else source


def fetch_options(settings: Settings) -> FetchOptions:
    """Return how transfers are made."""
    return FetchOptions(
        connect_seconds=settings.connect_seconds,
        first_byte_seconds=settings.first_byte_seconds,
        stall_seconds=settings.stall_seconds,
        ca_file=settings.ca_file,
        insecure=settings.insecure,
    )


def open_journal(settings: Settings, now: float) -> SqliteJournal:
    """Open the job's journal, and make it if there is none; see `SqliteJournal.open` for what it raises."""
    source = settings.source_settings()
    options = {OPTION + name: value for name, value in source.remembered().items()}
    given = msgspec.structs.asdict(settings.prices())
    prices = {PRICE + name: "" if price is None else str(price) for name, price in given.items()}
    configuration = source.identity() | {"layout": settings.layout} | options | prices
    first = settings.retry_seconds
    return SqliteJournal.open(
        settings.state_folder(),
        settings.job_name(),
        configuration,
        partial(next_try, first_seconds=first),
        now,
        partial(next_page_try, first_seconds=first),
        order_of(settings),
    )


def broker_url(settings: Settings) -> str:
    """Return where RabbitMQ is. Raises ConfigError where nobody said it."""
    if settings.broker is None:
        raise ConfigError("--broker: give RabbitMQ's address, such as amqp://USER:PASSWORD@HOST/VHOST")
    return settings.broker


def machine_name(settings: Settings) -> str:
    """Return the name of this machine in the job: as given, or the host's."""
    return settings.machine or socket.gethostname() or "localhost"


def agent_parameters(
    settings: Settings, journal: str, machine: str, endpoints: Sequence[EndpointSpec] = ()
) -> AgentParameters:
    """Return the parameters of this machine's worker; `endpoints` are the source's."""
    return AgentParameters(
        machine=machine,
        journal=journal,
        version=__version__,
        incarnation=secrets.token_hex(4),
        durability=settings.durability,
        verify=settings.verify,
        hang_seconds=settings.hang_seconds,
        packs=settings.pack is not None,
        endpoints=tuple(endpoints),
        adopts=settings.adopt or "",
        keeps_foreign=settings.foreign == "keep",
    )


class SystemClock:
    """See `ports.Clock`."""

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def today(self) -> str:
        """Return today's date in the machine's time zone, as 2026-05-01."""
        return time.strftime("%Y-%m-%d")
