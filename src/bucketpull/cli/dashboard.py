"""`bucketpull dashboard`: the page of a job that runs without one, or does not run."""

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import click

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode
from bucketpull.wiring.dashboard_access import dashboard_at

if TYPE_CHECKING:
    from bucketpull.wiring.at_rest import JobApi, JobAtRest
    from bucketpull.wiring.job import ViewOpener


@click.command()
@click.argument("source", required=False)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:8377",
    show_default=True,
    help="Where to serve it.",
)
@options.dashboard_access
@options.volumes_below
@options.prices
@options.common
def dashboard(address: str, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Serve the page of a job, until Ctrl-C: from its coordinator while one runs, else from its journal.

    The job is named by SOURCE, --job or --state; if you have only one, by nothing.

    \b
    bucketpull dashboard --job photos
    bucketpull dashboard --state /mnt/ssd/photos --listen 127.0.0.1:9000
    """  # noqa: D301
    settings = options.settings(flags)
    from bucketpull.wiring.at_rest import JobApi, JobAtRest

    panel = JobAtRest(settings)
    outside = JobApi(settings, panel)
    return asyncio.run(_serve(panel, outside, dashboard_at(address, "--listen", settings)))


async def _serve(panel: "JobAtRest", outside: "JobApi", open_dashboard: "ViewOpener") -> ExitCode:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    following = asyncio.create_task(panel.follow(), name="follow")
    dashboard = await open_dashboard(outside.answer, panel)
    await stop.wait()
    following.cancel()
    await dashboard.close()
    return ExitCode.COMPLETE
