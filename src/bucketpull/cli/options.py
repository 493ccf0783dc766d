"""Options that several commands share: the same name, the same meaning, the same words."""

import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from bucketpull.domain.errors import ConfigError, ExitCode, Reason
from bucketpull.domain.packing import DEFAULT_LIMIT, DEFAULT_SIZE
from bucketpull.domain.reserve import DEFAULT_RESERVE
from bucketpull.domain.user_input import shown_value
from bucketpull.report.console import tell
from bucketpull.sources.registry import SOURCES, options_by_name
from bucketpull.sources.source_settings import Option
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.settings_loader import resolve

F = TypeVar("F", bound=Callable[..., Any])


class UnvisitedPath(click.Path):
    """A path that the shell completes, and that is not looked at when it is read: its disk may hang, which is to be said first."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return it as it is."""
        del param, ctx
        return value


def count(text: str) -> int:
    """Read a whole number from 1 on."""
    if not re.fullmatch("0*[1-9][0-9]{0,17}", text):
        raise click.BadParameter(f"{shown_value(text)}: write a whole number, at least 1")
    return int(text)


def _group(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add(function: F) -> F:
        return functools.reduce(lambda inner, option: option(inner), reversed(options), function)

    return add


def _common(job: str) -> Callable[[F], F]:
    return _group(
        click.option(
            "--state",
            metavar="DIR",
            help="Folder of the job's journal (default: by job, in the user's state folder).",
        ),
        click.option("--job", metavar="NAME", help=job),
        click.option(
            "--config", metavar="FILE", help="TOML with the same names; flags and environment come first."
        ),
        click.option("--json", is_flag=True, default=None, help="Write JSON, one object a line."),
        click.option("--quiet", is_flag=True, default=None, help="Say nothing but errors."),
    )


common = _common("The job's name (default: made of SOURCE).")
common_of_worker = _common("The job's name, as the coordinator has it.")


output = click.option(
    "--output", metavar="FILE|DIR", type=UnvisitedPath(), help="Where to write (default: standard output)."
)


def _of_source(option: Option) -> Callable[[F], F]:
    flag = "--" + option.name.replace("_", "-")
    if option.switch:
        both = f"{flag}/--no-{flag[2:]}" if option.switch == "on/off" else flag
        return click.option(both, is_flag=True, default=None, help=option.help)
    return click.option(flag, metavar=option.metavar, multiple=bool(option.many), help=option.help)


source = _group(*(_of_source(option) for option in options_by_name().values() if option.help))
own_of_source = _group(
    *(_of_source(option) for option in options_by_name().values() if option.help and option.own)
)
keys_of_source = _group(*(_of_source(options_by_name()[name]) for name in ("keys", "keys0")))

choosing = _group(
    click.option(
        "--include",
        metavar="GLOB",
        multiple=True,
        help="Only keys like this, such as '*.jpg' or '/2024/**'; of all rules that match, the last decides.",
    ),
    click.option(
        "--exclude", metavar="GLOB", multiple=True, help="No keys like this; in order with --include."
    ),
    click.option(
        "--rules-file", metavar="FILE", help="Rules, one a line: '+ GLOB' or '- GLOB'; flags come after."
    ),
    click.option("--min-size", metavar="SIZE", help="Only objects of at least so many bytes."),
    click.option("--max-size", metavar="SIZE", help="Only objects of at most so many bytes."),
    click.option("--newer", metavar="DATE|AGE", help="Only what changed since: 2024-05-01, 30d or 1d12h."),
    click.option("--older", metavar="DATE|AGE", help="Only what has not changed since."),
    click.option(
        "--first",
        metavar="ORDER",
        help="Of what is listed, fetch first: newest, oldest, smallest, largest, or PREFIX/,PREFIX/.",
    ),
)


class ChoosingCommand(click.Command):
    """A command with the options of `choosing`: it keeps the order of `--include` and `--exclude`, as parameter `rules`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; without that order the last rule could not decide."""
        typed = list(args)
        rest = super().parse_args(ctx, args)
        patterns = {name: ctx.params.pop(name) for name in ("include", "exclude")}
        order = self.make_parser(ctx).parse_args(args=typed)[2] if any(patterns.values()) else []
        given = {name: iter(those) for name, those in patterns.items()}
        signs = {"include": "+", "exclude": "-"}
        ctx.params["rules"] = tuple(
            f"{signs[option.name]} {next(given[option.name])}" for option in order if option.name in signs
        )
        return rest


def interruptible(stands: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Have Ctrl-C of a command say what stands then, and what to do."""

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def run(*arguments: Any, **flags: Any) -> int:
            try:
                return command(*arguments, **flags)
            except KeyboardInterrupt:
                if sys.stderr.isatty():
                    click.echo(err=True)  # it stands behind ^C
                tell(stands)
                return ExitCode.INTERRUPTED

        return run

    return decorate


budget = _group(
    click.option(
        "--limit",
        type=int,
        metavar="N",
        help="Stop after N objects: a trial of what is listed first. Without it the job goes on.",
    ),
    click.option(
        "--max-bytes",
        metavar="SIZE[/day]",
        help="Receive about so many bytes, all machines and retries counted: 500G, or 50G/day.",
    ),
    click.option(
        "--max-requests", metavar="N[/day]", help="Make about so many requests, such as 5M or 1M/day."
    ),
)

prices = _group(
    click.option(
        "--price-per-gb", metavar="SUM", help="What 1,000,000,000 bytes of traffic cost, for the estimate."
    ),
    click.option("--price-per-10k", metavar="SUM", help="What 10,000 requests cost, for the estimate."),
)

limits = _group(
    click.option("--processes", metavar="N", help="Worker processes (default: one a core)."),
    click.option(
        "--concurrency", metavar="auto|N", help="Transfers in flight, whole machine (default: auto)."
    ),
    click.option("--rate", metavar="N", help="At most N requests a second."),
    click.option(
        "--bandwidth",
        metavar="SIZE",
        help="At most so many bytes a second: 100M, or by time: '08:00,10M 20:00,off'.",
    ),
)

packing = _group(
    click.option(
        "--pack",
        is_flag=False,
        flag_value=DEFAULT_SIZE,
        metavar="[SIZE]",
        help=f"Store objects in tar files of about SIZE ({DEFAULT_SIZE} if not given) in place of one file an object.",
    ),
    click.option(
        "--pack-limit", metavar="SIZE", help=f"Larger objects stay files (default: {DEFAULT_LIMIT})."
    ),
    click.option(
        "--pack-names",
        type=click.Choice(["key", "wds"]),
        help="Members named by key (default), or by numbers with a .json beside each, for WebDataset.",
    ),
)

foreign = _group(
    click.option(
        "--adopt",
        is_flag=False,
        flag_value="md5",
        type=click.Choice(["md5", "date"]),
        help="Take over files that are there already: by size and MD5 (if nothing is given), or by size and date.",
    ),
    click.option(
        "--foreign",
        type=click.Choice(["keep", "replace"]),
        help="What becomes of other files at an object's path: kept as NAME.kept (default), or replaced.",
    ),
)

reserve = click.option(
    "--reserve",
    metavar="SIZE",
    help=f"Bytes or percent kept free on each volume (default: {DEFAULT_RESERVE}).",
)

when_full = click.option(
    "--when-full",
    type=click.Choice(["pause", "exit"]),
    help="When no volume has room: wait for it, or exit 5.",
)

storing = _group(
    click.option(
        "--verify", type=click.Choice(["size", "md5", "none"]), help="What is checked (default: size)."
    ),
    click.option(
        "--durability",
        type=click.Choice(["batch", "file", "none"]),
        help="When a file counts as stored (default: batch, one sync of the disk for a group of batches).",
    ),
    reserve,
    click.option(
        "--layout", type=click.Choice(["key", "hashed"]), help="Paths as keys, or in hashed folders."
    ),
    packing,
    foreign,
)

broker = _group(
    click.option(
        "--broker",
        metavar="URL",
        help="RabbitMQ: amqp://USER:PASSWORD@HOST/VHOST (better: BUCKETPULL_BROKER).",
    ),
    click.option(
        "--queue-type", type=click.Choice(["quorum", "classic"]), help="Kind of queue (default: quorum)."
    ),
)

job_key = _group(
    click.option(
        "--job-key-file",
        metavar="FILE",
        help="The job's key, which the coordinator makes and workers need (or BUCKETPULL_JOB_KEY).",
    ),
    click.option(
        "--no-job-key",
        is_flag=True,
        default=None,
        help="Believe every message at the broker: only where nobody else may use it.",
    ),
)

by_broker = _group(
    click.option(
        "--broker",
        is_flag=False,
        flag_value="",
        metavar="[URL]",
        help="Through RabbitMQ, from any machine (URL: BUCKETPULL_BROKER).",
    ),
    job_key,
)

of_job = _group(click.argument("source", required=False), by_broker, common)
"""Names a job that may run anywhere: see `asking`."""

chosen = _group(
    click.option(
        "--reason",
        type=click.Choice([reason.value for reason in Reason]),
        metavar="REASON",
        help="Only those of a reason, such as forbidden.",
    ),
    click.option("--match", metavar="PATTERN", help="Only keys like this; * is anything, slashes too."),
)

dashboard = click.option(
    "--dashboard",
    is_flag=False,
    flag_value="127.0.0.1:8377",
    metavar="[HOST:PORT]",
    help="Serve the dashboard, at 127.0.0.1:8377 if no address is given.",
)

dashboard_access = _group(
    click.option(
        "--dashboard-token-file",
        metavar="FILE",
        help="The dashboard's token, in place of a new one each time (or BUCKETPULL_DASHBOARD_TOKEN).",
    ),
    click.option("--dashboard-cert", metavar="FILE", help="Serve it by TLS with this certificate (PEM)."),
    click.option("--dashboard-key", metavar="FILE", help="The certificate's key, if it is in another file."),
)

volumes_below = click.option(
    "--volumes-below",
    metavar="DIR",
    multiple=True,
    help="Let the dashboard add volumes below DIR; without it, it adds none. May be given again.",
)

notices = _group(
    click.option(
        "--log-file",
        metavar="FILE",
        help="Write what is told to FILE too, with times; at 16 MiB it becomes FILE.1, four old ones are kept.",
    ),
    click.option(
        "--ping",
        metavar="URL",
        help="POST to URL/start, URL at the end, URL/fail in trouble: for healthchecks.io and the like (better: BUCKETPULL_PING).",
    ),
    click.option(
        "--on-end",
        metavar="COMMAND",
        help="At the end have the shell run COMMAND, with BUCKETPULL_EXIT_CODE and BUCKETPULL_SUMMARY_FILE set.",
    ),
)

reporting = _group(
    prices,
    dashboard,
    dashboard_access,
    click.option("--summary", metavar="FILE", help="Write the final reconciliation as JSON."),
    notices,
)


def places(metavar: str) -> Callable[[F], F]:
    """Return the arguments SOURCE and VOLUME, either of which may stand in the environment or the file instead."""
    return click.argument("places", metavar=metavar, nargs=-1, type=UnvisitedPath())


def settings(flags: dict[str, Any]) -> Settings:
    """Join a command's flags with environment and file."""
    return resolve(flags, os.environ)


def settings_of_job(places: tuple[str, ...], flags: dict[str, Any]) -> Settings:
    """Join as `settings`, with the arguments of a command that needs a source."""
    found = settings(flags | split(places))
    if places and not found.source:  # then it is meant to be one, and what it lacks is told
        found = settings(flags | {"source": places[0], "volumes": places[1:]})
    found.source_settings()
    return found


def asking(flags: dict[str, Any]) -> tuple[Settings, bool]:
    """Join as `settings`; say also whether the job is to be asked through the broker."""
    source = flags.get("source")
    if source and not _is_source(source):
        raise ConfigError(
            f"source {shown_value(source)}: begins with no scheme, such as upyun://; a job is named by --job, a configuration by --config"
        )
    by_broker = flags["broker"] is not None
    return settings(flags | {"broker": flags["broker"] or None}), by_broker


def split(places: tuple[str, ...]) -> dict[str, Any]:
    """Tell SOURCE, which begins with a scheme, from VOLUMEs.

    Raises ConfigError where one of them is a configuration by its name, which an option names.
    """
    for place in places:
        if place.endswith(".toml") and "://" not in place and not os.path.isdir(place):
            raise ConfigError(
                f"{place}: a configuration is no volume; `--config {place}` reads it, and `init` writes one to `--output {place}`"
            )
    if places and _is_source(places[0]):
        return {"source": places[0], "volumes": places[1:]}
    return {"volumes": places}


def _is_source(text: str) -> bool:
    """Tell a SOURCE by its scheme, also by one that there is not: then it is meant to be one."""
    scheme, colon, rest = text.partition(":")
    return bool(colon) and (scheme in SOURCES or rest.startswith("//"))


def is_address(text: str) -> bool:
    """Tell HOST:PORT, or a port alone, from a SOURCE and from a VOLUME: it ends with a port, and has no slash."""
    return "/" not in text and text.rpartition(":")[2].isdigit() and not _is_source(text)
