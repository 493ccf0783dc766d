"""`bucketpull limit`: other limits for a running job."""

from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.bandwidth_schedule import parse_bandwidth
from bucketpull.domain.errors import ExitCode
from bucketpull.domain.user_input import Rate, converted, or_off
from bucketpull.wiring.coordinator_client import order
from bucketpull.wiring.settings import Settings


@click.command()
@click.option("--rate", metavar="N|off", help="At most N requests a second.")
@click.option("--bandwidth", metavar="SIZE|off", help="At most so many bytes a second, also by time of day.")
@click.option("--concurrency", metavar="auto|N", help="Transfers in flight, all machines together.")
@options.of_job
def limit(rate: str | None, bandwidth: str | None, concurrency: str | None, **flags: Any) -> int:
    """Change the limits of a running job, all machines together; what is not named stays.

    They hold until the job ends, even if it is started again before then, unless its options give other limits.

    \b
    bucketpull limit --job photos --bandwidth 20M --rate off
    bucketpull limit --job photos --bandwidth '08:00,10M 20:00,off'
    """
    changes: dict[str, object] = {}
    if rate is not None:
        with or_off():
            changes["requests_per_second"] = None if rate == "off" else converted("--rate", rate, Rate)
    if bandwidth is not None:
        parse_bandwidth(bandwidth)
        changes["bandwidth"] = bandwidth
    if concurrency is not None:
        changes["concurrency"] = Settings(concurrency=concurrency).fixed_concurrency()
    if not changes:
        raise click.UsageError("say which limit: --rate, --bandwidth or --concurrency")
    settings, by_broker = options.asking(flags)
    order(settings, "/api/limits", changes, by_broker=by_broker)
    return ExitCode.COMPLETE
