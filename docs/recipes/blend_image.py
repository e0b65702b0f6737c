"""The image of docs/blend.md: two models and their blends, for the same latents.

python docs/recipes/blend_image.py

The second model is the shipped one with the drawn style toon-head merged into its weights.
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
from stylemix.networks.sampling import sample_images
from stylemix.styles.style import load_style
from stylemix.training.adapt.base_style import with_style

SEEDS = (3, 7, 11, 19, 23, 31)


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images/blend.jpg"))
@click.option("--toon", type=click.Path(path_type=Path), help="Also write the second model here.")
def main(output: Path, toon: Path | None) -> None:
    """Render a row of faces for each model."""
    style = load_style("toon-head")
    first = load_model("faces-64")
    second = replace(with_style(first, style), card=dict(style.info))
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
