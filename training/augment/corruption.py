"""Spoiling images for ADA: noise, and a hole."""

from __future__ import annotations

import torch
from torch import Tensor


def add_noise(images: Tensor, std: Tensor, seeds: Tensor) -> Tensor:
    """Colours of images [N, 1, 3 or 4, H, W] plus noise of deviation `std` [N]; alpha stays.

    The noise of an image follows from its seed in `seeds` [N] alone, on every device.
    """
    c, h, w = images.shape[1:]
    noise = torch.zeros(images.shape)
    for index in std.nonzero()[:, 0].tolist():
        generator = torch.Generator().manual_seed(int(seeds[index]))
        noise[index, :3] = std[index] * torch.randn([min(c, 3), h, w], generator=generator)
    return images + noise.to(images)


def cut_out(images: Tensor, centre: Tensor, size: Tensor) -> Tensor:
    """Images [N, C, H, W] with 0 in a box around `centre` [N, 2] of (x, y) with sides `size` [N].

    Both in fractions of the width and of the height; a box that reaches over an edge is cut off.
    """
    h, w = images.shape[2:]
    half = size[:, None] / 2
    columns = (((torch.arange(w) + 0.5) / w) - centre[:, :1]).abs() < half  # [N, W]
    rows = (((torch.arange(h) + 0.5) / h) - centre[:, 1:]).abs() < half
    hole = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
    return images.masked_fill(hole, 0)
