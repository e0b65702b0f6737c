"""Drawings by hands that nobody has taught stylemix, to learn from and to compare with.

Each hand is a filter of its own, made with NumPy and SciPy and unlike the shipped styles: `oil`,
`woodcut`, `riso`, `chalk` and `watercolor`. From photos given as files it draws these; without any,
generated faces.

    python docs/recipes/few_drawings.py woodcut --count 8 --output woodcut/
    stylemix adapt woodcut/ --output woodcut.safetensors
    stylemix mix me.jpg woodcut.safetensors
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Array = NDArray[np.float64]
SIZE = 512
PAPER = {"woodcut": (0.93, 0.80, 0.55), "riso": (0.97, 0.95, 0.88), "chalk": (0.11, 0.13, 0.21)}


def draw(hand: str, photo: Image.Image, seed: int = 0) -> Image.Image:
    """The drawing of a photo by one of `HANDS`, 512 px."""
    small = photo.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    drawn = HANDS[hand](np.asarray(small, dtype=float) / 255, np.random.default_rng(seed))
    return Image.fromarray((drawn.clip(0, 1) * 255 + 0.5).astype("uint8"))


def _luma(rgb: Array) -> Array:
    return rgb @ np.array([0.3, 0.59, 0.11])


def _blur(values: Array, sigma: float) -> Array:
    blurred: Array = ndimage.gaussian_filter(values, (sigma, sigma, *([0] * (values.ndim - 2))))
    return blurred


def _stretch(values: Array) -> Array:
    low, high = np.percentile(values, [2, 98])
    return ((values - low) / (high - low + 1e-6)).clip(0, 1)


def _planes(rgb: Array, size: int) -> Array:
    """Of four windows around a pixel the mean of the most even one (Kuwahara et al. 1976)."""
    means, variances = [], []
    for rows in (-size // 2, size // 2):
        for columns in (-size // 2, size // 2):
            moved = np.roll(rgb, (rows, columns), (0, 1))
            light = _luma(moved)
            means.append(ndimage.uniform_filter(moved, (size + 1, size + 1, 1)))
            square = ndimage.uniform_filter(light**2, size + 1)
            variances.append(square - ndimage.uniform_filter(light, size + 1) ** 2)
    even = np.argmin(variances, axis=0)[None, ..., None]
    chosen: Array = np.take_along_axis(np.stack(means), even, axis=0)[0]
    return chosen


def _saturate(rgb: Array, gain: float) -> Array:
    grey = _luma(rgb)[..., None]
    return grey + gain * (rgb - grey)


def _oil(rgb: Array, rng: np.random.Generator) -> Array:
    """Planes of strong, warm colours, and the bristles of the brush."""
    bristles = _blur(rng.standard_normal(rgb.shape[:2]), 1.2)
    bristles = ndimage.gaussian_filter1d(bristles, 5, axis=1) * 2.2
    painted = _saturate(_planes(_planes(rgb, 9), 7), 1.7)
    return painted * np.array([1.05, 0.98, 0.85]) + 0.05 * bristles[..., None]


def _woodcut(rgb: Array, _rng: np.random.Generator) -> Array:
    """Dark brown on ochre: lines across, as wide as it is dark, and outlines."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    wave = 0.5 + 0.5 * np.sin((rows + 6 * np.sin(columns / 40)) * 2 * np.pi / 9)
    light = _stretch(_luma(rgb))
    cut = ((_stretch(_blur(_luma(rgb), 2)) * 1.5 - 0.2 - wave) * 6 + 0.5).clip(0, 1)
    edges = 19 * _blur(light, 2.2) - 18 * _blur(light, 3.5)
    paper = cut * np.where(edges > 0.5, 1, 1 + np.tanh(6 * (edges - 0.5))).clip(0, 1)
    return _mixed(paper, PAPER["woodcut"], (0.20, 0.07, 0.05))


