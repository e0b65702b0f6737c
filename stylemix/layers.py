"""Building blocks shared by generator and discriminator (StyleGAN2, arXiv 1912.04958)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stylemix.ops import ACTIVATIONS, bias_act, conv2d_resample, setup_filter


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
            flip_weight=self.up == 1,
        )
        clamp = None if self.conv_clamp is None else self.conv_clamp * gain
        return bias_act(
            x, self.bias, act=self.act, gain=ACTIVATIONS[self.act].gain * gain, clamp=clamp
        )


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    demodulate: bool = True,
    resample_filter: Tensor | None = None,
    up: int = 1,
    padding: int = 0,
) -> Tensor:
    """Convolution whose weights are scaled per image by `styles` (section 2.2 of the paper).

    Scaling the activations before and after an ordinary convolution gives the same result as
    scaling the weights, and keeps one convolution for the whole batch.

    Args:
        x: features [N, I, H, W].
        weight: weights [O, I, k, k], shared by the batch.
        styles: scales [N, I], float32.
        demodulate: divide by the expected standard deviation of the output.
        resample_filter: filter [h, w] for `up`.
        up: integer upsampling factor.
        padding: relative to the upsampled image.
    """
    if x.dtype == torch.float16 and demodulate:  # keeps the intermediate values below 65504
        fan_in = weight[0].numel()
        peak = weight.detach().abs().amax(dim=[1, 2, 3], keepdim=True)
        weight = weight / (peak * math.sqrt(fan_in))
        styles = styles / styles.detach().abs().amax(dim=1, keepdim=True)
    y = conv2d_resample(
        x * styles.to(x.dtype)[:, :, None, None],
        weight.to(x.dtype),
        resample_filter,
        up=up,
        padding=padding,
        flip_weight=up == 1,
    )
    if demodulate:
        power = styles.square() @ weight.square().sum(dim=[2, 3]).t()
        y = y * (power + 1e-8).rsqrt().to(x.dtype)[:, :, None, None]
    return y


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
