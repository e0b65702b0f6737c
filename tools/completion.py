"""`stylemix completion`: the script that completes command lines in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from stylemix.completion import write_table
from stylemix.messages import result, say

VARIABLE = "_STYLEMIX_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script with which a shell completes commands, options, models and styles.

    \b
    Examples:
      stylemix completion bash >> ~/.bashrc
      stylemix completion zsh >> ~/.zshrc
      stylemix completion fish > ~/.config/fish/completions/stylemix.fish
    """
    group = click.get_current_context().find_root().command
    assert isinstance(group, click.Group)
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    write_table({name: command for name, command in found.items() if command is not None})
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(group, {}, "stylemix", VARIABLE).source()
    say(script)
    result(shell=shell, script=script)
