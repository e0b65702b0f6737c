"""What every command has: the options --json, --quiet, --verbose, --overwrite, and own defaults."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from stylemix import messages
from stylemix.errors import StylemixError, did_you_mean, shown
from stylemix.options_file import ALL, at_home, find_options_file, read_options_file

OVERWRITE = "stylemix.overwrite"  # the key in the `meta` of a click context
# Options that the table [all] may set, for the commands that have them.
OF_ALL = (
    "batch", "device", "encoder", "json", "model", "no-cache", "overwrite", "preset", "quiet",
    "size", "template", "verbose",
)  # fmt: skip


def _flag(name: str, text: str, act: Callable[[click.Context], None]) -> click.Option:
    def callback(context: click.Context, _option: click.Parameter, given: bool) -> None:
        if given:
            act(context)

    return click.Option([f"--{name}"], is_flag=True, expose_value=False, callback=callback,
                        help=text)  # fmt: skip


def _be_json(_context: click.Context) -> None:
    messages.current().json = True


def _be_quiet(context: click.Context) -> None:
    said = messages.current()
    if said.verbose:
        context.fail("got --quiet and --verbose; expected one of them")
    said.quiet = True
    # Only now, since it imports torch, as the command that is quiet has done already.
    from stylemix.ops.progress import silenced

    context.with_resource(silenced())


def _be_verbose(context: click.Context) -> None:
    said = messages.current()
    if said.quiet:
        context.fail("got --quiet and --verbose; expected one of them")
    said.verbose = True


def _overwrite(context: click.Context) -> None:
    context.meta[OVERWRITE] = True


GLOBAL_OPTIONS = (
    _flag("json", "Print one line of JSON on standard output, instead of text.", _be_json),
    _flag("quiet", "Print no progress and no notes; results and errors only.", _be_quiet),
    _flag("verbose", "Print more about the run.", _be_verbose),
    _flag("overwrite", "Replace an output that exists, instead of writing NAME-2.", _overwrite),
)


def with_global_options(command: click.Command) -> click.Command:
    """A copy of a command that has the global options, too."""
    command = copy.copy(command)
    command.params = [*command.params, *GLOBAL_OPTIONS]
    return command


def may_overwrite() -> bool:
    """Whether the command that runs has --overwrite."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(OVERWRITE, False))


def own_defaults(command: click.Command, name: str, commands: list[str]) -> dict[str, Any]:
    """The user's own defaults of a command by its parameters, from the options file.

    Raises StylemixError for a file with tables or keys that do not exist.
    """
    path = find_options_file()
    if path is None:
        return {}
    tables = read_options_file(path, commands)
    options = {
        flag.removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option)
        for flag in [*option.opts, *option.secondary_opts]
    }
    defaults: dict[str, Any] = {}
    for table, known in ((ALL, OF_ALL), (name, tuple(options))):
        for key, value in tables.get(table, {}).items():
            if key not in known:
                raise StylemixError(
                    f"{path}: got {key[:40]!a} in [{table}]; expected the name of an option, "
                    f"without dashes{did_you_mean(key, known)}; change it"
                )
            if (option := options.get(key)) is not None:
                defaults[str(option.name)] = _value(option, key, value, path)
    if defaults:
        names = ", ".join(name.replace("_", "-") for name in defaults)
        messages.detail(f"Defaults of {path}: {names}")
    return defaults


def _value(option: click.Option, key: str, value: Any, path: Path) -> Any:
    """A value of TOML as click takes it; StylemixError for a kind that no option has."""
    several = option.multiple or option.nargs != 1
    if isinstance(value, str):
        value = at_home(value)
    if isinstance(value, dict) or (isinstance(value, list) and not several):
        raise StylemixError(f"{path}: got a table or a list for {key}; expected one value")
    if f"--{key}" in option.secondary_opts and isinstance(value, bool):
        return not value
    if isinstance(value, bool) and option.is_flag:
        return value
    # As text, which click checks as it does what is typed: its types expect nothing else.
    texts = [_text(key, one, path) for one in (value if isinstance(value, list) else [value])]
    return texts if several else texts[0]


def _text(key: str, value: Any, path: Path) -> str:
    long = isinstance(value, int) and abs(value) >= 2**64  # thousands of digits have no text
    if long or not isinstance(value, str | int | float) or "\0" in str(value):
        got = "a number of many digits" if long else shown(value)
        raise StylemixError(f"{path}: got {got} for {key}; expected a text or a number; change it")
    return str(value)
