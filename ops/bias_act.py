"""Bias, activation, gain and clamp in one op (StyleGAN2, arXiv 1912.04958, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops.backend import select


class Activation(NamedTuple):
    """An activation function, its default slope and the gain that keeps unit variance."""

    function: Callable[[Tensor, float], Tensor]
    alpha: float
    gain: float


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda x, _: x, 0.0, 1.0),
    "relu": Activation(lambda x, _: F.relu(x), 0.0, math.sqrt(2)),
    "lrelu": Activation(F.leaky_relu, 0.2, math.sqrt(2)),
    "tanh": Activation(lambda x, _: torch.tanh(x), 0.0, 1.0),
    "sigmoid": Activation(lambda x, _: torch.sigmoid(x), 0.0, 1.0),
    "elu": Activation(lambda x, _: F.elu(x), 0.0, 1.0),
    "selu": Activation(lambda x, _: F.selu(x), 0.0, 1.0),
    "softplus": Activation(lambda x, _: F.softplus(x), 0.0, 1.0),
    "swish": Activation(lambda x, _: torch.sigmoid(x) * x, 0.0, math.sqrt(2)),
}


def bias_act(
    x: Tensor,
    b: Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> Tensor:
    """Returns clamp(act(x + b) * gain, -clamp, clamp), of the shape of `x`; twice differentiable.

    Args:
        x: tensor of any shape.
        b: bias of shape [x.shape[dim]], cast to the dtype of `x`; None for no bias.
        dim: the dimension of `x` that the bias runs along.
        act: one of ACTIVATIONS.
        alpha: slope of "lrelu" for negative inputs; None for .2. The others ignore it.
        gain: factor after the activation; None for the activation's own.
        clamp: largest magnitude of the result; None or negative for no limit.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"got activation {act!r}; expected one of {sorted(ACTIVATIONS)}")
    if b is not None and b.shape != (x.shape[dim],):
        raise ValueError(f"got bias {tuple(b.shape)}; expected ({x.shape[dim]},) for dim {dim}")
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else alpha
    gain = spec.gain if gain is None else gain
    clamp = -1.0 if clamp is None else clamp
    return select("bias_act", x, _torch)(x, b, dim, act, alpha, gain, clamp)


def _torch(
    x: Tensor, b: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float
) -> Tensor:
    if b is not None:
        shape = [1] * x.ndim
        shape[dim] = -1
        x = x + b.to(x.dtype).reshape(shape)
    x = ACTIVATIONS[act].function(x, alpha)
    if gain != 1:
        x = x * gain
    return x.clamp(-clamp, clamp) if clamp >= 0 else x
