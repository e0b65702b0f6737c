"""Sources and styles as plain words: `stylemix mix me.jpg toon`, beside --source and --style."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


class SourcesAndStyles(click.Command):
    """A command whose first word is the source, unless --source names it, and the others styles.

    Its parameters are `sources` and `styles`, tuples of texts; use it with `source_and_styles`.
    """

    needs_style = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the line; raises a usage error without a source, or a style that is needed."""
        rest = super().parse_args(ctx, args)
        words: tuple[str, ...] = ctx.params.pop("words", ())
        if words and not ctx.params["sources"]:
            ctx.params["sources"], words = words[:1], words[1:]
        ctx.params["styles"] = (*words, *ctx.params["styles"])
        if not ctx.resilient_parsing:
            needed = [("sources", "SOURCE")] + [("styles", "STYLE")] * self.needs_style
            for name, metavar in needed:
                if not ctx.params[name]:
                    raise click.MissingParameter(
                        f"As in: {ctx.command_path} me.jpg toon", ctx=ctx,
                        param_hint=f"'{metavar}'", param_type="argument",
                    )  # fmt: skip
        return rest


class SourcesAndAnyStyles(SourcesAndStyles):
    """The same for a command that needs no style."""

    needs_style = False


def source_and_styles(source: str, style: str) -> Callable[[Command], Command]:
    """Adds the words, --source and --style, with the help texts of the two options."""

    def add(command: Command) -> Command:
        for option in (
            click.option("--style", "styles", multiple=True, help=style),
            click.option("--source", "sources", multiple=True, help=source),
            click.argument("words", nargs=-1, metavar="[SOURCE] [STYLE]..."),
        ):
            command = option(command)
        return command

    return add
