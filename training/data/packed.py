"""What `stylemix pack` recorded in a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE, TEMPLATES, Template
from stylemix.images.sources import read_beside
from stylemix.io.files import StrPath
from stylemix.io.json_text import parse_json
from stylemix.training.data.shards import is_shards


def packed_template(paths: Sequence[StrPath]) -> Template:
    """The alignment template of the faces in datasets, by their pack.json; else `NO_TEMPLATE`.

    Raises StylemixError for datasets of several templates.
    """
    found = {str(path): _recorded(path) for path in paths}
    if len(set(found.values())) > 1:
        where = ", ".join(f"{path} {template.name}" for path, template in found.items())
        raise StylemixError(
            f"got datasets of several alignment templates ({where}); expected one; pack them "
            "alike, or choose with --template"
        )
    return next(iter(found.values()), NO_TEMPLATE)


def _recorded(path: StrPath) -> Template:
    if is_shards(path) or not Path(path).exists():
        return NO_TEMPLATE
    try:
        settings = parse_json(read_beside(path, "pack.json") or b"{}")["settings"]
        if settings["crop"] != "faces":
            return NO_TEMPLATE
        recorded = settings["template"]  # a name, or the points of a file
        return TEMPLATES[recorded] if isinstance(recorded, str) else Template.from_json(recorded)
    except (ValueError, TypeError, KeyError, StylemixError):  # not one of ours
        return NO_TEMPLATE
