"""`stylemix generate`: new pictures from seeds."""

from __future__ import annotations

import re
from pathlib import Path

import click
import torch
from torch import Tensor

from stylemix.checkpoint import load_model
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.generator import NOISE_MODES, Generator
from stylemix.images import check_image_path, resize, save_image, to_pil
from stylemix.latents import z_from_seed
from stylemix.sheets import grid

MOST_SEEDS = 100_000


def parse_seeds(text: str) -> list[int]:
    """Seeds of "0-15", "3", "1,5,8-10"."""
    seeds: list[int] = []
    for part in text.replace(" ", "").split(","):
        found = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part)
        if found is None:
            raise StylemixError(f"got seeds {text!r}; expected numbers and ranges as in 1,5,8-10")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < first + MOST_SEEDS:
            raise StylemixError(f"got seeds {part!r}; expected up to {MOST_SEEDS} in rising order")
        seeds += range(first, last + 1)
    return seeds


@torch.no_grad()
def generate(
    generator: Generator,
    seeds: list[int],
    psi: float = 1.0,
    label: int | None = None,
    noise_mode: str = "const",
) -> Tensor:
    """Images [N, C, H, H] in [-1, 1] of seeds; each depends on its own seed alone."""
    device = generator.mapping.w_avg.device
    z = torch.cat([z_from_seed(seed, generator.z_dim) for seed in seeds]).float().to(device)
    c = None
    if generator.c_dim:
        if label is None or not 0 <= label < generator.c_dim:
            raise StylemixError(
                f"got class {label}; expected 0 to {generator.c_dim - 1} for this model; "
                "use --class"
            )
        c = torch.zeros([len(seeds), generator.c_dim], device=device)
        c[:, label] = 1
    ws = generator.mapping(z, c, truncation_psi=psi)
    torch.manual_seed(seeds[0])
    return generator.synthesis(ws, noise_mode=noise_mode)  # type: ignore[no-any-return]


@click.command("generate")
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option("--seeds", default="0-15", show_default=True, help="As in 1,5,8-10.")
@click.option(
    "--truncation", "psi", type=float, default=0.7, show_default=True,
    help="1 for all that was learned, 0 for the average.",
)  # fmt: skip
@click.option(
    "--noise-mode", type=click.Choice(NOISE_MODES), default="const", show_default=True,
    help="Stored, new or no noise.",
)  # fmt: skip
@click.option("--class", "label", type=click.IntRange(0), help="Class of a conditional model.")
@click.option("--grid", "as_grid", is_flag=True, help="One picture of all.")
@click.option("--size", type=click.IntRange(16, 4096), help="Side in px.  [default: the model's]")
@click.option(
    "--output", type=click.Path(path_type=Path), default=None,
    help="Folder, or with --grid a picture.  [default: out, out.png]",
)  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="At once.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def generate_command(
    model: str,
    seeds: str,
    psi: float,
    noise_mode: str,
    label: int | None,
    as_grid: bool,
    size: int | None,
    output: Path | None,
    batch: int,
    device: str,
) -> None:
    """Draw new pictures from seeds.

    \b
    Examples:
      stylemix generate --seeds 0-15 --grid --output faces.png
      stylemix generate --seeds 7,42 --truncation 1 --output faces
    """
    numbers = parse_seeds(seeds)
    target = output or Path("out.png" if as_grid else "out")
    if as_grid:
        check_image_path(target)
    generator = load_model(model, find_device(device)).generator
    pictures = []
    for start in range(0, len(numbers), batch):
        part = numbers[start : start + batch]
        for seed, image in zip(
            part, generate(generator, part, psi, label, noise_mode), strict=True
        ):
            picture = to_pil(image)
            picture = picture if size is None else resize(picture, size)
            if as_grid:
                pictures.append(picture)
            else:
                save_image(target / f"seed{seed:04d}.png", picture)
    if as_grid:
        save_image(target, grid(pictures, cell=max(generator.img_resolution, 96), gap=4))
    click.echo(f"Wrote {len(numbers)} pictures to {target}")
