"""What the shell completes: files and folders for options that name them, jobs for `--job`."""

from typing import Final

import click
from click.shell_completion import CompletionItem

_KINDS: Final = {"FILE": "file", "DIR": "dir"}


class Place(click.types.StringParamType):
    """A text that names a file or a folder; click's own type would look at it, which the settings do in their own words."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Leave it to the shell."""
        del ctx, param
        return [CompletionItem(incomplete, type=self._kind)]


class JobName(click.types.StringParamType):
    """A text that names a job."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the jobs that this user has."""
        del ctx, param
        from bucketpull.wiring.locate import known_jobs

        return [CompletionItem(job) for job in known_jobs() if job.startswith(incomplete)]


def completed(command: click.Command) -> click.Command:
    """Have a command's options completed by what their metavar says."""
    for parameter in command.params:
        if parameter.type is click.STRING and parameter.metavar in _KINDS:
            parameter.type = Place(_KINDS[parameter.metavar])
        elif parameter.name == "job":
            parameter.type = JobName()
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        completed(inner)
    return command
