"""The command `bucketpull`: runs the command that is asked for, and turns errors into words and exit codes."""

import os
import re
import signal
import sys
from gettext import gettext
from typing import NoReturn

import click

from bucketpull import __version__
from bucketpull.cli.commands import COMMANDS, Commands
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode, TransportError
from bucketpull.report.standard_streams import ReaderGone, open_streams
from bucketpull.report.words import language_of
from bucketpull.wiring.system import raise_limit

BETWEEN_SENTENCES = ". "  # by which click joins what is missing and what may be given, in every language
_AT_WIDE_MARKS = "(?<=[\u3002\uff1a\uff09]) | (?=\uff08)"  # Chinese has no space beside its marks


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
