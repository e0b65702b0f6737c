"""Train the painter of the shipped drawn styles, and write a style file for each hand.

    python docs/recipes/painted_pairs.py faces.zip --output pairs/
    python docs/recipes/drawn_styles.py pairs/ --output styles/

The painter is a student that learned to paint as Real-ESRGAN's model for drawings does; the hands
(`stylemix.images.hands`) make a drawing of what it paints. Stopped and started again it goes on
from its last state. With a painter that has learned already, photos alone are enough, of 256 px:

    python docs/recipes/drawn_styles.py faces256.zip --painter comic --output styles/
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from stylemix.faces.caricature import Shape
from stylemix.images.hands import HANDS, PLAIN
from stylemix.images.sources import list_images
from stylemix.images.tensors import to_tensor
from stylemix.io.atomic import Json
from stylemix.models.checkpoint import load_model
from stylemix.networks.student import tone_curve
from stylemix.progress import progress_bar
from stylemix.styles.style import Style, load_style
from stylemix.tools.distill import MAX_EXAMPLES, drawing_statistics
from stylemix.training.adapt.distill import DistillSettings, learn_student
from stylemix.training.adapt.student_pairs import photo_pairs

SHAPES = {"toon": Shape(eyes=0.8, jaw=0.4)}
CREDIT = (
    "stylemix; its painter learned from photos of FairFace (Karkkainen and Joo, CC BY 4.0) as "
    "Real-ESRGAN's model x4plus-anime (Wang et al., BSD-3-Clause) repaints them"
)


@click.command()
@click.argument("pairs", type=click.Path(exists=True, path_type=Path))
@click.option("--kimg", type=float, default=64, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="bf16", show_default=True)
@click.option("--painter", help="Style whose painter to use.")
@click.option("--model", default="faces-64", show_default=True, help="Named in the files.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
def main(
    pairs: Path, kimg: float, precision: str, painter: str | None, model: str, output: Path
) -> None:
    """Train the painter, and write the styles."""
    output.mkdir(parents=True, exist_ok=True)
    learned: dict[str, Json]
    if painter is None:
        photos, paintings = photo_pairs(pairs / "photos", pairs / "paintings")
        settings, state = DistillSettings(kimg=kimg, precision=precision), output / "painter.state"
        with progress_bar("Training") as report:
            student = learn_student(photos, paintings, settings, None, state, progress=report)
        learned = {"pairs": len(photos), "kimg": kimg}
        some = photos[:: max(1, len(photos) // MAX_EXAMPLES)].float() / 127.5 - 1
    else:
        known = load_style(painter)
        assert known.student is not None, f"{painter} has no painter"
        student, learned = known.student, {key: known.info[key] for key in ("pairs", "kimg")}
        listed = list_images(pairs)
        chosen = listed[:: max(1, len(listed) // MAX_EXAMPLES)][:MAX_EXAMPLES]
        some = torch.cat([to_tensor(source.open()) for source in chosen])
    network = load_model(model)
    for name in (hand for hand in HANDS if hand != PLAIN):
        info = {"name": name, "method": "student", **learned}
        info |= {"licence": "Apache-2.0", "credit": CREDIT, "consent": "drawings, no persons"}
        style = Style(network.fingerprint, student=student, hand=name, info={**info})
        style.shape = SHAPES.get(name, Shape())
        with torch.inference_mode():
            drawn = torch.cat([style.drawing(one, tone_curve(one)) for one in some.split(1)])
        style.statistics = drawing_statistics((drawn + 1) * 127.5)
        style.save(output / f"{name}.safetensors")


if __name__ == "__main__":
    main()
