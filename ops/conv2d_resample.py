"""Convolution with built-in up- or downsampling (StyleGAN2, arXiv 1912.04958, appendix B)."""

from __future__ import annotations

from torch import Tensor

from stylemix.ops.convolution import convolve
from stylemix.ops.upfirdn2d import Pair, filter_size, sides, upfirdn2d


def conv2d_resample(
    x: Tensor,
    w: Tensor,
    f: Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    groups: int = 1,
    flip_weight: bool = True,
) -> Tensor:
    """Upsamples by `up`, convolves with `w`, downsamples by `down`, low-pass filtered by `f`.

    It uses the cheapest of several equivalent orders: pointwise weights are applied at the smaller
    size, and a 3x3 at twice the size is a transposed convolution followed by the filter.

    Args:
        x: images [N, C, H, W].
        w: weights [O, C // groups, kh, kw].
        f: filter as `upfirdn2d` takes it; None for the identity.
        up: integer factor.
        down: integer factor.
        padding: relative to the upsampled image, as in `upfirdn2d`.
        groups: groups of channels.
        flip_weight: True correlates with `w`, False convolves.

    Returns images [N, O, H*up/down, W*up/down] for "same" padding.
    """
    kh, kw = w.shape[2:]
    if up == 1 and down == 1:
        f = None  # without resampling no low-pass is needed
    fw, fh = filter_size(f)
    x0, x1, y0, y1 = sides(padding)
    if up > 1:
        x0, x1 = x0 + (fw + up - 1) // 2, x1 + (fw - up) // 2
        y0, y1 = y0 + (fh + up - 1) // 2, y1 + (fh - up) // 2
    if down > 1:
        x0, x1 = x0 + (fw - down + 1) // 2, x1 + (fw - down) // 2
        y0, y1 = y0 + (fh - down + 1) // 2, y1 + (fh - down) // 2
    around = (x0, x1, y0, y1)

    if up == 1 and down == 1 and x0 == x1 >= 0 and y0 == y1 >= 0:
        return _conv(x, w, groups, flip_weight, padding=(y0, x0))
    if kw == kh == 1 and up == 1:
        x = upfirdn2d(x, f, down=down, padding=around)
        return _conv(x, w, groups, flip_weight)
    if kw == kh == 1 and down == 1:
        x = _conv(x, w, groups, flip_weight)
        return upfirdn2d(x, f, up=up, padding=around, gain=up**2)
    if up == 1:
        x = upfirdn2d(x, f, padding=around)
        return _conv(x, w, groups, flip_weight, stride=down)
    x, around = _conv_transposed(x, w, groups, flip_weight, up, around)
    x = upfirdn2d(x, f, padding=around, gain=up**2)
    return upfirdn2d(x, f, down=down) if down > 1 else x


def conv2d_before_filter(
    x: Tensor, w: Tensor, f: Tensor | None, up: int = 1, padding: int = 0, groups: int = 1
) -> tuple[Tensor, tuple[int, int, int, int], float]:
    """The convolution of a synthesis layer without the filter after it.

    Upsamples x [N, C, H, W] by `up` and convolves it with `w` [O, C // groups, k, k] for k > 1,
    padded as by `conv2d_resample`. Returns the result, and padding and gain of the `upfirdn2d`
    that has to follow if `up` > 1, which `epilogue` applies.
    """
    if up == 1:
        return _conv(x, w, groups, True, padding=(padding, padding)), (0, 0, 0, 0), 1.0
    fw, fh = filter_size(f)
    x0, x1 = padding + (fw + up - 1) // 2, padding + (fw - up) // 2
    y0, y1 = padding + (fh + up - 1) // 2, padding + (fh - up) // 2
    x, around = _conv_transposed(x, w, groups, False, up, (x0, x1, y0, y1))
    return x, around, float(up**2)


def _conv(
    x: Tensor,
    w: Tensor,
    groups: int,
    flip_weight: bool,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
) -> Tensor:
    if not flip_weight and w.shape[2:] != (1, 1):
        w = w.flip([2, 3])
    return convolve(x, w, stride, padding, groups)


def _conv_transposed(
    x: Tensor,
    w: Tensor,
    groups: int,
    flip_weight: bool,
    up: int,
    around: tuple[int, int, int, int],
) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Returns the transposed convolution, and the remaining padding for the filter."""
    out_channels, _, kh, kw = w.shape
    w = w.reshape(groups, out_channels // groups, *w.shape[1:]).transpose(1, 2)
    w = w.reshape(x.shape[1], out_channels // groups, kh, kw)
    if flip_weight:
        w = w.flip([2, 3])
    x0, x1, y0, y1 = around
    x0, x1, y0, y1 = x0 - (kw - 1), x1 - (kw - up), y0 - (kh - 1), y1 - (kh - up)
    crop = (max(min(-y0, -y1), 0), max(min(-x0, -x1), 0))
    x = convolve(x, w, up, crop, groups, transposed=True)
    return x, (x0 + crop[1], x1 + crop[1], y0 + crop[0], y1 + crop[0])
