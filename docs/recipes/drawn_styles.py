"""Train the shipped drawn styles: students of all styles at once, which share what is alike.

    python docs/recipes/drawn_pairs.py faces.zip --output pairs/
    python docs/recipes/drawn_styles.py pairs/ --kimg 32 --output styles/

Stopped and started again it goes on from its last state.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from tqdm import tqdm

from stylemix.faces.caricature import Shape
from stylemix.metrics.style_distance import StyleMeter
from stylemix.models.checkpoint import load_model
from stylemix.progress import progress_bar
from stylemix.styles.style import Style
from stylemix.tools.distill import drawing_statistics
from stylemix.training.adapt.distill import DistillSettings, learn_students
from stylemix.training.adapt.student_pairs import photo_pairs

STYLES = ("illustration", "comic", "ink", "pop", "pencil", "toon")
SHAPES = {"toon": Shape(eyes=0.6, jaw=0.5)}
CREDIT = (
    "stylemix; learned from photos of FairFace (Karkkainen and Joo, CC BY 4.0) that Real-ESRGAN's "
    "model x4plus-anime (Wang et al., BSD-3-Clause) and filters had redrawn"
)


@click.command()
@click.argument("pairs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--kimg", type=float, default=32, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", show_default=True)
@click.option("--model", default="faces-64", show_default=True, help="For the statistics.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
def main(pairs: Path, kimg: float, precision: str, model: str, output: Path) -> None:
    """Train the students of all styles, and write a style file for each."""
    output.mkdir(parents=True, exist_ok=True)
    photos, drawings = torch.empty(0), []
    for name in tqdm(STYLES, "Reading pairs"):
        photos, drawn = photo_pairs(pairs / "photos", pairs / name)
        drawings.append(drawn)
    with progress_bar("Training") as report:
        settings = DistillSettings(kimg=kimg, precision=precision)
        state = output / "students.state"
        students = learn_students(photos, drawings, settings, state_file=state, progress=report)
    network = load_model(model)
    for name, student, drawn in zip(STYLES, students, drawings, strict=True):
        info = {"name": name, "method": "student", "pairs": len(photos), "kimg": kimg}
        info |= {"licence": "Apache-2.0", "credit": CREDIT, "consent": "drawings, no persons"}
        statistics = drawing_statistics(StyleMeter(network), drawn)
        shape = SHAPES.get(name, Shape())
        style = Style(
            network.fingerprint, student=student, shape=shape, statistics=statistics, info={**info}
        )
        style.save(output / f"{name}.safetensors")


if __name__ == "__main__":
    main()
