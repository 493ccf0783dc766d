"""`bucketpull work`: a worker of a cluster, which is an agent with its downloaders."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("volumes", metavar="VOLUME...", nargs=-1, type=options.UnvisitedPath())
@options.own_of_source
@options.broker
@options.job_key
@click.option("--machine", metavar="NAME", help="This machine's name in the job (default: the host's name).")
@click.option("--processes", metavar="N", help="Worker processes (default: one a core).")
@options.reserve
@options.notices
@options.foreign
@options.common_of_worker
def work(**flags: Any) -> int:
    """Download onto one or more VOLUMEs for the coordinator of --job. It may start before the coordinator.

    Credentials, --api-url and --cdn-url are this machine's own: those of the coordinator are only compared with them. All else
    of the source comes from the coordinator. The broker's URL is best in BUCKETPULL_BROKER, for it holds a password.

    \b
    bucketpull work /mnt/d1 /mnt/d2 --job photos --job-key-file /etc/bucketpull/photos.key
    """
    from bucketpull.wiring.cluster import run_work
    from bucketpull.wiring.notifier import notified

    settings = options.settings(flags)
    return notified(settings, lambda notifier: run_work(settings, notifier))
