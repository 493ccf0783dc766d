"""`bucketpull status`: where a job stands."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("source", required=False)
@click.option("--directories", is_flag=True, help="Show the books of every directory.")
@click.option(
    "--broker", metavar="URL", help="Ask the coordinator of --job through RabbitMQ, from any machine."
)
@options.common
def status(directories: bool, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Show where a job stands: its books, speeds and volumes, while it runs and after.

    The job is named by SOURCE, --job or --state; if you have only one, by nothing.

    \b
    bucketpull status --job photos
    bucketpull status --job photos --directories
    bucketpull status --job photos --json
    """  # noqa: D301
    from bucketpull.wiring.status import run_status

    remote = flags["broker"] is not None
    settings = options.settings(flags)
    if remote:
        from bucketpull.wiring.cluster import run_remote_status

        return run_remote_status(settings)
    return run_status(settings, directories=directories)
