"""`bucketpull demo`: a simulated bucket, pulled before your eyes."""

from importlib.util import find_spec
from typing import Any

import click

from bucketpull.cli import options


@click.command()
@click.option(
    "--dir",
    "folder",
    default="demo",
    show_default=True,
    metavar="DIR",
    help="Where its volume and journal go.",
)
@click.option("--fast", is_flag=True, help="Let the simulated service send as fast as it can.")
@options.dashboard
@options.common
def demo(folder: str, fast: bool, **flags: Any) -> int:  # noqa: ANN401 - checked by `settings`
    """Start a simulated UPYUN with 10,007 objects, and pull its bucket with the ordinary `sync`.

    Nested folders, Chinese names, small images and a few large files. Run it again to see that nothing is fetched twice; stop it
    with Ctrl-C and run it again to see it go on.

    \b
    bucketpull demo
    bucketpull demo --dir /mnt/d1/demo --fast
    """  # noqa: D301
    from bucketpull.cli.watching import watchers
    from bucketpull.wiring.demo import run_demo

    if flags["dashboard"] is None and find_spec("aiohttp") and find_spec("prometheus_client"):
        flags["dashboard"] = "127.0.0.1:0"
    return run_demo(flags, folder, fast=fast, watchers=watchers)
