"""Apply each augmentation of `stylemix train` to one generated face.

python docs/recipes/augment_image.py --output docs/images/augment.png
"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.models.checkpoint import load_generator
from stylemix.networks.sampling import sample_images
from stylemix.training.augment.pipe import PIPES, AugmentPipe

NAMES = (
    "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "brightness", "contrast",
    "lumaflip", "hue", "saturation", "imgfilter", "noise", "cutout",
)  # fmt: skip
CELLS = {
    "the image": (AugmentPipe(), 1.0),
    **{name: (AugmentPipe(**{name: 1.0}), 1.0) for name in NAMES},
    "bgc, p = 0.2": (PIPES["bgc"], 0.2),
    "bgcfnc, p = 0.2": (PIPES["bgcfnc"], 0.2),
}


@click.command()
@click.option("--seed", default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(seed: int, output: Path) -> None:
    """Write a contact sheet with four samples of each augmentation."""
    images = sample_images(load_generator("faces-64"), [seed], psi=0.7).repeat(4, 1, 1, 1)
    cells = []
    for index, (pipe, p) in enumerate(CELLS.values()):
        torch.manual_seed(index)
        augmented = pipe(images, p)
        rows = [torch.cat([*augmented[k : k + 2]], dim=2) for k in (0, 2)]
        cells.append(to_pil(torch.cat(rows, dim=1) if index else augmented[0]))
    save_image(output, grid(cells, columns=6, labels=list(CELLS), cell=92))


if __name__ == "__main__":
    main()
