"""Image-space corruptions for ADA: additive noise and cutout."""

from __future__ import annotations

import torch
from torch import Tensor


def add_noise(images: Tensor, std: Tensor, seeds: Tensor) -> Tensor:
    """Adds Gaussian noise of deviation `std` [N] to images [N, 1, 3 or 4, H, W], not to alpha.

    The noise of an image depends only on its seed in `seeds` [N], on every device.
    """
    c, h, w = images.shape[1:]
    noise = torch.zeros(images.shape)
    for index in std.nonzero()[:, 0].tolist():
        generator = torch.Generator().manual_seed(int(seeds[index]))
        noise[index, :3] = std[index] * torch.randn([min(c, 3), h, w], generator=generator)
    return images + noise.to(images)


def cut_out(images: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """Zeroes a box of images [N, C, H, W] around `centre` [N, 2] as (x, y) with sides `size` [N].

    Both are fractions of the width and of the height; the box is clipped at the edges.
    """
    h, w = images.shape[2:]
    half = size[:, None] / 2
    columns = (((torch.arange(w) + 0.5) / w) - centre[:, :1]).abs() < half  # [N, W]
    rows = (((torch.arange(h) + 0.5) / h) - centre[:, 1:]).abs() < half
    hole = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(hole, 0)
