"""`bucketpull pause`: nothing more is started, until it is resumed."""

import shlex
from typing import Any

import click

from bucketpull.cli import options
from bucketpull.domain.errors import ExitCode
from bucketpull.wiring.coordinator_client import client_of, tell_answer


@click.command()
@options.of_job
def pause(**flags: Any) -> int:
    """Have a running job start no more transfers, until `bucketpull resume`.

    What is in transfer ends; listing stops too. A coordinator that is started again is still paused; `sync` goes on.

    \b
    bucketpull pause --job photos
    bucketpull pause --job photos --broker
    """
    settings, by_broker = options.asking(flags)
    client_of(settings, by_broker=by_broker).post("/api/pause")
    tell_answer(settings, f"the job is paused; `{_resume(flags)}` lets it go on")
    return ExitCode.COMPLETE


def _resume(flags: dict[str, Any]) -> str:
    """Return the command that undoes it, for the job as it was named; a broker's URL is not repeated, for it may hold a password."""
    named = [flags["source"]] if flags["source"] else []
    for name in ("state", "job", "config", "job_key_file"):
        if flags[name] is not None:
            named += [f"--{name.replace('_', '-')}", flags[name]]
    named += [f"--{name.replace('_', '-')}" for name in ("no_job_key", "broker") if flags[name] is not None]
    return shlex.join(["bucketpull", "resume", *named])
