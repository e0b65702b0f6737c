"""`stylemix export`: networks as files for other programs, and a page for the browser."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stylemix.errors import StylemixError
from stylemix.export.browser import write_page
from stylemix.export.export import export_model
from stylemix.export.graphs import PARTS
from stylemix.export.precision import PRECISIONS
from stylemix.messages import result, say, wrote
from stylemix.progress import progress_bar
from stylemix.tools.options import model_option
from stylemix.tools.outputs import output_file


@click.command("export")
@click.argument("names", metavar="MODEL|STYLE...", nargs=-1, required=True)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False),
              help="File to write, .onnx or .pt2 (torch.export).")  # fmt: skip
@click.option("--part", type=click.Choice(PARTS),
              help="What is exported: generator (z to image), mapping (z to ws), synthesis (ws to "
              "image) or the student of a style.  [default: student, where there is nothing else; "
              "generator]")  # fmt: skip
@click.option("--precision", type=click.Choice(PRECISIONS), default="fp32", show_default=True,
              help="Precision of the weights in an ONNX file.")  # fmt: skip
@click.option("--strength", type=float,
              help="Strength of a style of a model.  [default: the recommended one]")  # fmt: skip
@click.option("--page", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for a page that draws the camera's face in drawn styles and mixes faces "
              "of the model, in a browser.")  # fmt: skip
@click.option("--runtime", type=click.Path(path_type=Path),
              help="Folder of the npm package onnxruntime-web, for --page.")  # fmt: skip
@model_option
def export_command(
    names: tuple[str, ...],
    output: Path | None,
    part: str | None,
    precision: str,
    strength: float | None,
    page: Path | None,
    runtime: Path | None,
    model: str,
) -> None:
    """Write a model, a style or its student as an ONNX file, or as a program of torch.export.

    The file is compared with PyTorch's result before it is written. With --page, write a folder
    with a page that runs in a browser, without a server.

    \b
    Examples:
      stylemix export comic --output comic.onnx
      stylemix export faces-64 --part synthesis --precision fp16 --output synthesis.onnx
      stylemix export comic toon --page page --runtime node_modules/onnxruntime-web
    """
    if (output is None) == (page is None):
        raise StylemixError("got --output and --page, or neither; expected one of them; add one")
    if page is not None:
        if part is not None or strength is not None or precision != "fp32":
            raise StylemixError(
                "got --page with an option of single files; expected none of --part, --precision "
                "and --strength; leave it out"
            )
        if runtime is None:
            raise StylemixError(
                "got --page without --runtime; expected the folder of onnxruntime-web; npm install "
                "onnxruntime-web, then --runtime node_modules/onnxruntime-web"
            )
        page = output_file(page, names)
        with progress_bar("Exporting", "network") as report:
            written = write_page(page, runtime, names, model=model, progress=report)
        wrote(page, f"open {page / 'index.html'} in a browser")
        result(errors={name: asdict(deviation) for name, deviation in written.items()})
        return
    if len(names) > 1 or runtime is not None:
        raise StylemixError(
            "got several names or --runtime with --output; expected a single model or style; use "
            "--page for a page"
        )
    assert output is not None
    output = output_file(output, names)
    options: dict[str, Any] = {"part": part, "precision": precision, "strength": strength}
    with progress_bar("Exporting", "file", leave=False) as report:
        done = export_model(names[0], output, model=model, progress=report, **options)
    size = output.stat().st_size
    wrote(output, f"{size / 1e6:.1f} MB", bytes=size)
    say(f"{done.part}: {', '.join(done.inputs)} to {', '.join(done.outputs)}")
    say(f"Difference from PyTorch: {done.deviation}")
    result(part=done.part, inputs=done.inputs, outputs=done.outputs, error=asdict(done.deviation))
