"""`bucketpull resume`: a paused job goes on."""

from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode
from bucketpull.wiring.coordinator_client import order


@click.command()
@options.of_job
def resume(**flags: Any) -> int:
    """Let a paused job go on.

    \b
    bucketpull resume --job photos
    """
    settings, by_broker = options.asking(flags)
    order(settings, "/api/resume", by_broker=by_broker)
    return ExitCode.COMPLETE
