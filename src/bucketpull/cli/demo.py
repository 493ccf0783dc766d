"""`bucketpull demo`: pulls a simulated bucket, to show how it goes."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.user_input import check_text
from bucketpull.report.console import tell
from bucketpull.wiring.dashboard_access import address_of
from bucketpull.wiring.file_checks import check_folder
from bucketpull.wiring.job import dashboard_opener
from bucketpull.wiring.local_job import run_sync
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.settings_loader import resolve
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
@click.option("--objects", metavar="N", help="A bucket of about N images, such as 300000.")
@click.option(
    "--exit",
    "exits",
    is_flag=True,
    help="End with the job; at a terminal the dashboard stays until Ctrl-C otherwise.",
)
@options.packing
@options.dashboard
@options.common
def demo(folder: str, fast: bool, objects: str | None, exits: bool, **flags: Any) -> int:
    """Start a simulated UPYUN with 10,007 objects, and pull its bucket with the ordinary `sync`.

    Nested folders, Chinese names, small images and a few large files. Run it again to see that nothing is fetched twice; stop it
    with Ctrl-C and run it again to see it go on.

    \b
    bucketpull demo
    bucketpull demo --dir /mnt/d1/demo --fast --exit
    bucketpull demo --objects 300000
    """
    if flags["dashboard"] is None and find_spec("prometheus_client"):
        flags["dashboard"] = "127.0.0.1:0"
    stays = not exits and sys.stdin.isatty() and sys.stderr.isatty()
    return _run(flags, folder, _spec(objects), fast=fast, stays=stays)


BUCKET: Final = "demo-bucket"
_BYTES_A_SECOND: Final = 12 << 20  # then it takes half a minute, long enough to open the dashboard
_FILES: Final = 100  # in each folder of a bigger bucket
_VOLUME: Final = "volume"
_JOURNAL: Final = "journal"


def _run(flags: Mapping[str, Any], folder: str, spec: str, *, fast: bool, stays: bool) -> ExitCode:
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
    with Simulator(spec, bucket=BUCKET, bandwidth=0 if fast else _BYTES_A_SECOND) as simulator:
        settings = _settings(settings, place, simulator)
        talks = not settings.quiet and not settings.json
        if talks:
            _introduce(settings, place)
        lingers = settings.dashboard is not None and stays and talks
        linger = partial(_linger, settings) if lingers else None
        try:
            code = run_sync(settings, dashboard_opener(settings), linger=linger)
        except KeyboardInterrupt:  # before the job listens to signals
            code = ExitCode.INTERRUPTED
    if talks and (not lingers or code is ExitCode.INTERRUPTED):
        _conclude(settings, code)
    return code


async def _linger(settings: Settings, code: ExitCode) -> None:
    """Say what can be done now, and keep the dashboard until Ctrl-C."""
    if code is ExitCode.INTERRUPTED:
        return
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    _conclude(settings, code)
    tell("The dashboard stays until you press Ctrl-C.")  # now, and not before it is heard
    await stop.wait()


def _spec(objects: str | None) -> str:
    if objects is None:
        return "demo"
    return f"tree:dirs={-(-options.count(objects) // _FILES)},files={_FILES}"


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


def _introduce(settings: Settings, place: Path) -> None:
    asked = settings.options
    tell("A simulated UPYUN runs on localhost. Its bucket is pulled as a real one is.")
    tell("To pull it yourself meanwhile, in another shell:")
    tell("")
    tell(f"  export UPYUN_OPERATOR={asked['operator']} UPYUN_PASSWORD={asked['password']}")
    tell(f"  {_program()} sync {settings.source} {shlex.quote(str(place / 'copy'))} \\")
    tell(f"    --api-url {asked['api_url']} --cdn-url {asked['cdn_url']} \\")
    tell(f"    --state {shlex.quote(str(place / 'copy-journal'))} --reserve {settings.reserve}")
    tell("")


def _program() -> str:
    """Return how this program is called from the same shell: its name alone may mean another one, or nothing."""
    name = os.path.basename(sys.argv[0])
    if name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m bucketpull"
    found = shutil.which(name)
    return name if found and os.path.samefile(found, sys.argv[0]) else shlex.quote(sys.argv[0])


def _conclude(settings: Settings, code: ExitCode) -> None:
    tell("")
    if code is ExitCode.COMPLETE:
        tell(f"What was pulled is in {settings.volumes[0]}{'/packs' if settings.pack else ''}.")
        tell("Run it again to see that nothing is fetched twice. Look at the job with")
        tell(f"  {_program()} status --state {shlex.quote(settings.state or '')}")
        tell(f"  {_program()} verify {shlex.quote(settings.volumes[0])} --hash")
    elif code is ExitCode.INTERRUPTED:
        tell("Run it again to see it go on from here.")
