"""Generated images from seeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stylemix.errors import check_choice, check_seed
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import NOISE_MODES, Generator
from stylemix.networks.latents import check_psi, map_latents, z_from_seed

MOST = 16  # images generated at once


@torch.no_grad()
def sample_images(
    generator: Generator,
    seeds: Sequence[int],
    psi: float = 1.0,
    noise_mode: str = "const",
) -> Tensor:
    """Generates images [N, C, H, W] in about [-1, 1]; each depends on its seed alone.

    Args:
        generator: the generator; StylemixError for a conditional one that is at no label.
        seeds: 0 to 2**32 - 1 each.
        psi: truncation psi, 1 for none, 0 for the average image (StyleGAN, arXiv 1812.04948);
            StylemixError for what is no finite number.
        noise_mode: "const", "random" or "none".
    """
    check_psi(psi)
    check_choice("noise mode", noise_mode, NOISE_MODES)
    z = torch.cat([z_from_seed(seed, generator.z_dim) for seed in seeds]).float()
    ws = map_latents(generator, z, psi)
    if noise_mode != "random":
        parts = ws.split(batch_size(generator, MOST))
        return torch.cat([generator.synthesis(part, noise_mode=noise_mode) for part in parts])
    rows = (_noise_of(generator, seed) for seed in seeds)
    pairs = zip(ws.split(1), rows, strict=True)
    return torch.cat([generator.synthesis(w, noise_mode=row) for w, row in pairs])


def _noise_of(generator: Generator, seed: int) -> Tensor:
    """The noise [1, noise_size] of a seed, by its own random numbers: threads share the global."""
    rng = torch.Generator().manual_seed(check_seed(seed))
    layers = generator.synthesis.noise_layers()
    maps = [torch.randn(layer.noise_const.shape, generator=rng) for layer in layers]
    row = torch.cat([noise.flatten() for noise in maps])[None]
    return row.to(generator.device)
