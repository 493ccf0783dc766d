"""`bucketpull where`: on which volume an object lies."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("key")
@options.common
def where(key: str, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Say on which machine and volume the object KEY lies, and at which path; exit 3 if nobody has it.

    \b
    bucketpull where 2024/img-000.jpg --job photos
    """  # noqa: D301
    from bucketpull.wiring.where import run_where

    return run_where(options.settings(flags), key)
