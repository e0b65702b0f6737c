"""Convolutions whose weight gradients are fast on every processor."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops import architectures
from stylemix.ops.backend import is_transformed

# Features of an image from which the layout decides about the time of the weight gradients.
LARGE = 2**17


def convolve(
    x: Tensor,
    w: Tensor,
    stride: int = 1,
    padding: tuple[int, int] = (0, 0),
    groups: int = 1,
    transposed: bool = False,
) -> Tensor:
    """`torch.nn.functional.conv2d` or, if `transposed`, `conv_transpose2d`, without a bias.

    Maps x [N, I, H, W] with w [O, I // groups, kh, kw], or transposed [I, O // groups, kh, kw].
    """
    if groups == 1 and _slow_gradient(x, w):
        y: Tensor = _Convolution.apply(x, w, stride, padding, transposed)
        return y
    apply = F.conv_transpose2d if transposed else F.conv2d
    return apply(x, w, stride=stride, padding=padding, groups=groups)


def _slow_gradient(x: Tensor, w: Tensor) -> bool:
    """Whether the gradient of `w` is slow for features in channels-last order.

    oneDNN has no fast kernel for it without AVX-512: 1.2 to 5 times the seconds of the default
    order from 2**17 features on, and the same below.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and w.requires_grad
        and w.shape[2:] != (1, 1)
        and x.shape[0] > 0
        and x[0].numel() >= LARGE
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and not is_transformed()
        and not _has_avx512()
    )


@cache
def _has_avx512() -> bool:
    return "avx512f" in architectures.cpu_features()


class _Convolution(torch.autograd.Function):
    """A convolution, plain or transposed, that computes its weight gradient in default order."""

    @staticmethod
    def forward(
        x: Tensor, w: Tensor, stride: int, padding: tuple[int, int], transposed: bool
    ) -> Tensor:
        """Returns the convolution."""
        apply = F.conv_transpose2d if transposed else F.conv2d
        return apply(x, w, stride=stride, padding=padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keeps what the gradients need."""
        x, w, *ctx.options = inputs
        ctx.save_for_backward(x, w)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of x and w, which can be differentiated again."""
        (g,), (x, w) = grads, ctx.saved_tensors
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _gradient(g, x, w, ctx.options, 0)
        if ctx.needs_input_grad[1]:
            dw = _gradient(g.contiguous(), x.contiguous(), w.contiguous(), ctx.options, 1)
        return dx, dw, None, None, None


def _gradient(g: Tensor, x: Tensor, w: Tensor, options: list[Any], index: int) -> Tensor:
    stride, padding, transposed = options
    mask = [index == i for i in range(3)]
    gradients = torch.ops.aten.convolution_backward(
        g, x, w, None, [stride] * 2, list(padding), [1, 1], transposed, [0, 0], 1, mask
    )
    gradient: Tensor = gradients[index]
    return gradient
