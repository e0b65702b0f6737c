"""Building blocks shared by generator and discriminator (StyleGAN2, arXiv 1912.04958)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.ops import (
    ACTIVATIONS,
    bias_act,
    conv2d_before_filter,
    conv2d_resample,
    epilogue,
    setup_filter,
)

FP16_BLOCKS = 4  # the number of blocks, the finest, that compute in float16
TINY = 1e-8  # instead of the largest value of weights or styles that are all 0


def block_dtypes(dtype: torch.dtype, count: int) -> list[torch.dtype]:
    """Returns the precision of `count` blocks, coarsest first, for features of a dtype.

    Only the finest blocks compute in float16, as in ADA (arXiv 2006.06676, appendix D): coarse
    blocks are cheap, and sums over many channels overflow. bfloat16 has the range of float32.
    """
    if dtype != torch.float16:
        return [dtype] * count
    return [torch.float32] * (count - FP16_BLOCKS) + [dtype] * min(count, FP16_BLOCKS)


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Scales each row of x [N, C] to a mean square of one."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate: stored weights have unit variance."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        act: str = "linear",
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.act = act
        self.weight = nn.Parameter(torch.randn([out_features, in_features]) / lr_multiplier)
        self.bias = nn.Parameter(torch.full([out_features], bias_init))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, in_features] to [N, out_features]."""
        w = (self.weight * self.weight_gain).to(x.dtype)
        b = self.bias * self.bias_gain if self.bias_gain != 1 else self.bias
        if self.act == "linear":
            return torch.addmm(b.to(x.dtype), x, w.t())
        return bias_act(x @ w.t(), b, act=self.act)


