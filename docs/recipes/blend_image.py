"""The image of docs/blend.md: two models and their blends, for the same latents.

python docs/recipes/blend_image.py

The second model is the shipped one after it has learned from pairs: 240 of its faces, redrawn by
the shipped style `toon`. That takes about ten minutes on two cores.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from PIL import Image

from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.models.blend import blend
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import sample_ws
from stylemix.networks.sampling import sample_images
from stylemix.progress import progress_bar
from stylemix.styles.style import load_style
from stylemix.training.adapt.base_style import with_style
from stylemix.training.adapt.pairs import PairSettings, learn_pairs
from stylemix.training.adapt.scores import FACES_SEED, faces_in_style, resized

SEEDS = (3, 7, 11, 19, 23, 31)
PAIRS, STEPS = 240, 1000


def drawing_model(model: Model) -> Model:
    """The model that draws its faces as the style `toon` redraws them."""
    drawings = faces_in_style(model, load_style("toon"), PAIRS)[1]
    latents = sample_ws(model.generator, PAIRS, FACES_SEED, psi=0.8)
    size = [model.generator.img_resolution] * 2
    with progress_bar("Learning", "step") as progress:
        style = learn_pairs(
            model, latents, resized(drawings, size), PairSettings(steps=STEPS), progress
        )
    return replace(with_style(model, style), card={"name": "faces-64 that draws as toon"})


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images/blend.jpg"))
@click.option("--toon", type=click.Path(path_type=Path), help="The second model, made if missing.")
def main(output: Path, toon: Path | None) -> None:
    """Render a row of faces for each model."""
    first = load_model("faces-64")
    if toon is not None and toon.exists():
        second = load_model(toon)
    else:
        second = drawing_model(first)
        if toon is not None:
            second.save(toon)
    both = [first, second]
    rows = {
        "A, faces": first,
        "B, drawings": second,
        "--weights 0.5,0.5": blend(both),
        "--swap 32px": blend(both, swap="32px"),
        "--swap 32px --ramp 4": blend(both, swap="32px", ramp=4),
        "--swap 16px --reverse": blend(both, swap="16px", reverse=True),
    }
    images: list[Image.Image] = []
    for model in rows.values():
        drawn = sample_images(model.generator, SEEDS, 0.8)
        images += [to_pil(image) for image in drawn]
    sheet = grid(images, columns=len(SEEDS), row_labels=list(rows), cell=128)
    save_image(output, sheet, generated=True)


if __name__ == "__main__":
    main()
