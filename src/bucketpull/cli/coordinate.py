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
@options.reporting
@options.common
def coordinate(**flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """List SOURCE and keep the books, for `bucketpull work` on other machines, joined by RabbitMQ.

    Run it again to go on after an interruption; workers keep what they hold meanwhile.

    \b
    bucketpull coordinate upyun://photos --broker amqp://user:secret@queue.example.com/pull --job photos
    """  # noqa: D301
    from bucketpull.app.cluster import run_coordinate
    from bucketpull.cli.watching import watchers

    settings = options.settings(flags)
    return run_coordinate(settings, watchers(settings))
