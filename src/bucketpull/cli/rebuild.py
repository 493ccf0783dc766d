"""`bucketpull rebuild`: a job's journal again, from its volumes."""

from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.argument("places", metavar="[SOURCE] VOLUME...", nargs=-1, required=True)
@click.option("--style", metavar="SUFFIX", help="The job's image version, if it had one.")
@options.common
def rebuild(places: tuple[str, ...], **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Make a journal from the ledgers on VOLUMEs, where it is lost or damaged; there must be none.

    The next `bucketpull sync` lists the bucket and fetches only what is not on them. Name all volumes: what is on others would
    be fetched again.

    \b
    bucketpull rebuild upyun://photos /mnt/d1 /mnt/d2
    bucketpull rebuild /mnt/d1 /mnt/d2 --job photos --state new-state
    """  # noqa: D301
    from bucketpull.wiring.rebuild import run_rebuild

    source = places[0] if "://" in places[0] else None
    return run_rebuild(options.settings({**flags, "source": source, "volumes": places[bool(source) :]}))
