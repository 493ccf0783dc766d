"""`bucketpull retry`: failures become work again."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("source", required=False)
@options.chosen
@options.common
def retry(reason: str | None, match: str | None, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Make failures into work again, all or some; the next `bucketpull sync` does it.

    \b
    bucketpull retry --job photos
    bucketpull retry --job photos --reason forbidden
    """  # noqa: D301
    from bucketpull.wiring.failures import run_retry

    return run_retry(options.settings(flags), reason, match)
