"""Alignment templates: named positions of a face, in fractions of the side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from stylemix.errors import StylemixError
from stylemix.io.files import StrPath, read_file
from stylemix.io.json_text import parse_json

Point = tuple[float, float]


@dataclass(frozen=True)
class Template:
    """The alignment of a model's faces: points in fractions of the side, or the FFHQ rule."""

    name: str
    kind: Literal["points", "ffhq", "none"]
    points: tuple[Point, ...] | None = None

    @property
    def eyes(self) -> tuple[Point, Point] | None:
        """Left and right eye, as the viewer sees them, in fractions of the side; or None."""
        if self.kind == "ffhq":
            return FFHQ_EYES
        return None if self.points is None else (self.points[0], self.points[1])

    def to_json(self) -> dict[str, object]:
        """Returns JSON values for the header of a model file."""
        points = None if self.points is None else [list(point) for point in self.points]
        return {"name": self.name, "kind": self.kind, "points": points}

    @staticmethod
    def from_json(data: object) -> Template:
        """Returns the template of values that `to_json` wrote; StylemixError for other values."""
        template = _parse(data)
        if template is None:
            raise StylemixError(
                f"got the alignment template {str(data)[:80]!r}; expected a name, a kind "
                "(points, ffhq or none) and points; set the template by hand with --template"
            )
        return template


def _parse(data: object) -> Template | None:
    """Returns the template of JSON values; None if they are invalid."""
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return None
    name, kind, points = data["name"], data.get("kind"), data.get("points")
    if kind in ("ffhq", "none"):
        return Template(name, kind) if points is None else None
    if kind != "points" or not isinstance(points, list | tuple):
        return None
    try:
        values = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    # Eyes first, all in or near the crop, at most the five points of the detector.
    if values.ndim != 2 or values.shape[1] != 2 or not 2 <= len(values) <= 5:
        return None
    if not (np.abs(values - 0.5) <= 1).all() or not values[1, 0] - values[0, 0] > 0.01:
        return None
    return Template(name, "points", tuple((float(x), float(y)) for x, y in values))


FACES128 = Template(
    "faces128", "points", ((0.317, 0.302), (0.682, 0.302), (0.5, 0.52), (0.35, 0.70), (0.65, 0.70))
)
FFHQ = Template("ffhq", "ffhq")
NO_TEMPLATE = Template("none", "none")
TEMPLATES = {template.name: template for template in (FACES128, FFHQ, NO_TEMPLATE)}
MAX_FILE_BYTES = 1_000_000
# The side of an FFHQ crop is twice the larger of 2 eye distances and 1.8 eye-to-mouth distances.
# These are mean eye positions in such crops of 223 upright adult faces (standard deviation 0.003).
FFHQ_EYES: tuple[Point, Point] = ((0.376, 0.474), (0.624, 0.474))


def template_for(resolution: int, origin: str) -> Template:
    """Returns the default template for a model of a resolution in px and an origin."""
    if origin == "stylemix":
        return FACES128
    return FFHQ if resolution >= 256 else NO_TEMPLATE


def find_template(name: StrPath | Template) -> Template:
    """Returns a template by its name or its JSON file, of a template or of `stylemix align`.

    Raises StylemixError for an unknown name and for a file without a template.
    """
    if isinstance(name, Template):
        return name
    if not isinstance(name, str | os.PathLike):
        raise StylemixError(
            f"got {type(name).__name__} as a template; expected {', '.join(TEMPLATES)} or a JSON "
            "file; check the name"
        )
    if str(name) in TEMPLATES:
        return TEMPLATES[str(name)]
    path = Path(os.path.expanduser(name))
    if not os.path.isfile(path):
        raise StylemixError(
            f"got template {str(name)[:60]!r}; expected {', '.join(TEMPLATES)} or a JSON file; "
            "check the name"
        )
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("too large")
        data = parse_json(read_file(path))
    except (ValueError, OSError) as error:
        raise StylemixError(
            f"{path}: got a file that is not readable JSON; expected a template; see docs/align.md"
        ) from error
    template = _parse(data.get("template", data) if isinstance(data, dict) else None)
    if template is None:
        raise StylemixError(
            f"{path}: got JSON without a template; expected a name, a kind (points, ffhq or none) "
            "and points; see docs/align.md"
        )
    return template
