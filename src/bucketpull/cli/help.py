"""`bucketpull help`: topics that are not a command's, and the help of commands. The list of commands is in `commands.py`."""

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


def exit_codes(context: click.Context) -> str:
    """Return the table of exit codes, as wide as `--help`."""
    say, formatter = words(), context.make_formatter()
    formatter.write_dl([(f"{code:>3}", say.message(meaning)) for code, meaning in MEANINGS.items()])
    return formatter.getvalue().rstrip("\n")


TOPICS = {"exit-codes": exit_codes}


def _group(context: click.Context) -> tuple[click.Context, click.Group]:
    above = context.parent
    assert above is not None
    assert isinstance(above.command, click.Group)
    return above, above.command


def _names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del parameter
    above, group = _group(context)
    return [name for name in (*TOPICS, *group.list_commands(above)) if name.startswith(incomplete)]


@click.command("help")
@click.argument("topic", default="exit-codes", metavar="[TOPIC|COMMAND]", shell_complete=_names)
@click.pass_context
def help_(context: click.Context, /, topic: str) -> None:
    """Explain TOPIC: exit-codes; or show the help of COMMAND.

    \b
    bucketpull help exit-codes
    bucketpull help sync
    """
    if topic in TOPICS:
        click.echo(TOPICS[topic](context))
        return
    above, group = _group(context)
    command = group.resolve_command(above, [topic])[1]
    assert command is not None
    command.make_context(topic, ["--help"], parent=above)
