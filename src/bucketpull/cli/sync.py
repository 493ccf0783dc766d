"""`bucketpull sync`: the whole job on this machine."""

from typing import Any

import click

from bucketpull.cli import options


@click.command(cls=options.ChoosingCommand)
@options.places("SOURCE VOLUME...")
@options.source
@options.choosing
@options.budget
@options.limits
@options.storing
@options.when_full
@click.option(
    "--dry-run", is_flag=True, help="List, and say what would be stored, skipped and excluded; write nothing."
)
@options.reporting
@options.volumes_below
@options.common
def sync(places: tuple[str, ...], dry_run: bool, **flags: Any) -> int:
    """Pull SOURCE (upyun://BUCKET[/PREFIX], s3://BUCKET[/PREFIX], urls:FILE) onto one or more VOLUMEs (folders, best one a disk).

    Run it again to go on after an interruption, or to fetch what is new or changed.

    \b
    bucketpull sync upyun://photos /mnt/d1 /mnt/d2 --cdn-url https://img.example.com
    bucketpull sync upyun://photos/2024 /mnt/d1 --cdn-url https://img.example.com --style '!s400'
    bucketpull sync s3://photos /mnt/d1 --api-url https://minio.example.com:9000
    bucketpull sync urls:list.csv /mnt/d1
    bucketpull sync upyun://photos /mnt/d1 --include '/2024/**' --dry-run
    bucketpull sync upyun://photos /mnt/d1 --first newest --limit 100
    bucketpull sync upyun://photos /mnt/d1 --max-bytes 50G/day --price-per-gb 0.29
    bucketpull sync upyun://photos /mnt/d1 --ping https://hc-ping.com/UUID --on-end /usr/local/bin/tell-us
    bucketpull sync upyun://photos /mnt/d1 --cdn-url https://img.example.com --adopt
    bucketpull sync upyun://photos /mnt/d1 --state /mnt/d1/journal
    """
    from bucketpull.wiring.job import dashboard_opener
    from bucketpull.wiring.local_job import run_sync
    from bucketpull.wiring.notifier import notified

    settings = options.settings_of_job(places, flags)
    if dry_run:
        from bucketpull.cli.dry_run import check_flags
        from bucketpull.cli.dry_run import dry_run as forecast

        check_flags(flags)
        return forecast(settings)
    return notified(settings, lambda notifier: run_sync(settings, dashboard_opener(settings), notifier))
