"""The image of docs/drag.md: a portrait before and after drags, with arrows.

python docs/recipes/drag_image.py
"""

from __future__ import annotations

import math
from pathlib import Path

import click
import torch
from drag_table import DRAGS
from PIL import Image, ImageDraw

from stylemix.avatars.drag import STEPS, Points, nearest, read_drag
from stylemix.avatars.mixer import Mixer
from stylemix.faces.landmarks import landmarks
from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_tensor
from stylemix.images.write import save_image
from stylemix.io.assets import ASSETS
from stylemix.models.checkpoint import load_model

SIDE = 256
SHOWN = ("corners of the mouth out and up", "nose to the left", "eyes up", "jaw wider")


def with_arrows(image: Image.Image, points: Points) -> Image.Image:
    """The image with an arrow from each handle to its target."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    for pair in points:
        (x0, y0), (x1, y1) = ((x * SIDE / 64, y * SIDE / 64) for x, y in pair)
        angle = math.atan2(y1 - y0, x1 - x0)
        sides = [angle - 0.6, angle + 0.6]
        pen.line([x0, y0, x1, y1], fill="yellow", width=3)
        pen.polygon(
            [(x1, y1), *((x1 - 9 * math.cos(t), y1 - 9 * math.sin(t)) for t in sides)],
            fill="yellow",
        )
        pen.ellipse([x0 - 4, y0 - 4, x0 + 4, y0 + 4], fill="red")
    return image


@click.command()
@click.option("--source", default=str(ASSETS / "portraits" / "collins.jpg"))
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images/drag.jpg"))
def main(source: str, output: Path) -> None:
    """Render two rows, before and after."""
    mixer = Mixer(load_model("faces-64"))
    (person,), _ = mixer.read([source], [])
    face = next(read_drag(mixer, person, [((0, 0), (0, 0))], None)).image(SIDE)
    marks = landmarks(to_tensor(face), mixer.model.template)[0].detach() * 64
    before, after = [], []
    for name in SHOWN:
        ids, moves = DRAGS[name]
        handles = marks[list(ids)]
        pairs = zip(handles.tolist(), (handles + torch.tensor(moves)).tolist(), strict=True)
        points = [((x0, y0), (x1, y1)) for (x0, y0), (x1, y1) in pairs]
        done = nearest(read_drag(mixer, person, points, None), STEPS, False)
        click.echo(f"{name}: {done.step} steps, {max(done.distances):.2f} px")
        before.append(with_arrows(face, points))
        after.append(done.image(SIDE))
    sheet = grid([*before, *after], columns=len(SHOWN), row_labels=["before", "after"], cell=SIDE)
    save_image(output, sheet)


if __name__ == "__main__":
    main()
