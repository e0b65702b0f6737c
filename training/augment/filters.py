"""Image-space filtering for ADA: amplifies frequency bands with a bank of four filters (app. B)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylemix.training.augment.geometry import fold

# Daubechies wavelet of order 2.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # average power of images, from low to high


@cache
def filter_bank() -> Tensor:
    """Returns symmetric filters [4, 43] for 0-1/8, 1/8-1/4, 1/4-1/2, 1/2-1 of the Nyquist rate.

    They sum to the identity, as do the squared low and high pass of the wavelet.
    """
    low = np.array(SYM2)
    high = low[::-1] * (-1) ** np.arange(len(low))
    passes = [np.convolve(taps, taps[::-1]) / 2 for taps in (low, high)]
    bands, rest = [], np.ones(1)
    for level in range(3):
        low_taps, high_taps = (_spread(taps, 2**level) for taps in passes)
        bands.append(np.convolve(rest, high_taps))
        rest = np.convolve(rest, low_taps)
    bands.append(rest)
    bank = [np.pad(taps, (len(rest) - len(taps)) // 2) for taps in reversed(bands)]
    return torch.tensor(np.stack(bank), dtype=torch.float32)


def _spread(taps: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Dilates a filter by `step`, for frequencies `step` times lower: zeros between the taps."""
    spread = np.zeros((len(taps) - 1) * step + 1)
    spread[::step] = taps
    return spread


def filter_bands(images: Tensor, gains: Tensor) -> Tensor:
    """Multiplies the frequency bands of images [N, 1, 3 or 4, H, W] by `gains` [N, 4].

    Filters columns and rows, with reflection padding; alpha is unchanged.
    """
    index = ((gains - 1).abs().amax(dim=1) > 1e-5).nonzero()[:, 0]
    if len(index) == 0:
        return images
    at = index.to(images.device)
    taps = (gains[index].cpu() @ filter_bank()).to(images)
    x = images[at]
    h, w = x.shape[2:]
    colors = _filter_matrix(taps, h) @ x[:, :3] @ _filter_matrix(taps, w).mT
    x = torch.cat([colors, x[:, 3:]], dim=1)
    return x if len(index) == len(images) else images.index_copy(0, at, x)


def _filter_matrix(taps: Tensor, size: int) -> Tensor:
    """Returns filters [N, taps] as matrices [N, 1, size, size] on lines of pixels.

    This is twice as fast as a grouped convolution with one filter per image.
    """
    n, count = taps.shape
    positions = torch.arange(size, device=taps.device)[:, None]
    sources = fold(positions + torch.arange(count, device=taps.device) - count // 2, size)
    matrix = taps.new_zeros([n, size, size])
    shape = [n, size, count]
    return matrix.scatter_add(2, sources.expand(shape), taps[:, None].expand(shape))[:, None]
