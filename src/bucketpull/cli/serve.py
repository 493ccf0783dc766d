"""`bucketpull serve`: a pulled bucket over HTTP."""

import asyncio
import signal
import sys
from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.report.console import tell
from bucketpull.report.output_files import append
from bucketpull.web.guard import is_loopback
from bucketpull.wiring.dashboard_access import address_of
from bucketpull.wiring.journals import volumes_here
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.system import FEWEST_TO_READ, check_limit
from bucketpull.wiring.volume_opening import check_copies

if TYPE_CHECKING:
    from bucketpull.reading.object_server import Options
    from bucketpull.reading.readable_volumes import OpenVolumes

_DEFAULT_PORT = 8378


@click.command()
@click.argument("arguments", metavar="[HOST:PORT] [VOLUME...]", nargs=-1)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    help="Where to serve them (default: 127.0.0.1:8378); the argument HOST:PORT says the same.",
)
@click.option(
    "--cache-control",
    metavar="TEXT",
    default="",
    help="The Cache-Control of every object, such as max-age=86400.",
)
@click.option("--types", metavar="FILE", help="More kinds of content: lines as in /etc/mime.types.")
@click.option(
    "--host-name",
    "host_names",
    metavar="NAME",
    multiple=True,
    help="A name by which it is asked, beside addresses and names without a dot; may be given several times. Without it, on "
    "127.0.0.1 and its like no other name is answered, elsewhere any.",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 65536),
    default=1000,
    help="Most connections at once (default: 1000).",
)
@click.option(
    "--access-log",
    metavar="FILE",
    help="Write a line a request, in the combined format; - is standard output.",
)
@click.option(
    "--metrics",
    is_flag=False,
    flag_value="127.0.0.1:8379",
    metavar="[HOST:PORT]",
    help="Serve /metrics for Prometheus and /healthz, at 127.0.0.1:8379 if no address is given.",
)
@options.common
def serve(
    arguments: tuple[str, ...],
    address: str | None,
    cache_control: str,
    types: str | None,
    host_names: tuple[str, ...],
    connections: int,
    access_log: str | None,
    metrics: str | None,
    **flags: Any,
) -> int:
    """Serve the objects on VOLUMEs by key: GET and HEAD of http://HOST:PORT/KEY, with ranges and conditions.

    Without a VOLUME those of the job on this machine are served, without HOST:PORT at 127.0.0.1:8378. While a disk is away, what is
    not found on the others is answered by 503. It is meant to stand behind nginx or a CDN: it knows neither TLS nor passwords.

    \b
    bucketpull serve 127.0.0.1:8378 /mnt/d1 /mnt/d2 --cache-control 'public, max-age=86400'
    curl http://127.0.0.1:8378/2024/img-000.jpg
    """
    check_limit(FEWEST_TO_READ)
    place, volumes = _place(arguments, address)
    settings = options.settings({**flags, "volumes": volumes})
    check_copies(settings.volumes)
    from bucketpull.reading.http_object import Types, parse_types
    from bucketpull.reading.object_server import Options
    from bucketpull.reading.readable_volumes import OpenVolumes

    more = parse_types(_text_of(types), types) if types is not None else {}
    names = _names(host_names)
    measured = address_of(metrics, "--metrics") if metrics is not None else None
    with ExitStack() as stack:
        log = _opened_log(access_log, stack)
        found = OpenVolumes(settings.volumes or volumes_here(settings))
        _tell_of_troubles(found)
        chosen = Options(cache_control, Types(more), connections, log, host_names=_limited(place, names))
        import uvloop  # 110 µs a request in place of 167

        asked = (*measured, _limited(measured, names)) if measured is not None else None
        return uvloop.run(_serve(settings, found, chosen, place, asked))


def _tell_of_troubles(volumes: "OpenVolumes") -> None:
    """Name the volumes that cannot be read; refuse to serve none, with all names and the first reason."""
    told = [_trouble(path, trouble) for path, trouble in volumes.troubles.items()]
    if len(told) == len(volumes.paths):
        names, cause = ", ".join(volumes.troubles), told[0].partition("; ")[0]
        raise ConfigError(
            f"none of the volumes can be read, {names}: {cause}; mount the disk, or name a folder that is a volume"
        )
    for text in told:
        tell(text)


def _trouble(path: str, trouble: str) -> str:
    return trouble if trouble.startswith("volume ") else f"volume {path}: {trouble}"


def _tell_of_change(settings: Settings, path: str, trouble: str) -> None:
    if trouble:
        tell(_trouble(path, trouble))
    else:
        settings.tell(f"volume {path}: is back")


async def _serve(
    settings: Settings,
    volumes: "OpenVolumes",
    chosen: "Options",
    place: tuple[str, int],
    metrics: tuple[str, int, Collection[str] | None] | None,
) -> ExitCode:
    from bucketpull.reading.object_server import ObjectServer
    from bucketpull.reading.server_metrics import start_metrics

    server = ObjectServer(volumes, chosen, partial(_tell_of_change, settings))
    host, port = place
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = None
    try:
        port = await server.start(host, port)
        if metrics is not None:
            runner = await start_metrics(server, *metrics)
    except OSError as error:
        await server.close()
        raise ConfigError(
            f"{host}:{port}: not listened on: {error.strerror}; give another address or port"
        ) from error
    settings.tell(f"serving {counted(len(volumes.paths), 'volumes')} at http://{host}:{port}/")
    await stop.wait()
    await server.close()
    if runner is not None:
        await runner.cleanup()
    return ExitCode.COMPLETE


def _place(arguments: tuple[str, ...], listen: str | None) -> tuple[tuple[str, int], list[str]]:
    """Return the address, which the option or the first argument says, and the volumes."""
    if listen is not None:
        return address_of(listen, "--listen"), list(arguments)
    if arguments and options.is_address(arguments[0]):
        return address_of(arguments[0], "HOST:PORT"), list(arguments[1:])
    return ("127.0.0.1", _DEFAULT_PORT), list(arguments)


def _names(given: Collection[str]) -> Collection[str]:
    from bucketpull.reading.http_object import host_name

    for text in given:
        if host_name(text) != text.lower():
            raise ConfigError(f"--host-name {text}: write a name alone, such as photos.example.com")
    return given


def _limited(place: tuple[str, int], names: Collection[str]) -> Collection[str] | None:
    """Return the names by which a server at this address may be asked; None is any, on other than this machine's own addresses."""
    return names if names or is_loopback(place[0]) else None


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--types {path}: not read: {error}; name a file that can be read") from error


def _opened_log(path: str | None, stack: ExitStack) -> TextIO | None:
    if path is None:
        return None
    if path == "-":
        return sys.stdout
    try:
        fd = append(Path(path))
        return stack.enter_context(open(fd, "a", buffering=1, encoding="utf-8", errors="backslashreplace"))
    except OSError as error:
        raise ConfigError(f"--access-log {path}: not opened: {error.strerror}; name another file") from error
