"""`bucketpull help`: topics that are not a command's."""

import click

from bucketpull.domain.errors import ExitCode
from bucketpull.report.console import words

MEANINGS = {
    ExitCode.COMPLETE: "complete: every listed object is stored, skipped (in place already) or vanished at the source",
    ExitCode.BUG: "a bug: please report the traceback",
    ExitCode.USAGE: "usage or configuration; found before any side effect",
    ExitCode.INCOMPLETE: "ended, but something failed or is missing: bucketpull failures",
    ExitCode.REFUSED: "the source refused us: credentials, permission, unknown bucket (at the start: nothing was written)",
    ExitCode.NO_ROOM: "no volume can take more; free some space or add a volume, then run the same command again",
    ExitCode.BUDGET_SPENT: "a limit or a total budget is used up; the same command with more of it goes on",
    ExitCode.INTERRUPTED: "interrupted; run the same command again to go on",
}


def exit_codes() -> str:
    """Return the table of exit codes."""
    say = words()
    return "\n".join(f"{code:>4}  {say.message(meaning)}" for code, meaning in MEANINGS.items())


TOPICS = {"exit-codes": exit_codes}


@click.command("help")
@click.argument("topic", type=click.Choice(list(TOPICS)), default="exit-codes", metavar="[TOPIC]")
def help_(topic: str) -> None:
    """Explain TOPIC: exit-codes.

    \b
    bucketpull help exit-codes
    """
    click.echo(TOPICS[topic]())
