"""The commands: their names, in the order of `--help`, and the group that imports the module of the one that is used."""

import importlib
import os
import signal
from collections.abc import Callable
from gettext import gettext

import click

# The order is that of `--help`: the job, then looking at it, then its disks, then trying things out.
COMMANDS = {
    "sync": "Pull a bucket onto this machine's disks.",
    "coordinate": "List a bucket and keep the books for workers on other machines.",
    "work": "Download for a coordinator, onto this machine's disks.",
    "status": "Show where a job stands.",
    "dashboard": "Serve the page of a job, also of one at rest.",
    "failures": "List what could not be had, and why.",
    "retry": "Make failures into work again.",
    "pause": "Have a running job start no more transfers.",
    "resume": "Let a paused job go on.",
    "limit": "Change the limits of a running job.",
    "where": "Say on which volume an object lies.",
    "volumes": "Show, add, drain or give up volumes.",
    "cat": "Write one object's bytes to standard output.",
    "serve": "Serve a bucket's objects over HTTP.",
    "unpack": "Store a volume's objects as files again.",
    "compact": "Rewrite packs of which much is dead.",
    "prune": "Remove what the source no longer has.",
    "verify": "Compare volumes with their ledgers, and repair them.",
    "export": "Write the manifest of a job.",
    "list": "List what a source holds, also for services that fetch by URL.",
    "rebuild": "Make a job's journal again from its volumes.",
    "plan": "Estimate space, time and requests before a job.",
    "init": "Write a job's configuration, by a few questions.",
    "doctor": "Check credentials, clock, network, limits and disks.",
    "simulate": "Run the UPYUN service on localhost.",
    "demo": "Pull a bucket of a simulated service, to see how it goes.",
    "completion": "Print the shell's completion script.",
    "help": "Explain a topic, such as exit-codes, or a command.",
}


# Ctrl-C ends these at once until they listen for signals themselves: a job may be killed at any instant.
JOBS = frozenset({"sync", "coordinate", "work"})
COMPLETING = "_BUCKETPULL_COMPLETE"  # set by the shell's script while it asks what may follow


class Commands(click.Group):
    """A group whose commands are imported when they are used: start-up pays for one of them only.

    `translate` puts a command's help into another language.
    """

    translate: Callable[[click.Command], click.Command] | None = None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bucketpull.cli.{cmd_name}")
        if cmd_name not in JOBS:
            _raise_interrupts()
        command: click.Command = getattr(
            module, cmd_name if cmd_name not in {"help", "list"} else f"{cmd_name}_"
        )
        if COMPLETING in os.environ:
            from bucketpull.cli.completion import completed

            command = completed(command)
        return self.translate(command) if self.translate else command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; where there is none of that name, click says which ones are near, once it knows them."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not args[0].startswith("-"):
                from difflib import get_close_matches

                vars(error)["possibilities"] = get_close_matches(args[0], COMMANDS)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        with formatter.section(gettext("Commands")):
            formatter.write_dl([(name, gettext(text)) for name, text in COMMANDS.items()])


def _raise_interrupts() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again, so that commands remove what they made for themselves; where it is ignored, it stays so."""
    if signal.getsignal(signal.SIGINT) not in {signal.SIG_IGN, signal.default_int_handler}:
        signal.signal(signal.SIGINT, signal.default_int_handler)
