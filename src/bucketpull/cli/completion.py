"""`bucketpull completion`: the shell's completion script."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bucketpull completion bash > ~/.local/share/bash-completion/completions/bucketpull
    bucketpull completion zsh  > "${fpath[1]}/_bucketpull"
    bucketpull completion fish > ~/.config/fish/completions/bucketpull.fish
    """  # noqa: D301
    from bucketpull.cli.main import bucketpull

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(bucketpull, {}, "bucketpull", "_BUCKETPULL_COMPLETE").source())
