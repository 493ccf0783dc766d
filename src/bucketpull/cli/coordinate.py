"""`bucketpull coordinate`: the lister and bookkeeper of a cluster."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("source")
@options.source
@options.broker
@options.limits
@options.storing
@click.option(
    "--when-full",
    type=click.Choice(["pause", "exit"]),
    help="When no volume has room: wait for it, or exit 5.",
)
@click.option(
    "--worker-token",
    type=float,
    metavar="DAYS",
    help="Only print the environment of a worker that may read the bucket so long, without the password.",
)
@options.reporting
@options.common
def coordinate(worker_token: float | None, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """List SOURCE and keep the books, for `bucketpull work` on other machines, joined by RabbitMQ.

    Run it again to go on after an interruption; workers keep what they hold meanwhile.

    \b
    bucketpull coordinate upyun://photos --broker amqp://user:secret@queue.example.com/pull --job photos
    """  # noqa: D301
    from bucketpull.cli.watching import watchers
    from bucketpull.wiring.cluster import run_coordinate, run_worker_token

    settings = options.settings(flags)
    if worker_token is not None:
        return run_worker_token(settings, worker_token)
    return run_coordinate(settings, watchers(settings))
