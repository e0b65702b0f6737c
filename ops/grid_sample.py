"""Bilinear grid sampling of images, twice differentiable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops.backend import select


def grid_sample(x: Tensor, grid: Tensor) -> Tensor:
    """Samples images [N, C, H, W] at grid [N, h, w, 2] of (x, y) in [-1, 1]; zero outside.

    It equals torch.nn.functional.grid_sample with align_corners=False, which has no second
    derivative; the R1 penalty of augmented images needs it.
    """
    if x.ndim != 4 or grid.ndim != 4 or grid.shape[-1] != 2 or grid.shape[0] != x.shape[0]:
        raise ValueError(
            f"got x {tuple(x.shape)} and grid {tuple(grid.shape)}; "
            "expected [N, C, H, W] and [N, h, w, 2]"
        )
    return select("grid_sample", x, _torch)(x, grid)


def _torch(x: Tensor, grid: Tensor) -> Tensor:
    if grid.requires_grad:
        return _gather(x, grid)
    return _sample(x, grid.to(x.dtype))


def _native(x: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


class _Sample(torch.autograd.Function):
    """Sampling is linear in the image, so its derivatives are the sampling and its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.shape = x.shape
        return _native(x, grid)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return _adjoint(dy, ctx.saved_tensors[0], ctx.shape), None


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy: Tensor, grid: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(grid)
        with torch.enable_grad():
            zero = torch.zeros(shape, dtype=dy.dtype, device=dy.device, requires_grad=True)
            (dx,) = torch.autograd.grad(_native(zero, grid), zero, dy.detach())
        return dx

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor, None, None]:
        return _sample(ddx, ctx.saved_tensors[0]), None, None


_sample: Callable[[Tensor, Tensor], Tensor] = _Sample.apply
_adjoint: Callable[[Tensor, Tensor, torch.Size], Tensor] = _Adjoint.apply


def _gather(x: Tensor, grid: Tensor) -> Tensor:
    """The same by gathers: slower, but differentiable any number of times, also in the grid."""
    n, c, h, w = x.shape
    gh, gw = grid.shape[1:3]
    px = (grid[..., 0] + 1) * (w / 2) - 0.5
    py = (grid[..., 1] + 1) * (h / 2) - 0.5
    left, top = px.detach().floor(), py.detach().floor()
    fx, fy = px - left, py - top
    flat = x.flatten(2)
    parts = []
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            ix, iy = left + dx, top + dy
            inside = (ix >= 0) & (ix < w) & (iy >= 0) & (iy < h)
            index = (iy.clamp(0, h - 1) * w + ix.clamp(0, w - 1)).long().view(n, 1, gh * gw)
            value = flat.gather(2, index.expand(n, c, gh * gw)).view(n, c, gh, gw)
            parts.append(value * (wx * wy * inside).unsqueeze(1).to(x.dtype))
    return parts[0] + parts[1] + parts[2] + parts[3]
