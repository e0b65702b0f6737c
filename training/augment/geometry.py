"""Moving images for ADA: flips, turns, shifts and stretches as one resampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops import downsample2d, grid_sample, setup_filter, upsample2d

# Daubechies' least asymmetric wavelet of order 6: a sharp low-pass for resampling.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
HALF = len(SYM6) // 4  # its reach in pixels of the image that was doubled

Number = Tensor | float


def warp(images: Tensor, inverse: Tensor, sharp: bool = True) -> Tensor:
    """Images [N, C, H, W] read at `inverse` [N, 3, 3] of their pixels, mirrored beyond the edges.

    `inverse` leads from output to input pixels, both measured from the centre. Flips, quarter
    turns and shifts by whole pixels are exact, and what does not move costs nothing.
    """
    inverse = inverse.cpu()  # where the numbers were drawn: the choices below wait for no GPU
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
    """Resamples at twice the size, between two low-passes that cancel where nothing moves."""
    sym6 = setup_filter(SYM6).to(x.device)
    doubled = upsample2d(F.pad(x, [HALF] * 4, mode="reflect"), sym6)
    # The output too is made HALF pixels wider on each side, for the second filter.
    rows, columns = (
        torch.arange((side + HALF * 2) * 2, device=x.device) / 2 - HALF for side in x.shape[2:]
    )
    out = grid_sample(doubled, _grid(inverse, rows, columns, x.shape, pad=HALF, zoom=2))
    return downsample2d(out, sym6, padding=-HALF * 2, flip_filter=True)


def _grid(
    inverse: Tensor, rows: Tensor, columns: Tensor, shape: torch.Size, pad: int = 0, zoom: int = 1
) -> Tensor:
    """Where the output pixels at `rows` and `columns` come from, as [N, rows, columns, (x, y)].

    For images of `shape`, then padded and zoomed. Positions are folded at the edges rather than
    the images padded far enough: it then does not matter where the others of the batch read.
    """
    h, w = shape[2:]
    x, y = columns - (w - 1) / 2, (rows - (h - 1) / 2)[:, None]
    axes = []
    for axis, side in ((0, w), (1, h)):
        # No matrix product, which some GPUs round to 10 bits.
        m = inverse[:, axis, :, None, None]
        position = m[:, 0] * x + (m[:, 1] * y + (m[:, 2] + (side - 1) / 2))
        # From pixels to -1 at the first edge and 1 at the last.
        reach = side + 2 * pad
        axes.append(fold(position, side).mul_(2 / reach).add_((2 * pad + 1 / zoom) / reach - 1))
    return torch.stack(axes, dim=-1)


def fold(position: Tensor, size: int) -> Tensor:
    """Positions mirrored at the middle of the first and the last pixel, into [0, size - 1]."""
    last = size - 1
    return last - (position.remainder(2 * last) - last).abs()


def _matrix(rows: list[list[Number]]) -> Tensor:
    """3x3 matrices [N, 3, 3] (or [3, 3]) from entries that are numbers or tensors [N]."""
    tensors = torch.broadcast_tensors(
        *[torch.as_tensor(v, dtype=torch.float32) for row in rows for v in row]
    )
    flat = torch.stack(list(tensors), dim=-1)
    return flat.reshape(*flat.shape[:-1], 3, 3)


def translate(x: Number, y: Number) -> Tensor:
    """Shifts of (x, y) to the right and down."""
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def scale(x: Number, y: Number) -> Tensor:
    """Stretches."""
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def rotate(angle: Tensor) -> Tensor:
    """Rotations that take the x axis (right) to the y axis (down)."""
    c, s = angle.cos(), angle.sin()
    return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])
