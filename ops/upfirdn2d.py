"""Upsample, filter and downsample images: the resampling of StyleGAN2 (arXiv 1912.04958, B)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops.backend import register, select
from stylemix.ops.bias_act import accumulator

Pair = int | Sequence[int]


def setup_filter(taps: Sequence[float] | Tensor | None) -> Tensor:
    """Returns a float32 filter of taps: [h, w] (outer product of up to 7 taps), else [n].

    Its sum is 1, so that it preserves the brightness.
    Long one-dimensional filters remain separable, since two passes are then cheaper than one.
    """
    f = torch.as_tensor([1.0] if taps is None else taps, dtype=torch.float32)
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise ValueError(f"got a filter of shape {tuple(f.shape)}; expected [n] or [h, w]")
    if f.ndim == 1 and f.numel() < 8:
        f = f.outer(f)
    return f / f.sum()


def upfirdn2d(
    x: Tensor,
    f: Tensor | None,
    up: Pair = 1,
    down: Pair = 1,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
) -> Tensor:
    """Upsamples by zero insertion, pads, applies a FIR filter, and keeps every `down`-th pixel.

    Args:
        x: images [N, C, H, W].
        f: filter [h, w], or [n] for a separable one; None for the identity.
        up: integer factor, or (x, y).
        down: integer factor, or (x, y).
        padding: pixels around the upsampled image: one number, (x, y) or (x0, x1, y0, y1);
            negative values crop.
        flip_filter: False convolves, True correlates.
        gain: overall factor.

    Returns images [N, C, (H*up + y0 + y1 - h) // down + 1, (W*up + x0 + x1 - w) // down + 1].
    """
    if x.ndim != 4:
        raise ValueError(f"got x of shape {tuple(x.shape)}; expected [N, C, H, W]")
    if f is None:
        f = torch.ones([1, 1], device=x.device)
    return select("upfirdn2d", x, _torch)(
        x, f, _pair(up), _pair(down), sides(padding), flip_filter, gain
    )


def _pair(value: Pair) -> tuple[int, int]:
    x, y = (value, value) if isinstance(value, int) else value
    if x < 1 or y < 1:
        raise ValueError(f"got resampling factor {value}; expected positive integers")
    return x, y


def sides(padding: Pair) -> tuple[int, int, int, int]:
    """Returns a padding as (x0, x1, y0, y1)."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    if len(padding) == 2:
        return padding[0], padding[0], padding[1], padding[1]
    x0, x1, y0, y1 = padding
    return x0, x1, y0, y1


def _torch(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    n, c, h, w = x.shape
    if up != (1, 1):
        x = x.reshape(n, c, h, 1, w, 1)
        x = F.pad(x, [0, up[0] - 1, 0, 0, 0, up[1] - 1])
        x = x.reshape(n, c, h * up[1], w * up[0])
    f = f.to(device=x.device, dtype=x.dtype) * (gain ** (f.ndim / 2))
    if not flip_filter:
        f = f.flip(list(range(f.ndim)))
    x0, x1, y0, y1 = padding
    # A convolution can pad symmetrically without a copy.
    inner = (y0, x0) if x0 == x1 >= 0 and y0 == y1 >= 0 else (0, 0)
    if inner == (0, 0) and any(padding):
        x = F.pad(x, [x0, x1, y0, y1])
    if f.ndim == 1:
        row = f.expand(c, 1, 1, -1)
        x = F.conv2d(x, row, padding=(0, inner[1]), groups=c)
        x = F.conv2d(x, row.mT, padding=(inner[0], 0), groups=c)
    else:
        x = F.conv2d(x, f.expand(c, 1, -1, -1), padding=inner, groups=c)
    # No strided convolution: the backward of a strided depthwise one is 10x slower on CPUs.
    return x[:, :, :: down[1], :: down[0]] if down != (1, 1) else x


def filter_size(f: Tensor | None) -> tuple[int, int]:
    """Returns width and height of a filter."""
    return (1, 1) if f is None else (f.shape[-1], f.shape[0])


def upsample2d(x: Tensor, f: Tensor | None) -> Tensor:
    """Upsamples images [N, C, H, W] to [N, C, 2 H, 2 W] at the same brightness."""
    fw, fh = filter_size(f)
    around = ((fw + 1) // 2, (fw - 2) // 2, (fh + 1) // 2, (fh - 2) // 2)
    return upfirdn2d(x, f, up=2, padding=around, gain=4)


def downsample2d(
    x: Tensor, f: Tensor | None, padding: Pair = 0, flip_filter: bool = False
) -> Tensor:
    """Downsamples images [N, C, H, W] to [N, C, H / 2, W / 2]."""
    (fw, fh), (x0, x1, y0, y1) = filter_size(f), sides(padding)
    around = (x0 + (fw - 1) // 2, x1 + (fw - 2) // 2, y0 + (fh - 1) // 2, y1 + (fh - 2) // 2)
    return upfirdn2d(x, f, down=2, padding=around, flip_filter=flip_filter)


# The native op takes a filter [h, w] and scalars. Its gradient is the same op with up and down
# exchanged and the filter flipped, so that it can be differentiated any number of times.

torch.library.define(
    "stylemix::upfirdn2d",
    "(Tensor x, Tensor f, int up_x, int up_y, int down_x, int down_y, int x0, int x1, int y0, "
    "int y1, bool flip, float gain) -> Tensor",
)


def _native(
    x: Tensor,
    f: Tensor,
    up: tuple[int, int],
    down: tuple[int, int],
    padding: tuple[int, int, int, int],
    flip_filter: bool,
    gain: float,
) -> Tensor:
    if f.requires_grad:
        return _torch(x, f, up, down, padding, flip_filter, gain)
    f = f.to(device=x.device, dtype=accumulator(x.dtype)).contiguous()
    op = torch.ops.stylemix.upfirdn2d
    if f.ndim == 2:
        return op(x, f, *up, *down, *padding, flip_filter, gain)  # type: ignore[no-any-return]
    x0, x1, y0, y1 = padding
    x = op(x, f[None], up[0], 1, down[0], 1, x0, x1, 0, 0, flip_filter, gain**0.5)
    return op(x, f[:, None], 1, up[1], 1, down[1], 0, 0, y0, y1, flip_filter, gain**0.5)  # type: ignore[no-any-return]


@torch.library.register_fake("stylemix::upfirdn2d")
def _fake(
    x: Tensor, f: Tensor, up_x: int, up_y: int, down_x: int, down_y: int, x0: int, x1: int,
    y0: int, y1: int, flip: bool, gain: float,
) -> Tensor:  # fmt: skip
    n, c, h, w = x.shape
    shape = (
        n,
        c,
        (h * up_y + y0 + y1 - f.shape[0]) // down_y + 1,
        (w * up_x + x0 + x1 - f.shape[1]) // down_x + 1,
    )
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    format = torch.channels_last if last else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=format)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, f, *ctx.options = inputs
    ctx.save_for_backward(f)
    ctx.sizes = (*x.shape[2:], *output.shape[2:])


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (f,) = ctx.saved_tensors
    in_h, in_w, out_h, out_w = ctx.sizes
    up_x, up_y, down_x, down_y, x0, _x1, y0, _y1, flip, gain = ctx.options
    fh, fw = f.shape
    dx = torch.ops.stylemix.upfirdn2d(
        dy, f, down_x, down_y, up_x, up_y,
        fw - x0 - 1, in_w * up_x - out_w * down_x + x0 - up_x + 1,
        fh - y0 - 1, in_h * up_y - out_h * down_y + y0 - up_y + 1,
        not flip, gain,
    )  # fmt: skip
    return dx, *[None] * 11


torch.library.register_autograd("stylemix::upfirdn2d", _backward, setup_context=_keep)
register("upfirdn2d", _native)
