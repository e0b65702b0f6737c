"""Generated images from seeds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator
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
    device = generator.device
    z = torch.cat([z_from_seed(seed, generator.z_dim) for seed in seeds]).float()
    ws = map_latents(generator, z, psi)
    if noise_mode != "random":
        parts = ws.split(batch_size(generator, MOST))
        return torch.cat([generator.synthesis(part, noise_mode=noise_mode) for part in parts])
    images = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for seed, w in zip(seeds, ws.split(1), strict=True):
            torch.manual_seed(seed)
            images.append(generator.synthesis(w, noise_mode="random"))
    return torch.cat(images)
