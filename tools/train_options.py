"""Command-line options from the settings: help, sections, types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from stylemix.training.settings import SETTINGS, Setting, Settings

Command = Callable[..., Any]


def config_options(**others: Any) -> Callable[[Command], Command]:
    """Adds one option for each setting; `others` are defaults that differ from the settings'."""

    def add(command: Command) -> Command:
        for field in reversed(fields(Settings)):
            described = SETTINGS[field.name]
            flag = "--" + field.name.replace("_", "-")
            if described.kind is bool:
                option = click.option(flag, is_flag=True, help=described.help)
            else:
                default = others.get(field.name, field.default)
                option = click.option(
                    flag, type=_type(described), default=default,
                    show_default=default is not None, help=described.help,
                )  # fmt: skip
            command = option(command)
        return command

    return add


def _type(described: Setting) -> Any:
    if described.choices:
        return click.Choice(described.choices)
    return Scheduled() if described.scheduled else described.kind


class Scheduled(click.ParamType):  # type: ignore[type-arg]  # generic in later releases only
    """A number, or the text of a schedule, which the settings parse."""

    name = "schedule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns a float for a number, else the text."""
        try:
            return float(value)
        except ValueError:
            return value


class SectionedCommand(click.Command):
    """A command whose help lists options by section; those without a section come first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            described = SETTINGS.get(str(parameter.name))
            rows = sections.setdefault(described.section if described else "Options", [])
            row = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if row is not None:
                rows.append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)
