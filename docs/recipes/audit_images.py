"""Pictures to audit styles with: drawings by one hand, and photos in one light.

    python docs/recipes/audit_images.py faces128-val.zip --output pictures

From aligned photos it writes ink-learn.zip and golden-hour-learn.zip, to learn a style from, and
NAME-held.zip with others by the same hand, which the style has not seen. docs/audit.md has the
commands that follow.
"""

from __future__ import annotations

import io
from pathlib import Path

import click
import torch
from look_images import graded
from PIL import Image

from stylemix.images.hands import draw_by_hand
from stylemix.images.sources import list_images
from stylemix.images.tensors import resize, to_pil, to_tensor
from stylemix.training.curation.archive import write_archive

LEARN, HELD, DRAWN_AT, SIZE = {"ink": 40, "golden-hour": 8}, 240, 128, 64


def drawn(photo: Image.Image) -> bytes:
    """A drawing in ink as a PNG file."""
    large = to_tensor(resize(photo, (DRAWN_AT, DRAWN_AT)))
    stream = io.BytesIO()
    resize(to_pil(draw_by_hand("ink", large)), (SIZE, SIZE)).save(stream, "PNG")
    return stream.getvalue()


@click.command()
@click.argument("photos", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
@torch.no_grad()
def main(photos: Path, output: Path) -> None:
    """Write the pictures of both styles."""
    output.mkdir(parents=True, exist_ok=True)
    most = max(LEARN.values()) + HELD
    sources = [source.open(mode="RGB") for source in list_images(photos)[:most]]
    for name, count in LEARN.items():
        draw = drawn if name == "ink" else lambda photo: graded("golden-hour", small(photo))
        images = [draw(photo) for photo in sources[: count + HELD]]
        for kind, part in (("learn", images[:count]), ("held", images[count:])):
            numbered = ((f"{i:03}.png", data) for i, data in enumerate(part))
            write_archive(output / f"{name}-{kind}.zip", numbered)


def small(photo: Image.Image) -> Image.Image:
    """A photo at the model's size."""
    return resize(photo, (SIZE, SIZE))


if __name__ == "__main__":
    main()
