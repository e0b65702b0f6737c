"""Bias, activation, gain and clamp in one op (StyleGAN2, arXiv 1912.04958, appendix B)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops.backend import register, select


class Activation(NamedTuple):
    """An activation function, its default slope, and the gain that preserves unit variance."""

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
        b: bias of shape [x.shape[dim]] on the device of `x`, cast to its dtype; None for none.
        dim: the dimension of `x` that the bias applies to.
        act: one of ACTIVATIONS.
        alpha: slope of "lrelu" for negative inputs; None for .2. The others ignore it.
        gain: factor after the activation; None for the activation's own.
        clamp: largest magnitude of the result; None or negative for no limit.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"got activation {act!r}; expected one of {sorted(ACTIVATIONS)}")
    if b is not None and b.shape != (x.shape[dim],):
        raise ValueError(f"got bias {tuple(b.shape)}; expected ({x.shape[dim]},) for dim {dim}")
    if b is not None and b.device != x.device:  # a kernel would read beyond its memory
        raise ValueError(f"got bias on {b.device}; expected {x.device}, where x is")
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else alpha
    gain = spec.gain if gain is None else gain
    clamp = -1.0 if clamp is None else clamp
    return select("bias_act", x, _torch)(x, b, dim % x.ndim, act, alpha, gain, clamp)


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


# The native op. A piecewise linear activation saves its output for the derivative, which the next
# convolution saves anyway; the others save their input.

PIECEWISE = {"linear": 1.0, "relu": 0.0}  # slopes below zero; "lrelu" has its own
_NUMBERS = {name: index for index, name in enumerate(ACTIVATIONS)}

torch.library.define(
    "stylemix::bias_act",
    "(Tensor x, Tensor? b, int dim, int act, float alpha, float gain, float clamp) -> Tensor",
)
torch.library.define(
    "stylemix::bias_act_grad",
    "(Tensor dy, Tensor ref, Tensor? b, int dim, int act, float alpha, float gain, float clamp, "
    "bool by_output, bool with_sums) -> (Tensor, Tensor)",
)
torch.library.define(
    "stylemix::bias_act_grad2",
    "(Tensor v, Tensor dy, Tensor x, Tensor? b, int dim, int act, float alpha, float gain, "
    "float clamp) -> Tensor",
)


def _native(
    x: Tensor, b: Tensor | None, dim: int, act: str, alpha: float, gain: float, clamp: float
) -> Tensor:
    alpha = PIECEWISE.get(act, alpha)
    if b is not None:
        b = b.to(accumulator(x.dtype)).contiguous()
    op: Tensor = torch.ops.stylemix.bias_act(x, b, dim, _NUMBERS[act], alpha, gain, clamp)
    return op


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Returns the dtype in which a native op accumulates values of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _by_output(act: int, alpha: float) -> bool:
    return act <= _NUMBERS["lrelu"] and alpha >= 0


@torch.library.register_fake("stylemix::bias_act")
def _fake(x: Tensor, b: Tensor | None, dim: int, *_: Any) -> Tensor:
    return dense_like(x, dim)


def dense_like(x: Tensor, dim: int) -> Tensor:
    """Returns an empty tensor like `x` and in its layout if the kernels know it, else contiguous.

    They know channels_last if the bias applies to dimension 1.
    """
    last = x.ndim == 4 and dim == 1 and not x.is_contiguous()
    last = last and x.is_contiguous(memory_format=torch.channels_last)
    format = torch.channels_last if last else torch.contiguous_format
    return torch.empty_like(x, memory_format=format)


@torch.library.register_fake("stylemix::bias_act_grad")
def _fake_grad(
    dy: Tensor, ref: Tensor, b: Tensor | None, dim: int, act: int, alpha: float, gain: float,
    clamp: float, by_output: bool, with_sums: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    dx, channels = dense_like(ref, dim), ref.shape[dim]
    sums = dx.new_empty([channels], dtype=accumulator(ref.dtype))
    return dx, sums


@torch.library.register_fake("stylemix::bias_act_grad2")
def _fake_grad2(v: Tensor, dy: Tensor, x: Tensor, b: Tensor | None, dim: int, *_: Any) -> Tensor:
    return dense_like(x, dim)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, b, *ctx.options = inputs
    _dim, act, alpha, _gain, _clamp = ctx.options
    ctx.by_output = _by_output(act, alpha)
    ctx.save_for_backward(output if ctx.by_output else x, None if ctx.by_output else b)


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    ref, b = ctx.saved_tensors
    dx, sums = torch.ops.stylemix.bias_act_grad(
        dy, ref, b, *ctx.options, ctx.by_output, ctx.needs_input_grad[1]
    )
    return dx, sums if ctx.needs_input_grad[1] else None, *[None] * 5


def _keep_grad(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    dy, ref, b, *ctx.options, ctx.by_output, ctx.with_sums = inputs
    ctx.save_for_backward(dy, ref, b)


def _backward_grad(ctx: Any, v: Tensor, v_sums: Tensor) -> tuple[Tensor | None, ...]:
    dy, ref, b = ctx.saved_tensors
    dim = ctx.options[0]
    if ctx.with_sums:  # each value also contributes to the sum of its channel
        shape = [1] * ref.ndim
        shape[dim] = -1
        v = v + v_sums.reshape(shape).to(v.dtype)
    ops = torch.ops.stylemix
    d_dy = ops.bias_act_grad(v, ref, b, *ctx.options, ctx.by_output, False)[0]
    if ctx.by_output:  # the derivative is constant on either side
        return d_dy, *[None] * 9
    d2x = ops.bias_act_grad2(v, dy, ref, b, *ctx.options)
    # A new dimension, since the sum over none is one over all.
    others = [0, *(d + 1 for d in range(ref.ndim) if d != dim)]
    db = d2x[None].sum(others, dtype=b.dtype) if b is not None else None
    return d_dy, d2x, db, *[None] * 7


torch.library.register_autograd("stylemix::bias_act", _backward, setup_context=_keep)
torch.library.register_autograd("stylemix::bias_act_grad", _backward_grad, setup_context=_keep_grad)
register("bias_act", _native)
