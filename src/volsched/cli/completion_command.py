"""completion: the script that teaches a shell volsched's commands, options and resource types."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from volsched.cli import cli
from volsched.errors import InputError


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  source <(volsched completion bash)
    zsh:   source <(volsched completion zsh)
    fish:  volsched completion fish | source
    """
    found = get_completion_class(shell)
    if found is None:
        raise InputError(f"no completion for {shell}")
    print(found(cli, {}, "volsched", "_VOLSCHED_COMPLETE").source())
