"""`bucketpull doctor`: what would go wrong, before it does."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("places", metavar="[SOURCE] [VOLUME...]", nargs=-1)
@options.source
@options.broker
@click.option("--reserve", metavar="SIZE", help="Bytes or percent kept free on each volume (default: 1G).")
@options.common
def doctor(places: tuple[str, ...], **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Check this machine, and SOURCE and VOLUMEs if named: credentials, clock, DNS, CDN, limits, disks, broker.

    Each check passes, warns or fails, and says what to do. Exit 0, or 3 if one failed. Nothing is written.

    \b
    bucketpull doctor
    bucketpull doctor upyun://photos /mnt/d1 --cdn-url https://img.example.com
    """  # noqa: D301
    from bucketpull.wiring.doctor import run_doctor

    named = bool(places) and "://" in places[0]
    given = {"source": places[0] if named else None, "volumes": places[named:]}
    return run_doctor(options.settings({**flags, **given}))
