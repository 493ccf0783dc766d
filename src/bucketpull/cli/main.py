"""The command `bucketpull`: finds the command's module, and turns errors into words and exit codes."""

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable
from gettext import gettext
from typing import NoReturn

import click

from bucketpull import __version__
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode, TransportError
from bucketpull.report.standard_streams import ReaderGone, open_streams
from bucketpull.report.words import language_of
from bucketpull.wiring.system import raise_limit

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
BETWEEN_SENTENCES = ". "  # by which click joins what is missing and what may be given, in every language
_AT_WIDE_MARKS = "(?<=[\u3002\uff1a\uff09]) | (?=\uff08)"  # Chinese has no space beside its marks


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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bucketpull")
def bucketpull() -> None:
    """Pull a whole object-storage bucket onto your own disks, without ever losing its place.

    To see how it goes, try the demo. For a bucket of yours, set the credentials in the environment, check with doctor, then sync.

    \b
    bucketpull demo
    export UPYUN_OPERATOR=... UPYUN_PASSWORD=...
    bucketpull doctor upyun://BUCKET /mnt/disk1 --cdn-url https://...
    bucketpull sync upyun://BUCKET /mnt/disk1 --cdn-url https://...
    bucketpull help exit-codes
    """


def main() -> NoReturn:
    """Run the command line, and leave with its exit code."""
    open_streams()
    raise_limit()
    # A supervisor that does not want to hear of its children hands that on: we want to hear of ours.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if language_of(os.environ) == "zh":
        from bucketpull.cli.translation import install, translate

        install()
        bucketpull.translate = translate
        translate(bucketpull)
    sys.exit(_finish(_run()))


def _raise_interrupts() -> None:
    """Have Ctrl-C raise KeyboardInterrupt again, so that commands remove what they made for themselves; where it is ignored, it stays so."""
    if signal.getsignal(signal.SIGINT) not in {signal.SIG_IGN, signal.default_int_handler}:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run() -> int:
    try:
        code = bucketpull.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = ExitCode.USAGE
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        code = _told(ConfigError(_usage_line(error)))
    except BucketpullError as error:
        code = _told(error)
    except ModuleNotFoundError as error:
        code = _told(_missing_extra(error))
    except RuntimeError as error:
        code = _told(_no_thread(error))
    except MemoryError:
        code = _told(
            TransportError(
                "this machine gives no more memory; allow more (`ulimit -v`, MemoryMax=, --memory), then start bucketpull again"
            )
        )
    except ReaderGone:
        code = ExitCode.COMPLETE
    return int(code or 0)


def _usage_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is not None:
        path = context.command_path
    else:
        path = " ".join(["bucketpull", *(each for each in sys.argv[1:2] if each in COMMANDS)])
    text = " ".join(error.format_message().split()).rstrip(".\u3002 ")
    if isinstance(error, click.MissingParameter):
        text = text.replace(BETWEEN_SENTENCES, gettext(BETWEEN_SENTENCES), 1)
    text = re.sub(_AT_WIDE_MARKS, "", text)
    asks = text.endswith(("?", "\uff1f\uff09"))
    return f"{text}{'' if asks else ';'} see `{path} --help`"


def _missing_extra(error: ModuleNotFoundError) -> ConfigError:
    """Say which extra a command needs; a module that is in none is a bug."""
    from bucketpull.extras import adding, extra_of

    module = (error.name or "").partition(".")[0]
    extra = extra_of(module)
    if extra is None:
        raise error
    return ConfigError(
        f"this needs {module}, which is not installed; add the extra {extra} by `{adding(extra)}`"
    )


def _no_thread(error: RuntimeError) -> TransportError:
    """Say that this machine starts no more threads; any other error of this kind is a bug."""
    if "start new thread" not in str(error):
        raise error
    return TransportError(
        "this machine starts no more threads; allow more of them (`ulimit -u`, TasksMax=, --pids-limit) or more memory (`ulimit -v`), then start bucketpull again"
    )


def _finish(code: int) -> int:
    """Bring out what was written; return the exit code, in which a full disk is seen."""
    try:
        sys.stdout.flush()
    except ReaderGone:
        pass
    except BucketpullError as error:
        return code or _told(error)
    # Told when it failed: the command went on to its result.
    has_failed = getattr(getattr(sys.stdout, "buffer", None), "has_failed", False)
    return code or (int(ExitCode.INCOMPLETE) if has_failed else 0)


def _told(error: BucketpullError) -> int:
    from bucketpull.report.console import tell_error

    tell_error(error)
    return error.exit_code
