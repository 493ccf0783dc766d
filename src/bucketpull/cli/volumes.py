"""`bucketpull volumes`: the disks of a job, and changes to them."""

from typing import Any

import click

from bucketpull.cli import options
from bucketpull.wiring.settings import Settings


@click.group(invoke_without_command=True)
@options.common
@click.pass_context
def volumes(context: click.Context, /, **flags: Any) -> int | None:  # noqa: ANN401 - checked by `settings`
    """Show the volumes of a job: state, free room, and what each holds. With a command, change them.

    \b
    bucketpull volumes --job photos
    bucketpull volumes add /mnt/d4 --job photos
    bucketpull volumes drain /mnt/d1 --job photos
    bucketpull volumes lost 3f2a9c41d07b --job photos
    """  # noqa: D301
    if context.invoked_subcommand is not None:
        context.obj = flags
        return None
    from bucketpull.wiring.volume_changes import run_list

    return run_list(options.settings(flags))


@volumes.command()
@click.argument("path")
@click.option("--reserve", metavar="SIZE", help="Bytes or percent kept free there (default: 1G).")
@options.common
@click.pass_obj
def add(before: dict[str, Any], /, path: str, **flags: Any) -> int:  # noqa: ANN401 - as above
    """Use the folder PATH as one volume more, or again after a drain; a running job takes it up at once.

    \b
    bucketpull volumes add /mnt/d4 --job photos
    """  # noqa: D301
    from bucketpull.wiring.volume_changes import run_add

    return run_add(_settings(before, flags), path)


@volumes.command()
@click.argument("volume", metavar="PATH|ID")
@options.common
@click.pass_obj
def drain(before: dict[str, Any], /, volume: str, **flags: Any) -> int:  # noqa: ANN401 - as above
    """Put nothing more on a volume; what it holds stays and counts. `volumes add` undoes it.

    \b
    bucketpull volumes drain /mnt/d1 --job photos
    """  # noqa: D301
    from bucketpull.wiring.volume_changes import run_drain

    return run_drain(_settings(before, flags), volume)


@volumes.command()
@click.argument("identity", metavar="ID")
@options.common
@click.pass_obj
def lost(before: dict[str, Any], /, identity: str, **flags: Any) -> int:  # noqa: ANN401 - as above
    """Give up a volume: exactly what it held is fetched again onto the others.

    \b
    bucketpull volumes lost 3f2a9c41d07b --job photos
    """  # noqa: D301
    from bucketpull.wiring.volume_changes import run_lost

    return run_lost(_settings(before, flags), identity)


def _settings(before: dict[str, Any], flags: dict[str, Any]) -> Settings:
    """Join the options before and after the command's name; the later count."""
    return options.settings(before | {name: value for name, value in flags.items() if value is not None})
