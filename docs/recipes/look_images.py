"""Images of a photographic look, made from generated faces: the data of the shipped looks.

    python docs/recipes/look_images.py --look golden-hour --count 64 --output golden-hour.zip

Every image is a generated face of 256 px, colour-graded like a photograph: light, colour, make-up.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from stylemix.avatars.finisher import enlarge
from stylemix.images.tensors import to_pil
from stylemix.models.checkpoint import load_model
from stylemix.networks.sampling import sample_images
from stylemix.training.curation.archive import write_archive

Image = NDArray[np.float64]  # [H, W, 3] in 0..1
LUMA = np.array([0.299, 0.587, 0.114])


def _spot(shape: tuple[int, ...], x: float, y: float, width: float, height: float) -> Image:
    """A Gaussian ellipse [H, W, 1] around a point in fractions of the side."""
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
    u = (columns + 0.5) / shape[1] - x
    v = (rows + 0.5) / shape[0] - y
    spot: Image = np.exp(-((u / width) ** 2) - (v / height) ** 2)[..., None]
    return spot


def _curve(image: Image, amount: float) -> Image:
    """More contrast in the middle tones, none at black and white."""
    smooth: Image = image * image * (3 - 2 * image)
    return image + amount * (smooth - image)


def golden_hour(image: Image) -> Image:
    """Low sun from the left through haze: golden light, shadows of plum that are never black."""
    lips = 0.35 * _spot(image.shape, 0.5, 0.70, 0.13, 0.055)
    image = image * (1 - lips) + lips * np.array([0.70, 0.16, 0.18]) * (0.6 + 0.8 * image)
    across = ((np.arange(image.shape[1]) + 0.5) / image.shape[1])[None, :, None]
    image = image * (1.25 - 0.45 * across)
    luma = (image @ LUMA)[..., None]
    image = luma + 0.85 * (image - luma)
    gold = image * np.array([1.12, 0.99, 0.74]) + np.array([0.03, 0.01, -0.02])
    plum = image * np.array([0.80, 0.68, 0.74]) + np.array([0.20, 0.10, 0.13])
    t = np.clip(luma * 1.5, 0, 1)
    return _curve(np.clip(t * gold + (1 - t) * plum, 0, 1), 0.2)


def noir(image: Image) -> Image:
    """Black and white film: strong contrast, a dark rim."""
    luma = (image @ LUMA)[..., None]
    luma = _curve(np.clip(_curve(luma, 1.0), 0, 1), 0.6)
    rim = 0.45 + 0.55 * _spot(image.shape, 0.5, 0.48, 0.72, 0.72)
    return np.repeat(luma * rim * 1.08, 3, axis=2)


def pastel(image: Image) -> Image:
    """Muted and bright, pink in the shadows, rosy lips."""
    luma = (image @ LUMA)[..., None]
    image = np.clip(0.62 * image + 0.38 * (0.35 + 0.65 * luma), 0, 1) ** 0.72
    image = image * np.array([0.90, 0.90, 0.98]) + np.array([0.10, 0.055, 0.075])
    lips = 0.35 * _spot(image.shape, 0.5, 0.70, 0.12, 0.05)
    return image * (1 - lips) + lips * np.array([0.93, 0.52, 0.60])


LOOKS: dict[str, Callable[[Image], Image]] = {
    "golden-hour": golden_hour,
    "noir": noir,
    "pastel": pastel,
}


def graded(look: str, image: Pillow.Image) -> bytes:
    """An image graded to a look, as PNG bytes."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    values = (np.clip(LOOKS[look](pixels), 0, 1) * 255).round().astype(np.uint8)
    file = BytesIO()
    Pillow.fromarray(values).save(file, "PNG")
    return file.getvalue()


@click.command()
@click.option("--look", type=click.Choice(list(LOOKS)), required=True)
@click.option("--count", type=click.IntRange(1), default=64, show_default=True)
@click.option("--seed", type=int, default=10_000, show_default=True, help="First seed.")
@click.option("--model", default="faces-64", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A .zip.")
def main(look: str, count: int, seed: int, model: str, output: Path) -> None:
    """Write images of a look as a zip."""
    network = load_model(model)
    images = sample_images(network.generator, list(range(seed, seed + count)), psi=0.8)
    faces = (to_pil(enlarge(image[None], network.template)[0]) for image in images)
    named = ((f"{look}-{i:04d}.png", graded(look, face)) for i, face in enumerate(faces))
    write_archive(output, named)
    click.echo(f"Wrote {count} images to {output}")


if __name__ == "__main__":
    main()
