"""The file with a user's own defaults of options: TOML, a table for each command."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError, did_you_mean

NAME = "stylemix.toml"
VARIABLE = "STYLEMIX_CONFIG"
ALL = "all"  # the table of every command
MAX_BYTES = 2**20


def at_home(word: str) -> str:
    """A word with ~ for the user's folder, where the shell leaves it: `--output=~/avatar.png`."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return option + equals + os.path.expanduser(value)


def find_options_file() -> Path | None:
    """The file that STYLEMIX_CONFIG names; else stylemix.toml here, or in the user's folder.

    An empty STYLEMIX_CONFIG stands for none. Raises StylemixError if the file it names is missing.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        path = Path(os.path.expanduser(named))
        if named and not path.is_file():
            raise StylemixError(
                f"got {VARIABLE}={named}, which is no file; expected a TOML file; correct or unset "
                "it"
            )
        return path if named else None
    places = [Path(NAME)]
    if (folder := _user_folder()) is not None:
        places.append(folder / "stylemix" / NAME)
    # A folder that this user may not enter, such as that of the user who called sudo, has none.
    return next((place for place in places if os.path.isfile(place)), None)


def _user_folder() -> Path | None:
    named = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME", "")
    try:  # a relative one is to be ignored, says the specification of XDG
        return Path(named) if os.path.isabs(named) else Path.home() / ".config"
    except RuntimeError:  # no home folder
        return None


def read_options_file(path: Path, commands: list[str]) -> dict[str, dict[str, Any]]:
    """The tables of a file by command; StylemixError for broken TOML and for unknown tables."""
    parser = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            raise OSError("it is no file")
        with path.open("rb") as stream:
            tables = parser.loads(stream.read(MAX_BYTES).decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: its own are such
        reason = getattr(error, "strerror", None) or str(error)
        raise StylemixError(
            f"{path}: got a file that cannot be read ({reason}); expected TOML, as in "
            '[mix] preset = "fast"; correct it'
        ) from error
    for name, table in tables.items():
        if name not in (ALL, *commands) or not isinstance(table, dict):
            near = did_you_mean(name, commands)
            raise StylemixError(
                f"{path}: got {name[:40]!a}; expected tables named [{ALL}] or as a command, such "
                f"as [mix]{near}; change it"
            )
    return dict(tables)
