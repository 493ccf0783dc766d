"""`bucketpull failures`: what could not be had, and why."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("source", required=False)
@options.chosen
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="List at most N (default: all).")
@click.option(
    "--broker", metavar="URL", help="Ask the coordinator of --job through RabbitMQ, from any machine."
)
@options.common
def failures(reason: str | None, match: str | None, limit: int | None, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """List what could not be had: reason, attempts, key and last answer.

    \b
    bucketpull failures --job photos
    bucketpull failures --job photos --reason forbidden --match '2024/*'
    bucketpull failures --job photos --json
    """  # noqa: D301
    remote = flags["broker"] is not None
    settings = options.settings(flags)
    if remote:
        from bucketpull.wiring.cluster import run_remote_failures

        return run_remote_failures(settings, reason, match, limit)
    from bucketpull.wiring.failures import run_failures

    return run_failures(settings, reason, match, limit)
