"""The truth that ops are held to: the same operations by explicit loops in float64 NumPy.

Written from the definitions, without a look at ops/, as plainly as possible and as slow as that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def activation(act: str, x: Array, alpha: float | None) -> tuple[Array, Array, Array]:
    """Value, first and second derivative at x."""
    one, zero, s = np.ones_like(x), np.zeros_like(x), _sigmoid(x)
    if act == "linear":
        return x, one, zero
    if act in ("relu", "lrelu"):
        slope = 0.0 if act == "relu" else 0.2 if alpha is None else alpha
        steepness = np.where(x > 0, 1.0, slope)
        return x * steepness, steepness, zero
    if act == "tanh":
        t = np.tanh(x)
        return t, 1 - t**2, -2 * t * (1 - t**2)
    if act == "sigmoid":
        return s, s * (1 - s), s * (1 - s) * (1 - 2 * s)
    if act in ("elu", "selu"):
        scale, a = (1.0, 1.0) if act == "elu" else (SELU_SCALE, SELU_ALPHA)
        e = a * np.exp(np.minimum(x, 0))
        right = x > 0
        return scale * np.where(right, x, e - a), scale * np.where(right, 1, e), (
            scale * np.where(right, 0, e)
        )  # fmt: skip
    if act == "softplus":
        return np.log1p(np.exp(x)), s, s * (1 - s)
    assert act == "swish"
    return x * s, s + x * s * (1 - s), s * (1 - s) * (2 + x * (1 - 2 * s))


GAINS = {"relu": np.sqrt(2), "lrelu": np.sqrt(2), "swish": np.sqrt(2)}


def bias_act(
    x: Array,
    b: Array | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> tuple[Array, Array, Array]:
    """clamp(act(x + b) * gain) with its first and second derivative in x, elementwise."""
    gain = GAINS.get(act, 1.0) if gain is None else gain
    if b is not None:
        shape = [1] * x.ndim
        shape[dim] = len(b)
        x = x + b.reshape(shape)
    y, first, second = (part * gain for part in activation(act, x, alpha))
    if clamp is None or clamp < 0:
        return y, first, second
    inside = np.abs(y) < clamp
    return np.clip(y, -clamp, clamp), first * inside, second * inside


def upfirdn2d(
    x: Array,
    f: Array | None = None,
    up: tuple[int, int] = (1, 1),
    down: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Array:
    """Zeros between the pixels, padding or cropping, convolution, every `down`-th pixel."""
    f = np.ones([1, 1]) if f is None else np.asarray(f, np.float64)
    f = np.outer(f, f) if f.ndim == 1 else f
    f = f if flip_filter else f[::-1, ::-1]
    n, c, h, w = x.shape
    spread = np.zeros([n, c, h * up[1], w * up[0]])
    spread[:, :, :: up[1], :: up[0]] = x
    x0, x1, y0, y1 = padding
    spread = np.pad(spread, [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))])
    bottom, right = spread.shape[2] - max(-y1, 0), spread.shape[3] - max(-x1, 0)
    spread = spread[:, :, max(-y0, 0) : bottom, max(-x0, 0) : right]
    fh, fw = f.shape
    height, width = spread.shape[2] - fh + 1, spread.shape[3] - fw + 1
    out = np.zeros([n, c, height, width])
    for i in range(fh):
        for j in range(fw):
            out += f[i, j] * spread[:, :, i : i + height, j : j + width]
    return out[:, :, :: down[1], :: down[0]] * gain


def conv2d(x: Array, w: Array, groups: int = 1) -> Array:
    """Correlation of images [N, C, H, W] with weights [O, C // groups, kh, kw], no padding."""
    n, c, h, width = x.shape
    o, inner, kh, kw = w.shape
    out = np.zeros([n, o, h - kh + 1, width - kw + 1])
    for k in range(o):
        first = k // (o // groups) * inner
        for i in range(kh):
            for j in range(kw):
                part = x[:, first : first + inner, i : i + out.shape[2], j : j + out.shape[3]]
                out[:, k] += np.einsum("nchw,c->nhw", part, w[k, :, i, j])
    assert c == inner * groups
    return out


def conv2d_resample(
    x: Array,
    w: Array,
    f: Array | None = None,
    up: int = 1,
    down: int = 1,
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    flip_weight: bool = True,
) -> Array:
    """Upsample with the filter, correlate, filter and downsample, in just this order."""
    fh, fw = (1, 1) if f is None or (up, down) == (1, 1) else (f.shape[0], f.shape[-1])
    x0, x1, y0, y1 = padding
    if up > 1:
        x0, x1 = x0 + (fw + up - 1) // 2, x1 + (fw - up) // 2
        y0, y1 = y0 + (fh + up - 1) // 2, y1 + (fh - up) // 2
    if down > 1:
        x0, x1 = x0 + (fw - down + 1) // 2, x1 + (fw - down) // 2
        y0, y1 = y0 + (fh - down + 1) // 2, y1 + (fh - down) // 2
    around, before = (x0, x1, y0, y1), f if up > 1 else None
    x = upfirdn2d(x, before, (up, up), padding=around, gain=up**2)
    x = conv2d(x, w if flip_weight else w[:, :, ::-1, ::-1], groups)
    return upfirdn2d(x, f, down=(down, down)) if down > 1 else x


def grid_sample(x: Array, grid: Array) -> Array:
    """Bilinear, zeros outside; -1 and 1 are the outer edges of the outermost pixels."""
    n, c, h, w = x.shape
    out = np.zeros([n, c, *grid.shape[1:3]])
    for k, i, j in np.ndindex(n, *grid.shape[1:3]):
        px, py = (grid[k, i, j] + 1) * np.array([w, h]) / 2 - 0.5
        for row in (int(np.floor(py)), int(np.floor(py)) + 1):
            for column in (int(np.floor(px)), int(np.floor(px)) + 1):
                if 0 <= row < h and 0 <= column < w:
                    weight = (1 - abs(px - column)) * (1 - abs(py - row))
                    out[k, :, i, j] += weight * x[k, :, row, column]
    return out