class Conv2d(nn.Module):
    """Convolution with equalised learning rate, resampling, bias and activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        bias: bool = True,
        act: str = "linear",
        up: int = 1,
        down: int = 1,
        conv_clamp: float | None = None,
        resample_filter: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__()
        self.act, self.up, self.down, self.conv_clamp = act, up, down, conv_clamp
        self.groups = 1
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(
            torch.randn([out_channels, in_channels, kernel_size, kernel_size])
        )
        self.bias = nn.Parameter(torch.zeros([out_channels])) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", setup_filter(resample_filter))

    resample_filter: Tensor

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """Maps x [N, in_channels, H, W] to [N, out_channels, H*up/down, W*up/down]."""
        x = conv2d_resample(
            x,
            (self.weight * self.weight_gain).to(x.dtype),
            self.resample_filter,
            up=self.up,
            down=self.down,
            padding=self.padding,
            groups=self.groups,
            flip_weight=self.up == 1,
        )
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(
            x, self.bias, act=self.act, gain=ACTIVATIONS[self.act].gain * gain, clamp=clamp
        )


class Modulation(NamedTuple):
    """The scales of a modulated convolution, for its input and its output.

    Scaling the activations is equivalent to scaling the weights (section 2.2 of the paper), and
    needs only one convolution for the whole batch.
    """

    weight: Tensor  # [O, I, k, k]
    style: Tensor  # [N, I], for the input
    demod: Tensor  # [N, O], for the output


def modulation(weight: Tensor, style: Tensor, dtype: torch.dtype, groups: int = 1) -> Modulation:
    """Returns the modulation of weights [O, I // groups, k, k] by styles [N, I].

    The output is divided by its expected standard deviation (demodulation). Scales are computed in
    the precision of the styles, float32 for weights of any dtype.
    """
    weight = weight.to(style.dtype)
    if dtype == torch.float16:  # keeps the intermediate values below 65504
        fan_in = weight[0].numel()
        peak = weight.detach().abs().amax(dim=[1, 2, 3], keepdim=True)
        weight = weight / (peak.clamp(min=TINY) * math.sqrt(fan_in))
        style = style / style.detach().abs().amax(dim=1, keepdim=True).clamp(min=TINY)
    squares = weight.square().sum(dim=[2, 3])
    if groups == 1:
        power = style.square() @ squares.t()
    else:
        parts = style.square().unflatten(1, (groups, -1)).transpose(0, 1)
        power = (parts @ squares.unflatten(0, (groups, -1)).mT).transpose(0, 1).flatten(1)
    return Modulation(weight.to(dtype), style, (power + 1e-8).rsqrt())


def modulated_conv2d(
    x: Tensor,
    m: Modulation,
    resample_filter: Tensor | None = None,
    up: int = 1,
    padding: int = 0,
    scaled: bool = False,
    groups: int = 1,
    **rest: Any,
) -> Tensor:
    """Modulated convolution with its epilogue: noise, bias, activation.

    Args:
        x: features [N, I, H, W].
        m: weights and scales.
        resample_filter: filter [h, w] for `up`.
        up: integer upsampling factor.
        padding: relative to the upsampled image.
        scaled: whether `x` is already multiplied by `m.style`.
        groups: independent groups of channels (grouped convolution).
        rest: noise, strength, b, act, gain, clamp and post of `ops.epilogue`.
    """
    if not scaled:
        x = epilogue(x, demod=m.style)
    x, around, gain = conv2d_before_filter(x, m.weight, resample_filter, up, padding, groups)
    f = resample_filter if up > 1 else None
    return epilogue(x, f, around, gain, demod=m.demod, **rest)


def modulated_colors(x: Tensor, weight: Tensor, style: Tensor, groups: int = 1) -> Tensor:
    """Modulated 1x1 convolution without demodulation, for few output channels.

    Maps x [N, C, H, W], weights [O, C // groups, 1, 1] and style [N, C] to contiguous [N, O, H, W].
    The weights per image are small here, so one matrix product reads the features only once.
    """
    n, c, h, w = x.shape
    pixels = x.permute(0, 2, 3, 1)
    # Weights first: with them last the gradient of the weights takes six times as long on a CPU.
    if groups == 1:
        weights = (weight.flatten(1) * style.unsqueeze(1)).to(x.dtype)
        y = weights @ pixels.reshape(n, h * w, c).mT
    else:
        parts = style.unflatten(1, (groups, 1, -1))
        weights = (weight.flatten(1).unflatten(0, (groups, -1)) * parts).to(x.dtype)
        y = weights @ pixels.reshape(n, h * w, groups, -1).permute(0, 2, 3, 1)
    return y.reshape(n, weight.shape[0], h, w).contiguous()


HAAR_SCALES = (1.0, 8.0, 8.0, 16.0)


def inverse_haar(bands: Tensor) -> Tensor:
    """Orthonormal inverse Haar transform of bands [N, 4 C, H, W] to images [N, C, 2 H, 2 W].

    The bands of a channel are adjacent: mean, horizontal, vertical and diagonal difference.
    """
    mean, horizontal, vertical, diagonal = (bands / 2).unflatten(1, (-1, 4)).unbind(2)
    top, bottom = mean + vertical, mean - vertical
    left, right = horizontal + diagonal, horizontal - diagonal
    corners = (top + left, top - left, bottom + right, bottom - right)
    return functional.pixel_shuffle(torch.stack(corners, dim=2).flatten(1, 2), 2)


def band_scales(channels: int, like: Tensor) -> Tensor:
    """Returns scales that give Haar bands [N, 4 channels, H, W] about equal standard deviations.

    The bands of faces of 256 px have standard deviations of 1, 0.06, 0.06 and 0.017. Without the
    scales, steps of Adam are equal in all bands and too large in the finest: a grid of pixels.
    """
    return like.new_tensor(HAAR_SCALES).repeat(channels).view(-1, 1, 1)


def haar(images: Tensor) -> Tensor:
    """Orthonormal Haar transform of images [N, C, 2 H, 2 W] to bands [N, 4 C, H, W]."""
    corners = functional.pixel_unshuffle(images / 2, 2).unflatten(1, (-1, 4)).unbind(2)
    top, bottom = corners[0] + corners[1], corners[2] + corners[3]
    left, right = corners[0] - corners[1], corners[2] - corners[3]
    bands = (top + bottom, left + right, top - bottom, left - right)
    return torch.stack(bands, dim=2).flatten(1, 2)


class MinibatchStddev(nn.Module):
    """Appends the standard deviation over groups of images as feature channels.

    From progressive growing of GANs (arXiv 1710.10196, section 3). A batch that is not a multiple
    of `group_size` uses the largest smaller group that divides it.
    """

    def __init__(self, group_size: int, num_channels: int = 1) -> None:
        super().__init__()
        self.group_size, self.num_channels = group_size, num_channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C, H, W] to [N, C + num_channels, H, W]."""
        n, c, h, w = x.shape
        group = next((g for g in range(min(self.group_size, n), 0, -1) if n % g == 0), 1)
        f = self.num_channels
        y = x.float().reshape(group, n // group, f, c // f, h, w)
        y = (y - y.mean(dim=0)).square().mean(dim=0)
        y = (y + 1e-8).sqrt().mean(dim=[2, 3, 4])
        y = y.reshape(n // group, f, 1, 1).repeat(group, 1, h, w)
        return torch.cat([x, y.to(x.dtype)], dim=1)
