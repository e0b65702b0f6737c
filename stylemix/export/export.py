"""A model, a style or a student as a file for other programs."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from stylemix.avatars.render import AppliedStyle
from stylemix.devices import in_usual_modes
from stylemix.errors import StylemixError, check_choice
from stylemix.export.files import Deviation, write_onnx, write_program
from stylemix.export.graphs import PARTS, Graph, model_graph, student_graph
from stylemix.export.precision import PRECISIONS
from stylemix.images.provenance import source_type
from stylemix.io.atomic import Json
from stylemix.io.files import StrPath, user_path
from stylemix.models.checkpoint import shipped_models
from stylemix.models.container import STYLE
from stylemix.models.loading import DEFAULT_MODEL, AnyModel, use_model
from stylemix.models.model import Model
from stylemix.progress import Progress, report_to
from stylemix.styles.style import Style, find_style, format_of, load_style, shipped_styles
from stylemix.version import __version__

SUFFIXES = (".onnx", ".pt2")


@dataclass(frozen=True)
class Exported:
    """A written file: its part, its inputs and outputs, and how far these are from PyTorch's."""

    path: Path
    part: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    deviation: Deviation


@in_usual_modes
@torch.random.fork_rng(devices=[])  # preserves the caller's random state
def export_model(
    what: StrPath | Model | Style,
    path: StrPath,
    *,
    part: str | None = None,
    precision: str = "fp32",
    strength: float | None = None,
    model: AnyModel = DEFAULT_MODEL,
    progress: Progress | bool = False,
) -> Exported:
    """Writes a network as an .onnx file, or as a .pt2 file of torch.export.

    Args:
        what: a shipped name, a file, a `Model` or a `Style`.
        path: ends in .onnx or .pt2.
        part: "generator" (z to image), "mapping", "synthesis" or "student"; None for the student
            of a style that is nothing else, and the generator of all others.
        precision: of the stored weights: "fp32", "fp16" or "int8".
        strength: of a style; None for the recommended one.
        model: base of a style.
        progress: a function of (done, total), or True for a progress bar.

    Raises StylemixError for a file that differs too much from PyTorch's result, and for arguments
    that do not fit each other.
    """
    path = user_path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise StylemixError(
            f"got the file name {path}; expected .onnx or .pt2 at its end; change it"
        )
    if precision not in PRECISIONS or (precision != "fp32" and path.suffix.lower() == ".pt2"):
        raise StylemixError(
            f"got the precision {precision} for {path}; expected fp32, or fp16 or int8 for ONNX "
            "files; change --precision"
        )
    style = _find_style(what)
    by_student = style is not None and style.is_student
    part = part or ("student" if by_student else "generator")
    _check_part(style, part, strength)
    name = str(style.info.get("name", "style")) if style is not None else "model"
    name = Path(what).stem if isinstance(what, str | os.PathLike) else name
    if style is not None and part == "student":
        graph, facts = student_graph(style), describe(name, style)
    else:
        network = _find_model(what if style is None else model)
        styles = [] if style is None else [AppliedStyle(style.check(network), strength)]
        graph = model_graph(network, part, styles)
        facts = {"model": network.fingerprint, "template": network.template.name}
        facts |= {"model licence": str(network.card.get("licence", "unknown"))}
        facts |= describe(name, style or network)
    facts |= {"part": part, **graph.facts}
    deviation = _write(path, graph, facts, precision, progress)
    return Exported(path, part, tuple(graph.examples(1)), graph.outputs, deviation)


def _write(
    path: Path, graph: Graph, facts: dict[str, Json], precision: str, progress: Progress | bool
) -> Deviation:
    tempfile.gettempdir()  # PyTorch needs one, and ends in an error of its own without
    with report_to(progress, "Exporting", "file") as report:
        if report is not None:
            report(0, 1)
        if path.suffix.lower() == ".onnx":
            deviation = write_onnx(path, graph, facts, precision)
        else:
            deviation = write_program(path, graph, facts)
        if report is not None:
            report(1, 1)
    return deviation


def _find_style(what: StrPath | Model | Style) -> Style | None:
    """The style that is meant; None for a model."""
    if isinstance(what, Style):
        return what
    if isinstance(what, Model):
        return None
    file = find_style(what)
    if os.path.isfile(file):
        return load_style(file) if format_of(file) == STYLE else None
    if str(what) not in shipped_models():
        raise StylemixError(
            f"got {what}; expected a file, a shipped model ({', '.join(shipped_models())}) or a "
            f"shipped style ({', '.join(shipped_styles())}); check the name"
        )
    return None


def _find_model(what: AnyModel | Style) -> Model:
    assert not isinstance(what, Style)
    return use_model(what, "cpu")


def _check_part(style: Style | None, part: str, strength: float | None) -> None:
    """Raises StylemixError for a part that there is not, and for a strength without a use."""
    check_choice("the part", part, PARTS)
    if style is None and part == "student":
        raise StylemixError("got --part student and a model; expected a style; leave it out")
    if style is not None and style.is_student and part != "student":
        raise StylemixError(
            f"got --part {part} and a style that is a student alone; expected student; leave it out"
        )
    if strength is not None and (style is None or part in ("student", "mapping")):
        raise StylemixError(
            "got --strength without a style in synthesis; expected a style of a model, and --part "
            "generator or synthesis; leave it out"
        )


def describe(name: str, source: Model | Style) -> dict[str, Json]:
    """The facts that a file carries: name, licence, credit, and that its images are generated."""
    info = source.info if isinstance(source, Style) else source.card
    return {
        "name": name,
        "licence": str(info.get("licence", "unknown")),
        "credit": str(info.get("credit", info.get("data", "unknown"))),
        "generated": source_type(True),
        "tool": f"stylemix {__version__}",
    }