def _riso(rgb: Array, _rng: np.random.Generator) -> Array:
    """Dots of two inks, teal for the darks, coral where it is red."""
    rows, columns = np.mgrid[:SIZE, :SIZE]

    def dots(light: Array, angle: float) -> Array:
        across = columns * np.cos(angle) + rows * np.sin(angle)
        along = rows * np.cos(angle) - columns * np.sin(angle)
        screen = 0.5 + 0.25 * (np.cos(np.pi / 4 * across) + np.cos(np.pi / 4 * along))
        ink: Array = ((screen - light) * 7 + 0.5).clip(0, 1)
        return ink

    light, red = _stretch(_luma(rgb)), _stretch(rgb[..., 0] - 0.3 * rgb[..., 2])
    teal, coral = dots(0.1 + 0.95 * _blur(light, 1.5), 0.4), dots(0.75 - 0.5 * _blur(red, 2), 1.1)
    one, both = (1.0, 1.0, 1.0), np.array(PAPER["riso"])
    return (
        both
        * _mixed(1 - coral, one, (0.98, 0.45, 0.40))
        * _mixed(1 - teal, one, (0.05, 0.45, 0.50))
    )


def _chalk(rgb: Array, rng: np.random.Generator) -> Array:
    """Slanted strokes of light chalk on dark blue paper."""
    noise = ndimage.gaussian_filter(np.pad(rng.standard_normal((SIZE, SIZE)), 200), (0.8, 7))
    strokes = ndimage.rotate(noise, -35, reshape=False)[200:-200, 200:-200]
    light = _stretch(_blur(_luma(rgb), 1.2))
    cover = ((light - 0.35) * 1.9 + 0.28 * strokes / strokes.std()).clip(0, 1) * 0.95
    hue = 1.3 * _blur(rgb - _luma(rgb)[..., None], 3)
    chalk = (0.72 + 0.3 * light[..., None] + hue).clip(0, 1)
    return cover[..., None] * chalk + (1 - cover[..., None]) * np.array(PAPER["chalk"])


def _watercolor(rgb: Array, rng: np.random.Generator) -> Array:
    """Pale washes with darker rims, on uneven paper."""
    wash = 0.35 + 0.65 * (_saturate(_blur(_planes(rgb, 8), 1.5), 1.4) * 1.15).clip(0, 1)
    light = _blur(_luma(wash), 2)
    rims = np.hypot(ndimage.sobel(light, 0), ndimage.sobel(light, 1))
    pools = _blur(rng.standard_normal(light.shape), 25)
    grain = _blur(rng.standard_normal(light.shape), 0.8)
    stains = 0.035 * (pools / pools.std())[..., None] * np.array([1, 0.8, 0.6])
    return wash * (1 - (0.9 * rims).clip(0, 0.45))[..., None] + stains + 0.02 * grain[..., None]


def _mixed(share: Array, full: tuple[float, ...], none: tuple[float, ...]) -> Array:
    return share[..., None] * np.array(full) + (1 - share[..., None]) * np.array(none)


HANDS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "oil": _oil, "woodcut": _woodcut, "riso": _riso, "chalk": _chalk, "watercolor": _watercolor,
}  # fmt: skip


@click.command()
@click.argument("hand", type=click.Choice(sorted(HANDS)))
@click.argument("photos", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", default=8, show_default=True, help="Generated faces, without photos.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder.")
def main(hand: str, photos: tuple[Path, ...], count: int, output: Path) -> None:
    """Draw photos, or generated faces, by a hand."""
    from stylemix.images.tensors import to_pil
    from stylemix.training.adapt.student_pairs import generated_faces

    output.mkdir(parents=True, exist_ok=True)
    if photos:
        named = [(path.stem, Image.open(path)) for path in photos]
    else:
        faces = generated_faces(count, seed=1).float() / 127.5 - 1
        named = [(f"face-{number:02d}", to_pil(face)) for number, face in enumerate(faces)]
    for seed, (name, photo) in enumerate(named):
        draw(hand, photo, seed).save(output / f"{name}.png")


if __name__ == "__main__":
    main()
