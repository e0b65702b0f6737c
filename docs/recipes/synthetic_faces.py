"""Generate families of faces, the training data of the encoder and the identity judge.

    python docs/recipes/synthetic_faces.py --families 20000 --output families.safetensors

A family is one latent and variations of it: the same coarse and middle layers with the fine layers
of another latent (colours and textures), and small edits of pose, expression and light. The image
changes, the identity does not. 20,000 families of three take a quarter of an hour on one core.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import layer_resolutions, map_latents
from stylemix.styles.named_directions import READINGS, named_directions

BATCH = 32
FINE_PX = 32  # resolution from which a variation takes the layers of another latent
EDIT_STD = 1.0  # of pose, expression and light, in standard deviations
MIXING_PROBABILITY = 0.5  # of style mixing in first members: latents of photos differ by layer
KEEP_PROBABILITY = 0.2  # of a variation with the fine layers of the first member


def sample_families(
    model: Model, directions: Tensor, rng: torch.Generator, count: int, size: int
) -> Tensor:
    """Latents [count, size, L, w_dim] of families; `directions` are [K, L, w_dim]."""
    generator = model.generator

    def latents(n: int) -> Tensor:
        return map_latents(generator, torch.randn([n, generator.z_dim], generator=rng))

    first, other = latents(count), latents(count)
    cut = torch.randint(1, first.shape[1], [count, 1, 1], generator=rng)
    mixed = torch.rand([count, 1, 1], generator=rng) < MIXING_PROBABILITY
    layers = torch.arange(first.shape[1])[None, :, None]
    first = torch.where(mixed & (layers >= cut), other, first)
    fine = torch.tensor(layer_resolutions(generator.img_resolution))[None, :, None] >= FINE_PX
    members = [first]
    for _ in range(size - 1):
        amounts = torch.randn([count, len(directions)], generator=rng) * EDIT_STD
        edited = first + torch.einsum("nk,klw->nlw", amounts, directions)
        keep = torch.rand([count, 1, 1], generator=rng) < KEEP_PROBABILITY
        members.append(torch.where(fine & ~keep, latents(count), edited))
    return torch.stack(members, dim=1)


@click.command()
@click.option("--model", default="faces-64", show_default=True)
@click.option("--families", default=20_000, show_default=True)
@click.option("--members", default=3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@torch.no_grad()
def main(model: str, families: int, members: int, seed: int, output: Path) -> None:
    """Write uint8 images [N, K, 3, H, W] and their fp16 ws [N, K, L, w_dim]."""
    base = load_model(model)
    rng = torch.Generator().manual_seed(seed)
    styles = named_directions(base, READINGS)
    directions = torch.stack([styles[name].shift for name in READINGS])  # type: ignore[misc]
    images, ws = [], []
    for _ in tqdm(range(0, families, BATCH)):
        batch_ws = sample_families(base, directions, rng, BATCH, members)
        flat = batch_ws.flatten(0, 1)
        batch = base.generator.synthesis(flat, noise_mode="const", dtype=torch.bfloat16)
        batch = ((batch + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        images.append(batch.unflatten(0, (BATCH, members)))
        ws.append(batch_ws.half())
    tensors = {"pictures": torch.cat(images), "ws": torch.cat(ws)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, output, {"base": base.fingerprint})


if __name__ == "__main__":
    main()
