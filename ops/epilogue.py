"""Everything after the convolution of a synthesis layer, fused into one op.

Filter, demodulation, noise, bias, activation, gain, clamp (StyleGAN2, arXiv 1912.04958, figure 2
and appendix B), and the modulation of the next layer: the compiled op reads the output of one
convolution once and writes the input of the next.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stylemix.ops.backend import register, select
from stylemix.ops.bias_act import ACTIVATIONS, PIECEWISE, accumulator, bias_act
from stylemix.ops.upfirdn2d import Pair, sides, upfirdn2d


def epilogue(
    x: Tensor,
    f: Tensor | None = None,
    padding: Pair = 0,
    filter_gain: float = 1,
    demod: Tensor | None = None,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    b: Tensor | None = None,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    post: Tensor | None = None,
) -> Tensor:
    """Returns bias_act(upfirdn2d(x, f) * demod + noise * strength, b) * post; twice differentiable.

    Args:
        x: output of a convolution, [N, C, H, W].
        f: filter as `upfirdn2d` takes it, with `padding` and `filter_gain`; None for no filter.
        padding: as in `upfirdn2d`.
        filter_gain: as `gain` in `upfirdn2d`.
        demod: scale per image and channel, [N, C]; None for 1.
        noise: [N or 1, 1, H, W]; None for no noise.
        strength: factor of the noise, a tensor of one element; None for 1.
        b: bias [C]; None for no bias.
        act: one of ACTIVATIONS.
        alpha: as in `bias_act`.
        gain: as in `bias_act`.
        clamp: as in `bias_act`.
        post: scale of the result per image and channel, [N, C]; None for 1.
    """
    if x.ndim != 4:
        raise ValueError(f"got x of shape {tuple(x.shape)}; expected [N, C, H, W]")
    for name, scale in (("demod", demod), ("post", post)):
        if scale is not None and scale.shape != x.shape[:2]:
            raise ValueError(f"got {name} {tuple(scale.shape)}; expected {tuple(x.shape[:2])}")
    if act not in ACTIVATIONS:
        raise ValueError(f"got activation {act!r}; expected one of {sorted(ACTIVATIONS)}")
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else alpha
    gain = spec.gain if gain is None else gain
    clamp = -1.0 if clamp is None else clamp
    return select("epilogue", x, _torch)(
        x, f, sides(padding), filter_gain, demod, noise, strength, b, act, alpha, gain, clamp, post
    )


def _torch(
    x: Tensor,
    f: Tensor | None,
    padding: tuple[int, int, int, int],
    filter_gain: float,
    demod: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    post: Tensor | None,
) -> Tensor:
    if f is not None:
        x = upfirdn2d(x, f, padding=padding, gain=filter_gain)
    if demod is not None:
        x = x * demod.to(x.dtype)[:, :, None, None]
    if noise is not None:
        noise = noise if strength is None else noise * strength
        x = x + noise.to(x.dtype)
    x = bias_act(x, b, act=act, alpha=alpha, gain=gain, clamp=clamp)
    return x if post is None else x * post.to(x.dtype)[:, :, None, None]


# The native op, for the piecewise linear activations.

_ARGS = (
    "Tensor? f, int x0, int x1, int y0, int y1, bool flip, float filter_gain, Tensor? demod, "
    "Tensor? noise, Tensor? strength, Tensor? b, float alpha, float gain, float clamp, Tensor? post"
)
torch.library.define("stylemix::epilogue", f"(Tensor x, {_ARGS}) -> Tensor")
torch.library.define(
    "stylemix::epilogue_backward", f"(Tensor dy, Tensor x, {_ARGS}) -> (Tensor, Tensor)"
)


def _native(
    x: Tensor,
    f: Tensor | None,
    padding: tuple[int, int, int, int],
    filter_gain: float,
    demod: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    act: str,
    alpha: float,
    gain: float,
    clamp: float,
    post: Tensor | None,
) -> Tensor:
    plain = act == "lrelu" or act in PIECEWISE
    if f is not None and (f.requires_grad or f.ndim != 2):
        plain = False
    if not plain or (noise is not None and noise.requires_grad):
        return _torch(
            x, f, padding, filter_gain, demod, noise, strength, b, act, alpha, gain, clamp, post
        )
    dtype = accumulator(x.dtype)
    f, demod, noise, strength, b, post = (
        None if t is None else t.to(device=x.device, dtype=dtype).contiguous()
        for t in (f, demod, noise, strength, b, post)
    )
    alpha = PIECEWISE.get(act, alpha)
    return torch.ops.stylemix.epilogue(  # type: ignore[no-any-return]
        x, f, *padding, False, filter_gain, demod, noise, strength, b, alpha, gain, clamp, post
    )


def _result(x: Tensor, f: Tensor | None, x0: int, x1: int, y0: int, y1: int) -> Tensor:
    n, c, h, w = x.shape
    fh, fw = (1, 1) if f is None else f.shape
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.empty(
        (n, c, h + y0 + y1 - fh + 1, w + x0 + x1 - fw + 1),
        dtype=x.dtype,
        device=x.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


@torch.library.register_fake("stylemix::epilogue")
def _fake(x: Tensor, f: Tensor | None, x0: int, x1: int, y0: int, y1: int, *_: Any) -> Tensor:
    return _result(x, f, x0, x1, y0, y1)


@torch.library.register_fake("stylemix::epilogue_backward")
def _fake_backward(
    dy: Tensor, x: Tensor, f: Tensor | None, x0: int, x1: int, y0: int, y1: int, *_: Any
) -> tuple[Tensor, Tensor]:
    sums = x.new_empty([4, *x.shape[:2]], dtype=accumulator(x.dtype))
    return _result(x, f, x0, x1, y0, y1), sums


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, f, *paddings, flip, filter_gain, demod, noise, strength, b, alpha, gain, clamp, post = inputs
    ctx.save_for_backward(x, f, demod, noise, strength, b, post)
    ctx.options = (*paddings, flip, filter_gain), (alpha, gain, clamp)


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, f, demod, noise, strength, b, post = ctx.saved_tensors
    (x0, x1, y0, y1, flip, filter_gain), act = ctx.options
    dx, sums = torch.ops.stylemix.epilogue_backward(
        dy, x, f, x0, x1, y0, y1, flip, filter_gain, demod, noise, strength, b, *act, post
    )
    du, du_z, dy_t, du_noise = sums
    if f is not None:
        fh, fw = f.shape
        turned = (fw - x0 - 1, fw - x1 - 1, fh - y0 - 1, fh - y1 - 1)
        dx = torch.ops.stylemix.upfirdn2d(dx, f, 1, 1, 1, 1, *turned, not flip, filter_gain)
    return (
        dx, *[None] * 7,
        None if demod is None else du_z,
        None,
        None if strength is None else du_noise.sum().reshape(strength.shape),
        None if b is None else du.sum(0),
        *[None] * 3,
        None if post is None else dy_t,
    )  # fmt: skip


def _keep_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    dy, *rest = inputs
    _keep(ctx, tuple(rest), output[0])
    ctx.save_for_backward(dy, *(t for t in (*rest[:2], *rest[8:12], rest[15])))


def _backward_backward(ctx: Any, v: Tensor, v_sums: Tensor) -> tuple[Tensor | None, ...]:
    """Differentiates the formulas of epilogue.h with plain differentiable ops."""
    with torch.enable_grad():
        names = ("dy", "x", "f", "demod", "noise", "strength", "b", "post")
        given: list[Tensor | None] = [t if t is None else t.view_as(t) for t in ctx.saved_tensors]
        product = _inner_product(v, v_sums, ctx.options, *given)  # type: ignore[arg-type]
        wanted = {
            name: t
            for name, t in zip(names, given, strict=True)
            if t is not None and t.requires_grad
        }
        grads = torch.autograd.grad(
            product, list(wanted.values()), create_graph=True, allow_unused=True
        )
    d = dict(zip(wanted, grads, strict=True))
    return (
        d.get("dy"), d.get("x"), *[None] * 7, d.get("demod"), None, d.get("strength"), d.get("b"),
        *[None] * 3, d.get("post"),
    )  # fmt: skip


def _inner_product(
    v: Tensor,
    v_sums: Tensor,
    options: tuple[tuple[Any, ...], tuple[float, ...]],
    dy: Tensor,
    x: Tensor,
    f: Tensor | None,
    demod: Tensor | None,
    noise: Tensor | None,
    strength: Tensor | None,
    b: Tensor | None,
    post: Tensor | None,
) -> Tensor:
    """Returns the inner product of the first derivatives with v and v_sums [4, N, C], a scalar."""
    (x0, x1, y0, y1, flip, filter_gain), (alpha, gain, clamp) = options
    dtype = accumulator(x.dtype)
    z = x if f is None else upfirdn2d(x, f, 1, 1, (x0, x1, y0, y1), flip, filter_gain)
    z, g, v = z.to(dtype), dy.to(dtype), v.to(dtype)
    u = z if demod is None else z * demod[:, :, None, None]
    if noise is not None:
        u = u + noise.reshape(-1, 1, *z.shape[2:]) * (1 if strength is None else strength)
    if b is not None:
        u = u + b[:, None, None]
    with torch.no_grad():
        free = torch.full_like(u, gain * alpha).masked_fill_(u > 0, gain)
        inside = torch.ones_like(u) if clamp < 0 else ((u * free).abs() <= clamp).to(dtype)
    t = u * free if clamp < 0 else (u * free).clamp(-clamp, clamp)
    du = g * (free * inside)
    if post is not None:
        du = du * post[:, :, None, None]
    to_du, to_du_z, to_dy_t, to_du_noise = v_sums[..., None, None]
    product = (v * (du if demod is None else du * demod[:, :, None, None])).sum()
    product = product + (to_du * du).sum() + (to_du_z * du * z).sum() + (to_dy_t * g * t).sum()
    if noise is not None:
        product = product + (to_du_noise * du * noise.reshape(-1, 1, *z.shape[2:])).sum()
    result: Tensor = product
    return result


torch.library.register_autograd("stylemix::epilogue", _backward, setup_context=_keep)
torch.library.register_autograd(
    "stylemix::epilogue_backward", _backward_backward, setup_context=_keep_backward
)
register("epilogue", _native)
