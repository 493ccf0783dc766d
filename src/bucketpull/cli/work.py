"""`bucketpull work`: a downloader of a cluster."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("volumes", metavar="VOLUME...", nargs=-1, type=click.Path())
@options.broker
@click.option("--machine", metavar="NAME", help="This machine's name in the job (default: the host's name).")
@click.option("--processes", metavar="N", help="Worker processes (default: one a core).")
@click.option("--reserve", metavar="SIZE", help="Bytes or percent kept free on each volume (default: 1G).")
@options.common
def work(**flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Download onto one or more VOLUMEs for the coordinator of --job. It may start before the coordinator.

    The source's settings come from the coordinator, its credentials from this machine's environment or file.

    \b
    bucketpull work /mnt/d1 /mnt/d2 --broker amqp://user:secret@queue.example.com/pull --job photos
    """  # noqa: D301
    from bucketpull.wiring.cluster import run_work

    return run_work(options.settings(flags))
