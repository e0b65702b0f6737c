"""Draw generated faces in families, to train the encoder and the judge of identity on.

    python docs/recipes/synthetic_faces.py --families 20000 --output families.safetensors

A family is one latent and its relatives: the same coarse and middle layers with the colours and
textures of another latent, and small moves of pose, expression and light. The image differs and
the person stays. 20,000 families of three take a quarter of an hour on one core.
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
FINE_PX = 32  # from here on a relative takes another latent's colours and textures
MOVE = 1.0  # standard deviations of pose, expression and light
MIXED = 0.5  # of the first members are of two latents, as photos differ by layer


def family(model: Model, moves: Tensor, draw: torch.Generator, count: int, size: int) -> Tensor:
    """Latents [count, size, L, w_dim]; `moves` are the directions [K, L, w_dim]."""
    generator = model.generator

    def latents(n: int) -> Tensor:
        return map_latents(generator, torch.randn([n, generator.z_dim], generator=draw))

    first, other = latents(count), latents(count)
    cut = torch.randint(1, first.shape[1], [count, 1, 1], generator=draw)
    mixed = torch.rand([count, 1, 1], generator=draw) < MIXED
    layers = torch.arange(first.shape[1])[None, :, None]
    first = torch.where(mixed & (layers >= cut), other, first)
    fine = torch.tensor(layer_resolutions(generator.img_resolution))[None, :, None] >= FINE_PX
    members = [first]
    for _ in range(size - 1):
        amounts = torch.randn([count, len(moves)], generator=draw) * MOVE
        moved = first + torch.einsum("nk,klw->nlw", amounts, moves)
        keep = torch.rand([count, 1, 1], generator=draw) < 0.2
        members.append(torch.where(fine & ~keep, latents(count), moved))
    return torch.stack(members, dim=1)


@click.command()
@click.option("--model", default="faces-64", show_default=True)
@click.option("--families", default=20_000, show_default=True)
@click.option("--members", default=3, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@torch.no_grad()
def main(model: str, families: int, members: int, seed: int, output: Path) -> None:
    """Write images [N, K, 3, H, W] of 8 bits and their ws [N, K, L, w_dim] of 16."""
    base = load_model(model)
    draw = torch.Generator().manual_seed(seed)
    found = named_directions(base, READINGS)
    moves = torch.stack([found[name].shift for name in READINGS])  # type: ignore[misc]
    pictures, ws = [], []
    for _ in tqdm(range(0, families, BATCH)):
        own = family(base, moves, draw, BATCH, members)
        flat = own.flatten(0, 1)
        images = base.generator.synthesis(flat, noise_mode="const", dtype=torch.bfloat16)
        images = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        pictures.append(images.unflatten(0, (BATCH, members)))
        ws.append(own.half())
    tensors = {"pictures": torch.cat(pictures), "ws": torch.cat(ws)}
    save_file({k: v.contiguous() for k, v in tensors.items()}, output, {"base": base.fingerprint})


if __name__ == "__main__":
    main()
