"""`bucketpull coordinate`: the lister and bookkeeper of a cluster."""

import time
from typing import Annotated, Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.user_input import converted
from bucketpull.report.console import say
from bucketpull.wiring.settings import Settings

Days = Annotated[float, msgspec.Meta(gt=0, le=3650, description="days, above 0, such as 14")]


@click.command(cls=options.ChoosingCommand)
@click.argument("source", required=False)
@options.source
@options.choosing
@options.budget
@options.broker
@options.job_key
@options.limits
@options.storing
@options.when_full
@click.option(
    "--worker-token",
    metavar="DAYS",
    help="Only print the environment of a worker that may read the bucket so long, without the password.",
)
@click.option(
    "--worker-key",
    metavar="MACHINE",
    help="Only print the environment of a worker that may speak for that machine alone, in place of the job key.",
)
@options.reporting
@options.common
def coordinate(worker_token: str | None, worker_key: str | None, **flags: Any) -> int:
    """List SOURCE and keep the books, for `bucketpull work` on other machines, joined by RabbitMQ.

    Run it again to go on after an interruption; workers keep what they hold meanwhile. The broker's URL is best in
    BUCKETPULL_BROKER, for it holds a password. The job key is made in the state folder; workers need a copy.

    \b
    bucketpull coordinate upyun://photos --job photos --ping https://hc-ping.com/UUID
    """
    settings = options.settings(flags)
    settings.source_settings()
    if worker_token is not None:
        return _print_token(settings, worker_token)
    if worker_key is not None:
        return _print_key(settings, worker_key)

    from bucketpull.wiring.cluster import run_coordinate
    from bucketpull.wiring.job import dashboard_opener
    from bucketpull.wiring.notifier import notified

    # Its page adds no volumes: it has no disks.
    open_dashboard = dashboard_opener(msgspec.structs.replace(settings, volumes_below=[]))
    return notified(settings, lambda notifier: run_coordinate(settings, open_dashboard, notifier))


def _print_token(settings: Settings, text: str) -> ExitCode:
    """Print what a worker needs to read the bucket for so many days, without the password."""
    days: float = converted("--worker-token", text, Days)
    expires = int(time.time() + days * 86400)
    for name, value in settings.source_config().worker_secrets(expires).items():
        say(f"{name}={value}")
    return ExitCode.COMPLETE


def _print_key(settings: Settings, machine: str) -> ExitCode:
    """Print the key of one machine, which can speak for no other, for its environment."""
    from bucketpull.transport.job_key import machine_key
    from bucketpull.wiring.job_key_file import coordinator_key, path_of_key

    key = coordinator_key(settings)
    if key is None:
        raise ConfigError(f"job key {path_of_key(settings)}: is not there; `bucketpull coordinate` makes it")
    say(f"BUCKETPULL_MACHINE={machine}")
    say(f"BUCKETPULL_JOB_KEY={machine_key(key, machine)}")
    return ExitCode.COMPLETE
