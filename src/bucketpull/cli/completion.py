"""`bucketpull completion`: the shell's completion script, and what it completes: files, folders, and jobs for `--job`."""

from typing import Final

import click
from click.shell_completion import CompletionItem, get_completion_class

_KINDS: Final = {"FILE": "file", "DIR": "dir"}


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bucketpull completion bash | install -Dm644 /dev/stdin ~/.local/share/bash-completion/completions/bucketpull
    bucketpull completion zsh  | install -Dm644 /dev/stdin ~/.zfunc/_bucketpull    # .zshrc: fpath+=~/.zfunc before compinit
    bucketpull completion fish | install -Dm644 /dev/stdin ~/.config/fish/completions/bucketpull.fish
    """
    program = click.get_current_context().find_root().command
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(program, {}, "bucketpull", "_BUCKETPULL_COMPLETE").source())


class PathText(click.types.StringParamType):
    """A text that names a file or a folder. click's own type would check it; the settings do, with messages of their own."""

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
        from bucketpull.wiring.journals import known_jobs

        return [CompletionItem(job) for job in known_jobs() if job.startswith(incomplete)]


def completed(command: click.Command) -> click.Command:
    """Have a command's options completed by what their metavar says."""
    for parameter in command.params:
        if parameter.type is click.STRING and parameter.metavar in _KINDS:
            parameter.type = PathText(_KINDS[parameter.metavar])
        elif parameter.name == "job":
            parameter.type = JobName()
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        completed(inner)
    return command
