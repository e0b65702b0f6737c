"""Colour transforms for ADA: 4x4 matrices on (r, g, b, 1) around the luma axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ONTO_LUMA = torch.tensor([1.0, 1.0, 1.0, 0.0]).outer(torch.tensor([1.0, 1.0, 1.0, 0.0])) / 3
_OFF_LUMA = torch.eye(4) - _ONTO_LUMA


def recolor(images: Tensor, m: Tensor) -> Tensor:
    """Applies matrices [N, 4, 4] to images [N, 1, 3 or 4, H, W]; alpha is unchanged.

    A grey image gets the mean of the transformed red, green and blue.
    """
    n, c, h, w = images.shape
    m = m.to(images)
    if c == 1:
        mean = m[:, :3].mean(dim=1)
        factor, offset = mean[:, :3].sum(dim=1), mean[:, 3]
        return images * factor[:, None, None, None] + offset[:, None, None, None]
    flat = torch.baddbmm(m[:, :3, 3:], m[:, :3, :3], images[:, :3].reshape(n, 3, h * w))
    out = flat.reshape(n, 3, h, w)
    return out if c == 3 else torch.cat([out, images[:, 3:]], dim=1)


def add(offset: Tensor) -> Tensor:
    """Brightness: adds `offset` [N] to every channel, as [N, 4, 4]."""
    m = torch.eye(4).repeat(len(offset), 1, 1)
    m[:, :3, 3] = offset[:, None]
    return m


def multiply(factor: Tensor) -> Tensor:
    """Contrast: multiplies every channel by `factor` [N], around the middle grey, which is 0."""
    m = torch.eye(4) * factor[:, None, None]
    m[:, 3, 3] = 1
    return m


def flip_luma(flip: Tensor) -> Tensor:
    """Inverts the luma where `flip` [N] is 1 and preserves hue and saturation."""
    return torch.eye(4) - 2 * _ONTO_LUMA * flip[:, None, None]


def rotate_hue(angle: Tensor) -> Tensor:
    """Rotates the colours about the luma axis by `angle` [N] (Rodrigues' formula)."""
    v = 1 / math.sqrt(3)
    cross = torch.tensor([[0, -v, v, 0], [v, 0, -v, 0], [-v, v, 0, 0], [0, 0, 0, 0]])
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    m = _ONTO_LUMA + _OFF_LUMA * c + cross * s
    m[:, 3, 3] = 1
    return m


def saturate(factor: Tensor) -> Tensor:
    """Scales the distance of the colours from the luma axis by `factor` [N]."""
    m = _ONTO_LUMA + _OFF_LUMA * factor[:, None, None]
    m[:, 3, 3] = 1
    return m
