"""`bucketpull verify`: volumes compared with their ledgers."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True)
@click.option(
    "--hash", "hashed", is_flag=True, help="Read every file, and compare its MD5 where one is recorded."
)
@click.option("--repair", is_flag=True, help="Fetch again what is missing or damaged, and nothing else.")
@options.source
@options.common
def verify(hashed: bool, repair: bool, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Compare VOLUMEs with their ledgers: missing, short, changed, unreadable and extra files.

    It needs neither the job nor the network, but for --repair: that takes the job's journal (--job or --state), and the
    credentials from the environment. Extra files are named and left alone.

    \b
    bucketpull verify /mnt/d1 --hash
    bucketpull verify /mnt/d1 /mnt/d2 --repair --job photos
    """  # noqa: D301
    from bucketpull.wiring.verify import run_verify

    return run_verify(options.settings(flags), hashed=hashed, repair=repair)
