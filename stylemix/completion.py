"""What a shell completes: commands, options, and the names of shipped models and styles.

A shell asks at every press of the Tab key, while importing a command imports torch. So the options
of all commands are written into a table in the user's cache once, and read from there.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from stylemix.version import __version__

ROOT = Path(__file__).resolve().parent
Table = dict[str, Any]
# Options whose values are shipped names, or files.
NAMED = {
    "--style": "styles", "--start": "styles", "--direction": "directions", "--model": "models",
}  # fmt: skip
FILES = {
    "words", "source", "model", "models", "style", "images", "photos", "photo", "data", "target",
    "names",
}  # fmt: skip


def table_file() -> Path:
    """The table for this version of the sources, in the user's cache."""
    given, base = os.environ.get("STYLEMIX_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    home = "~/Library/Caches" if platform.system() == "Darwin" else "~/.cache"
    base = base if os.path.isabs(base) else home  # as `stylemix.ops.cache`, without torch
    folder = Path(given or base).expanduser()
    folder = folder if given else folder / "stylemix"
    newest = max(int(file.stat().st_mtime) for file in _command_files())
    return folder / "completion" / f"{__version__}-{newest}.json"


def _command_files() -> list[Path]:
    for folder in (ROOT / "tools", ROOT.parent / "tools"):
        if files := sorted(folder.glob("*.py")):
            return [*files, ROOT / "cli.py"]
    return [ROOT / "cli.py"]


def describe(command: click.Command) -> list[Table]:
    """The parameters of a command as JSON values."""
    rows = []
    for parameter in command.params:
        kind = parameter.type
        flags = [*parameter.opts, *parameter.secondary_opts]
        named = next((NAMED[flag] for flag in flags if flag in NAMED), "")
        is_file = isinstance(kind, click.Path) or str(parameter.name) in FILES
        rows.append({
            "name": parameter.name,
            "option": isinstance(parameter, click.Option),
            "opts": parameter.opts,
            "secondary": parameter.secondary_opts,
            "flag": getattr(parameter, "is_flag", False),
            "nargs": parameter.nargs,
            "multiple": parameter.multiple,
            "help": getattr(parameter, "help", None),
            "choices": list(kind.choices) if isinstance(kind, click.Choice) else [],
            "names": "styles" if parameter.name == "words" else named,
            "file": is_file or bool(named),
        })  # fmt: skip
    return rows


def read_table() -> Table:
    """The table of this version; {} if it was not written yet."""
    try:
        table = json.loads(table_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):
        return {}
    return table if isinstance(table, dict) else {}


def write_table(commands: dict[str, click.Command]) -> None:
    """Writes the table of all commands; a failure is ignored, since it only saves time."""
    from stylemix.errors import StylemixError
    from stylemix.io.atomic import write_text

    table = {name: describe(command) for name, command in commands.items()}
    with suppress(StylemixError, OSError, RuntimeError):
        write_text(table_file(), json.dumps(table))


def stand_in(name: str, rows: list[Table]) -> click.Command:
    """A command with the parameters of a table, which can be completed but not run."""
    return click.Command(name, params=[_parameter(row) for row in rows])


def _parameter(row: Table) -> click.Parameter:
    settings: dict[str, Any] = {"nargs": row["nargs"], "shell_complete": _completer(row)}
    if not row["option"]:
        return click.Argument([row["name"]], required=False, **settings)
    if row["flag"]:
        spelled = "/".join([*row["opts"], *row["secondary"]])
        return click.Option([spelled, row["name"]], is_flag=True, help=row["help"])
    settings |= {"multiple": row["multiple"], "help": row["help"]}
    return click.Option([*row["opts"], row["name"]], type=str, **settings)


def _completer(row: Table) -> Callable[..., list[CompletionItem]]:
    def complete(
        _context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = row["choices"] or _shipped(row["names"])
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")] if row["file"] else found

    return complete


def _shipped(kind: str) -> list[str]:
    """The shipped names of a kind, by the names of their files: reading those imports torch."""
    assets = ROOT / "assets"
    if kind == "models":
        return sorted(file.stem for file in assets.glob("faces-*.safetensors"))
    files = (assets / kind).iterdir() if kind else ()
    return sorted(file.stem for file in files if file.suffix in (".pkl", ".safetensors"))
