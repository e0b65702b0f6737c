"""Changing colours for ADA: 4x4 matrices on (r, g, b, 1) around the axis of the greys."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ONTO_GREY = torch.tensor([1.0, 1.0, 1.0, 0.0]).outer(torch.tensor([1.0, 1.0, 1.0, 0.0])) / 3
_OFF_GREY = torch.eye(4) - _ONTO_GREY


def recolour(images: Tensor, m: Tensor) -> Tensor:
    """Images [N, 1, 3 or 4, H, W] through matrices [N, 4, 4]; alpha stays.

    A grey image becomes the grey of what its colours would become.
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
    """Brightness: `offset` [N] on every colour, as [N, 4, 4]."""
    m = torch.eye(4).repeat(len(offset), 1, 1)
    m[:, :3, 3] = offset[:, None]
    return m


def multiply(factor: Tensor) -> Tensor:
    """Contrast: `factor` [N] on every colour, around the middle grey, which is 0."""
    m = torch.eye(4) * factor[:, None, None]
    m[:, 3, 3] = 1
    return m


def flip_luma(flip: Tensor) -> Tensor:
    """Mirrors the grey of each colour where `flip` [N] is 1 and keeps its hue and saturation."""
    return torch.eye(4) - 2 * _ONTO_GREY * flip[:, None, None]


def rotate_hue(angle: Tensor) -> Tensor:
    """Turns the colours about the axis of the greys by `angle` [N] (Rodrigues' formula)."""
    v = 1 / math.sqrt(3)
    cross = torch.tensor([[0, -v, v, 0], [v, 0, -v, 0], [-v, v, 0, 0], [0, 0, 0, 0]])
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    m = _ONTO_GREY + _OFF_GREY * c + cross * s
    m[:, 3, 3] = 1
    return m


def saturate(factor: Tensor) -> Tensor:
    """Moves the colours away from the axis of the greys by `factor` [N]."""
    m = _ONTO_GREY + _OFF_GREY * factor[:, None, None]
    m[:, 3, 3] = 1
    return m
