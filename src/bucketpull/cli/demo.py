"""`bucketpull demo`: a simulated bucket, pulled before your eyes."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from bucketpull.cli import options
from bucketpull.cli.watching import address_of, watchers
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.values import check_text
from bucketpull.wiring.configuration import resolve
from bucketpull.wiring.output import tell
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.sync import run_sync
from bucketpull.wiring.writable import check_folder
from upyun_simulator import Simulator


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
@options.packing
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
    if flags["dashboard"] is None and find_spec("prometheus_client"):
        flags["dashboard"] = "127.0.0.1:0"
    return _run(flags, folder, fast=fast)


BUCKET: Final = "demo-bucket"
_BYTES_A_SECOND: Final = 12 << 20  # then it takes half a minute, long enough to open the dashboard
_VOLUME: Final = "volume"
_JOURNAL: Final = "journal"


def _run(flags: Mapping[str, Any], folder: str, *, fast: bool) -> ExitCode:
    """Pull the simulated bucket into a folder; return how the sync ended."""
    settings = resolve(flags, {})
    if settings.dashboard is not None:
        address_of(settings.dashboard)
    if not folder:
        raise ConfigError("--dir '': name a folder")
    check_text("--dir", folder)
    check_folder(f"--dir {folder}", os.path.abspath(folder))
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with Simulator("demo", bucket=BUCKET, bandwidth=0 if fast else _BYTES_A_SECOND) as simulator:
        settings = _settings(settings, place, simulator)
        if not settings.quiet and not settings.json:
            _introduce(settings)
        try:
            code = run_sync(settings, watchers(settings))
        except KeyboardInterrupt:  # before the job listens to signals
            code = ExitCode.INTERRUPTED
    if not settings.quiet and not settings.json:
        _conclude(settings, code)
    return code


def _settings(settings: Settings, place: Path, simulator: Simulator) -> Settings:
    return msgspec.structs.replace(
        settings,
        source=f"upyun://{simulator.bucket}",
        volumes=[str(place / _VOLUME)],
        state=settings.state or str(place / _JOURNAL),
        job=settings.job or "demo",
        options={
            "api_url": simulator.api_url,
            "cdn_url": simulator.cdn_url,
            "operator": simulator.operator,
            "password": simulator.password,
        },
        reserve="64M",
    )


def _introduce(settings: Settings) -> None:
    tell("A simulated UPYUN listens on localhost.")
    tell("Its bucket is pulled by the command that would pull a real one:")
    tell("")
    tell(f"  bucketpull sync {settings.source} {settings.volumes[0]} \\")
    packs = f" --pack {settings.pack}" if settings.pack else ""
    tell(f"    --api-url {settings.options['api_url']} --cdn-url {settings.options['cdn_url']}{packs}")
    tell("")


def _conclude(settings: Settings, code: ExitCode) -> None:
    tell("")
    if code is ExitCode.COMPLETE:
        tell(
            f"The {'packs' if settings.pack else 'files'} are in {settings.volumes[0]}{'/packs' if settings.pack else ''}."
        )
        tell("Run it again to see that nothing is fetched twice. Look at the job with")
        tell(f"  bucketpull status --state {settings.state}")
        tell(f"  bucketpull verify {settings.volumes[0]} --hash")
    elif code is ExitCode.INTERRUPTED:
        tell("Run it again to see it go on from here.")
