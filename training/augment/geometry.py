"""Geometric transforms for ADA: flips, rotations, translations and scaling in one resampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops import downsample2d, grid_sample, setup_filter, upsample2d

# Symlet of order 6 (Daubechies' least asymmetric wavelet): a sharp low-pass for resampling.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
HALF = len(SYM6) // 4  # its reach in pixels before 2x upsampling

Number = Tensor | float


def warp(images: Tensor, inverse: Tensor, sharp: bool = True) -> Tensor:
    """Resamples images [N, C, H, W] by the transforms `inverse` [N, 3, 3], with reflected edges.

    `inverse` maps output to input pixels, both measured from the centre. Flips, rotations by 90
    degrees and translations by whole pixels are exact, and unmoved images cost nothing.
    """
    inverse = inverse.cpu()  # so that the choices below do not wait for the GPU
    moved = _distance(inverse, torch.eye(3)) > 1e-6
    whole = (_distance(inverse, inverse.round()) < 1e-4) | (not sharp)
    out = images
    for chosen, resample in ((moved & whole, _bilinear), (moved & ~whole, _sharp)):
        index = chosen.nonzero()[:, 0]
        if len(index) == 0:
            continue
        at = index.to(images.device)
        x = resample(images[at], inverse[index].to(images.device))
        out = x if len(index) == len(images) else out.index_copy(0, at, x)
    return out


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().amax(dim=[1, 2])


def _bilinear(x: Tensor, inverse: Tensor) -> Tensor:
    rows, columns = (torch.arange(side, device=x.device) for side in x.shape[2:])
    return grid_sample(x, _grid(inverse, rows, columns, x.shape))


def _sharp(x: Tensor, inverse: Tensor) -> Tensor:
    """Resamples at twice the size, between two low-pass filters that cancel for the identity."""
    sym6 = setup_filter(SYM6).to(x.device)
    upsampled = upsample2d(F.pad(x, [HALF] * 4, mode="reflect"), sym6)
    # The output is padded by HALF pixels on each side as well, for the second filter.
    rows, columns = (
        torch.arange((side + HALF * 2) * 2, device=x.device) / 2 - HALF for side in x.shape[2:]
    )
    out = grid_sample(upsampled, _grid(inverse, rows, columns, x.shape, pad=HALF, zoom=2))
    return downsample2d(out, sym6, padding=-HALF * 2, flip_filter=True)


def _grid(
    inverse: Tensor, rows: Tensor, columns: Tensor, shape: torch.Size, pad: int = 0, zoom: int = 1
) -> Tensor:
    """Returns the sampling grid [N, rows, columns, (x, y)] of output pixels at `rows`, `columns`.

    It is for images of `shape`, then padded and upsampled by `zoom`. Positions are reflected at
    the edges instead of padding the images, so results do not depend on the rest of the batch.
    """
    h, w = shape[2:]
    x, y = columns - (w - 1) / 2, (rows - (h - 1) / 2)[:, None]
    axes = []
    for axis, side in ((0, w), (1, h)):
        # No matrix product: some GPUs round it to 10 bits (TF32).
        m = inverse[:, axis, :, None, None]
        position = m[:, 0] * x + (m[:, 1] * y + (m[:, 2] + (side - 1) / 2))
        # From pixels to [-1, 1] between the outer edges.
        reach = side + 2 * pad
        axes.append(fold(position, side).mul_(2 / reach).add_((2 * pad + 1 / zoom) / reach - 1))
    return torch.stack(axes, dim=-1)


def fold(position: Tensor, size: int) -> Tensor:
    """Reflects positions at the centres of the first and last pixel, into [0, size - 1]."""
    last = size - 1
    return last - (position.remainder(2 * last) - last).abs()


def _matrix(rows: list[list[Number]]) -> Tensor:
    """Returns matrices [N, 3, 3] (or [3, 3]) from entries that are floats or tensors [N]."""
    tensors = torch.broadcast_tensors(
        *[torch.as_tensor(v, dtype=torch.float32) for row in rows for v in row]
    )
    flat = torch.stack(list(tensors), dim=-1)
    return flat.reshape(*flat.shape[:-1], 3, 3)


def translate(x: Number, y: Number) -> Tensor:
    """Returns translations by (x, y) to the right and down."""
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def scale(x: Number, y: Number) -> Tensor:
    """Returns scalings by x and y."""
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def rotate(angle: Tensor) -> Tensor:
    """Returns rotations that take the x axis (right) to the y axis (down)."""
    c, s = angle.cos(), angle.sin()
    return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])
