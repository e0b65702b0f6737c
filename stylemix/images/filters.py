"""Filters for image tensors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def gaussian_blur(images: Tensor, sigma: float, radius: int) -> Tensor:
    """Blurs images [N, C, H, W] by a Gaussian of `sigma` px, truncated at `radius` px.

    Returns [N, C, H - 2 radius, W - 2 radius], without padding.
    """
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    rows = functional.conv2d(images.flatten(0, 1)[:, None], kernel[None, None, None])
    blurred = functional.conv2d(rows, kernel[None, None, :, None])[:, 0]
    out: Tensor = blurred.unflatten(0, images.shape[:2])
    return out


def mirrored_blur(images: Tensor, sigma: float) -> Tensor:
    """Blurs images [N, C, H, W] by a Gaussian of `sigma` px, mirrored beyond their borders."""
    radius = min(max(1, round(3 * sigma)), min(images.shape[2:]) - 1)
    return gaussian_blur(functional.pad(images, [radius] * 4, mode="reflect"), sigma, radius)
