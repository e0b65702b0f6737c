"""`stylemix generate`: new images from seeds."""

from __future__ import annotations

import math
import re
from pathlib import Path

import click

from stylemix.avatars.finish import model_image
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import fit_size, grid
from stylemix.images.cost import MAX_PIXELS
from stylemix.images.sources import EXTENSIONS
from stylemix.images.write import check_folder, check_image_path, save_image
from stylemix.messages import result, wrote_all
from stylemix.networks.generator import NOISE_MODES
from stylemix.networks.latents import check_psi
from stylemix.networks.sampling import MOST, sample_images
from stylemix.tools.options import ModelChoice, marks_option, model_options, size_option
from stylemix.tools.outputs import output_file, output_in

MAX_SEEDS = 100_000
MIN_CELL = 96  # px of an image on a grid


def parse_seeds(text: str) -> list[int]:
    """Parses seeds such as "0-15", "3" or "1,5,8-10"; a seed that is named twice counts once."""
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part)
        if match is None:
            raise StylemixError(f"got seeds {text!r}; expected numbers and ranges as in 1,5,8-10")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < min(first + MAX_SEEDS, 2**32):
            raise StylemixError(
                f"got seeds {part!r}; expected up to {MAX_SEEDS} from 0 to {2**32 - 1}, the "
                "smaller number first"
            )
        seeds += range(first, last + 1)
    return list(dict.fromkeys(seeds))


@click.command("generate")
@model_options
@click.option("--seeds", default="0-15", show_default=True, help="Seeds, as in 1,5,8-10.")
@click.option(
    "--truncation", "psi", type=float, default=0.7, show_default=True,
    help="Truncation psi: 1 for full variation, 0 for the average image.",
)  # fmt: skip
@click.option(
    "--noise-mode", type=click.Choice(NOISE_MODES), default="const", show_default=True,
    help="Noise of each layer: random for new noise, const for the stored maps, or none.",
)  # fmt: skip
@click.option(
    "--grid", "as_grid", is_flag=True, help="Write a single image with a grid of all images."
)
@size_option("the model's")
@click.option(
    "--output", type=click.Path(path_type=Path), default=None,
    help="Folder; an image file with --grid or for a single seed.  [default: out, out.png]",
)  # fmt: skip
@marks_option
def generate_command(
    choice: ModelChoice,
    seeds: str,
    psi: float,
    noise_mode: str,
    as_grid: bool,
    size: int | None,
    output: Path | None,
) -> None:
    """Generate new images from seeds.

    \b
    Examples:
      stylemix generate --seeds 0-15 --grid --output faces.png
      stylemix generate --seeds 7,42 --truncation 1 --output faces
    """
    numbers = parse_seeds(seeds)
    check_psi(psi)
    target = output or Path("out.png" if as_grid else "out")
    to_file = as_grid or (len(numbers) == 1 and target.suffix.lower() in EXTENSIONS)
    if to_file:
        check_image_path(target)
        target = output_file(target)
    else:
        check_folder(target)
    model = choice.load(photos=False)
    generator = model.generator
    native = generator.config.width, generator.config.height
    output_size = native if size is None else fit_size(native, size)
    cell = size or max(*native, MIN_CELL)
    longer = cell if as_grid else max(output_size)
    pixels = len(numbers) * math.prod(fit_size(native, cell))
    if as_grid and pixels > MAX_PIXELS:
        raise StylemixError(
            f"got a grid of {len(numbers)} images at {cell} px, {pixels / 1e6:,.0f} megapixels; "
            f"expected up to {MAX_PIXELS / 1e6:.0f}; choose fewer --seeds or a smaller --size"
        )
    tiles, files, renamed = [], list[Path](), 0
    for start in range(0, len(numbers), MOST):
        batch_seeds = numbers[start : start + MOST]
        images = sample_images(generator, batch_seeds, psi, noise_mode=noise_mode)
        for seed, image in zip(batch_seeds, images, strict=True):
            resized = model_image(image[None], model.template, longer)
            if as_grid:
                tiles.append(resized)
                continue
            asked = target / f"seed{seed:04d}.png"
            path = target if to_file else output_in(asked, resized, generated=True)
            renamed += path not in (target, asked)
            save_image(path, resized)
            files.append(path)
    if as_grid:
        save_image(target, grid(tiles, cell=cell, gap=4))
        files = [target]
    about = f"; {renamed} of that name are kept, the new ones are numbered" if renamed else ""
    wrote_all(files, f"{len(numbers)} image{'s' * (len(numbers) > 1)} to {target}{about}")
    result(seeds=numbers, truncation=psi, size=output_size)
