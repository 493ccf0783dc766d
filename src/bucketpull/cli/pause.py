"""`bucketpull pause`: nothing more is started, until it is resumed."""

from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode
from bucketpull.wiring.coordinator_client import order


@click.command()
@options.of_job
def pause(**flags: Any) -> int:
    """Have a running job start no more transfers, until `bucketpull resume`.

    What is in transfer ends; listing stops too. A coordinator that is started again is still paused; `sync` goes on.

    \b
    bucketpull pause --job photos
    bucketpull pause --job photos --broker
    """
    settings, by_broker = options.asking(flags)
    order(settings, "/api/pause", by_broker=by_broker)
    return ExitCode.COMPLETE
