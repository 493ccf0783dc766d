"""`bucketpull plan`: what a job would take."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("source")
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    metavar="N",
    help="List at most N pages.",
)
@options.source
@click.option("--concurrency", metavar="auto|N", help="Transfers in flight while it measures (default: 32).")
@click.option("--rate", type=float, metavar="N", help="The job's limit of requests a second.")
@click.option("--bandwidth", metavar="SIZE", help="The job's limit of bytes a second, also by time of day.")
@click.option("--reserve", metavar="SIZE", help="Bytes or percent kept free on each volume (default: 1G).")
@options.common
def plan(sample: int, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Estimate objects, space, inodes, requests and days for SOURCE, and whether it fits on VOLUMEs.

    It asks for the bucket's size, lists a sample, fetches objects for three seconds to measure, and writes nothing. Exit 0 if it
    fits, 5 if not.

    \b
    bucketpull plan upyun://photos /mnt/d1 --cdn-url https://img.example.com
    """  # noqa: D301
    from bucketpull.wiring.plan import run_plan

    return run_plan(options.settings(flags), sample)
