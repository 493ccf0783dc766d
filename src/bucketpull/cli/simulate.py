"""`bucketpull simulate`: UPYUN on localhost, to rehearse a job with."""

import errno
import gettext
from typing import TYPE_CHECKING, Final, get_type_hints

import click

from bucketpull.domain.user_input import converted
from bucketpull.wiring.file_checks import check_file

if TYPE_CHECKING:
    from upyun_simulator import Ready, Settings


_LISTS: Final = frozenset({"versions", "referers", "blocked_agents"})


@click.command(epilog="Stop it with Ctrl-C. Faults are described by --list-faults.")
@click.option(
    "--spec",
    metavar="SPEC",
    default="demo",
    show_default=True,
    help="flat:N, tree:dirs=N,files=M, demo, odd, manifest:FILE.",
)
@click.option("--bucket", metavar="NAME", default="demo-bucket", show_default=True, help="The bucket's name.")
@click.option(
    "--operator",
    "operators",
    multiple=True,
    metavar="NAME:PASSWORD",
    default=["operator:password"],
    show_default=True,
    help="NAME:PASSWORD[:read+write], may be given again.",
)
@click.option(
    "--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Address to listen at."
)
@click.option("--api-port", metavar="PORT", default="0", help="Port of the REST listener, 0 for any.")
@click.option("--cdn-port", metavar="PORT", default="0", help="Port of the CDN listener, 0 for any.")
@click.option(
    "--control-port",
    metavar="PORT",
    default="0",
    help="Port of the control listener (on the loopback), 0 for any.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[:key=value,...]",
    help="A fault to inject, such as 429:p=0.1,burst=20/200; may be given again.",
)
@click.option("--list-faults", is_flag=True, help="Print every fault and what it does, and end.")
@click.option("--list-latency", metavar="SECONDS", default="0", help="Wait before a listing is answered.")
@click.option(
    "--api-latency", metavar="SECONDS", default="0", help="Wait before other REST requests are answered."
)
@click.option("--cdn-latency", metavar="SECONDS", default="0", help="Wait before the CDN answers.")
@click.option(
    "--jitter", metavar="SECONDS", default="0", help="Added to each latency, evenly from zero to this."
)
@click.option(
    "--limit-rate",
    metavar="N",
    default="0",
    help="Requests a second that each of list, REST and CDN lets pass before it says 429 (CDN: 403).",
)
@click.option(
    "--bandwidth",
    metavar="SIZE",
    default="0",
    help="Bytes a second, all connections together, such as 10MiB.",
)
@click.option(
    "--connection-bandwidth", metavar="SIZE", default="0", help="Bytes a second of each connection."
)
@click.option(
    "--set",
    "more",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other setting, such as empty=object or token_secret=abc.",
)
@click.option("--seed", metavar="N", default="0", help="Seed of faults and jitter.")
@click.option("--ports-file", metavar="FILE", help="File to write the URLs to, as JSON, once it listens.")
@click.option(
    "--access-log", metavar="FILE", default="", help="File to log each request to, - for standard error."
)
def simulate(
    spec: str,
    list_faults: bool,
    limit_rate: str,
    bandwidth: str,
    connection_bandwidth: str,
    more: tuple[str, ...],
    ports_file: str | None,
    **options: object,
) -> None:
    """Serve UPYUN on localhost: REST and CDN listeners, contents by formula, faults by request.

    Keys of every --fault: path= (with * and ?) and on= (rest, cdn, list, get, head or usage; cdn.get) say to which requests it
    happens, p=, first=, nth=, page=, count= and burst= to how many of them; with sticky=1 an object has it always or never.
    --list-faults names each fault's own keys.

    \b
    bucketpull simulate
    bucketpull simulate --spec flat:1000000 --cdn-latency 0.02 --fault 503:p=0.01
    """
    from upyun_simulator import effects
    from upyun_simulator.process import run
    from upyun_simulator.sizes import parse_bytes

    if list_faults:
        _print_faults(effects.describe())
        return
    if ports_file is not None:
        check_file("--ports-file", ports_file)
    rates = dict.fromkeys(("list_rate", "api_rate", "cdn_rate"), limit_rate)
    try:
        limits = {
            "bandwidth": parse_bytes(bandwidth),
            "connection_bandwidth": parse_bytes(connection_bandwidth),
        }
        settings = _settings({"spec": spec, **options, **rates, **limits}, more)
        run(settings, lambda ready: _announce(ready, ports_file))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise click.UsageError(
                f"--host {options['host']}: {error.strerror}; give another port, or 0 for any"
            ) from None
        named = f"{error.filename}: " if error.filename else f"--host {options['host']}: "
        raise click.UsageError(f"{named}{error.strerror or error}; name another one") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _settings(options: dict[str, object], more: tuple[str, ...]) -> "Settings":
    from upyun_simulator.settings import Settings

    types = get_type_hints(Settings, include_extras=True)
    labels = dict.fromkeys(options, "--limit-rate") | {
        name: "--" + name.replace("_", "-") for name in options if not name.endswith("_rate")
    }
    for text in more:
        name, equals, value = text.partition("=")
        if not equals or name not in types:
            raise click.UsageError(f"--set {text!r}: write NAME=VALUE, with a NAME of {', '.join(types)}")
        labels[name] = f"--set {name}"
        options[name] = tuple(value.split("+")) if name in _LISTS else value
    return Settings(**{name: converted(labels[name], options[name], types[name]) for name in options})


def _announce(ready: "Ready", ports_file: str | None) -> None:
    click.echo(f"REST     {ready.api_url}/{ready.bucket}/")
    click.echo(f"CDN      {ready.cdn_url}/")
    click.echo(f"control  {ready.control_url}/counters")
    click.echo("")
    click.echo(f"export UPYUN_OPERATOR={ready.operator} UPYUN_PASSWORD={ready.password}")
    click.echo(
        f"bucketpull sync upyun://{ready.bucket} VOLUME --api-url {ready.api_url} --cdn-url {ready.cdn_url}"
    )
    if ports_file:
        import msgspec

        from bucketpull.report.output_files import replacing

        with replacing(ports_file) as file:
            file.write(msgspec.json.encode(ready) + b"\n")


def _print_faults(described: dict[str, str]) -> None:
    width = max(map(len, described))
    for name, text in described.items():
        click.echo(f"{name:<{width}}  {gettext.pgettext('fault', text)}")
