"""Draw each augmentation of `stylemix train` on one generated face.

python docs/recipes/augment_picture.py --output docs/images/augment.png
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from torch import Tensor

from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.models.checkpoint import load_generator
from stylemix.networks.latents import truncate, z_from_seed
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


def face(seed: int) -> Tensor:
    """A generated face [1, 3, H, W]."""
    generator = load_generator("faces-64")
    with torch.no_grad():
        ws = generator.mapping(z_from_seed(seed, generator.z_dim), None)
        ws = truncate(ws, generator.mapping.w_avg, 0.7)
        return generator.synthesis(ws, noise_mode="const")


@click.command()
@click.option("--seed", default=3, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(seed: int, output: Path) -> None:
    """Write a contact sheet with four draws of each augmentation."""
    images = face(seed).repeat(4, 1, 1, 1)
    cells = []
    for index, (pipe, p) in enumerate(CELLS.values()):
        torch.manual_seed(index)
        draws = pipe(images, p)
        rows = [torch.cat([*draws[k : k + 2]], dim=2) for k in (0, 2)]
        cells.append(to_pil(torch.cat(rows, dim=1) if index else draws[0]))
    save_image(output, grid(cells, columns=6, labels=list(CELLS), cell=92))


if __name__ == "__main__":
    main()
