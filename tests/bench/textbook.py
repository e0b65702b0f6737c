"""The networks in textbook form: the formulation that ours are compared with.

Weights are modulated and demodulated for each image (StyleGAN2, arXiv 1912.04958, section 2.2) and
the batch becomes groups of one convolution; upsampling is a transposed convolution, or zero
insertion, followed by the filter; filtering is padding and a depthwise convolution; bias,
activation, gain and clamp are separate ops; memory is laid out NCHW.
Parameters are taken by name from our networks; no code of our layers and ops is used.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator, SynthesisNetwork

Padding = tuple[int, ...]  # x0, x1, y0, y1
ROOT2 = math.sqrt(2)


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    up: int = 1,
    down: int = 1,
    padding: Padding = (0, 0, 0, 0),
    gain: float = 1,
) -> Tensor:
    """Zero insertion, padding (x0, x1, y0, y1), depthwise convolution, every `down`-th pixel."""
    n, c, h, w = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), [0, up - 1, 0, 0, 0, up - 1])
        x = x.reshape(n, c, h * up, w * up)
    x = F.pad(x, list(padding))
    taps = (f.flip(list(range(f.ndim))) * gain ** (f.ndim / 2)).to(x.dtype)
    for kernel in [taps] if f.ndim == 2 else [taps[None, :], taps[:, None]]:
        x = F.conv2d(x, kernel.repeat(c, 1, 1, 1), groups=c)
    return x[:, :, ::down, ::down]


def upsample2d(x: Tensor, f: Tensor) -> Tensor:
    """Twice the size, at the same brightness."""
    taps = f.shape[-1]
    return upfirdn2d(x, f, up=2, padding=((taps + 1) // 2, (taps - 2) // 2) * 2, gain=4)


def downsample2d(x: Tensor, f: Tensor) -> Tensor:
    """Half the size."""
    taps = f.shape[-1]
    return upfirdn2d(x, f, down=2, padding=((taps - 1) // 2, (taps - 2) // 2) * 2)


def filter2d(x: Tensor, f: Tensor) -> Tensor:
    """The same size, smoothed."""
    taps = f.shape[-1]
    return upfirdn2d(x, f, padding=(taps // 2, (taps - 1) // 2) * 2)


def bias_act(
    x: Tensor, b: Tensor | None, act: str = "lrelu", gain: float = ROOT2, clamp: float | None = None
) -> Tensor:
    """Bias, activation, gain and clamp, one after another."""
    if b is not None:
        x = x + b.to(x.dtype).view(1, -1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        x = F.leaky_relu(x, 0.2)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def epilogue(
    x: Tensor, f: Tensor | None, demod: Tensor, noise: Tensor, strength: Tensor, b: Tensor
) -> Tensor:
    """What follows a shared convolution, op by op; `f` filters an upsampled image."""
    x = x * demod.to(x.dtype)[:, :, None, None]
    if f is not None:
        x = upfirdn2d(x, f, padding=(1, 1, 1, 1), gain=4)
    return bias_act(x + (noise * strength).to(x.dtype), b)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    style: Tensor,
    demodulate: bool = True,
    up: Tensor | None = None,
    literal: bool = False,
) -> Tensor:
    """A grouped convolution, with one group and its own weights per image.

    `up` is the filter for upsampling; `literal` upsamples the image first and convolves at the
    full size, instead of the transposed convolution.
    """
    n, inner = x.shape[:2]
    outer, k = weight.shape[0], weight.shape[2]
    weights = weight[None] * style[:, None, :, None, None]
    if demodulate:
        weights = weights * (weights.square().sum(dim=[2, 3, 4], keepdim=True) + 1e-8).rsqrt()
    weights = weights.to(x.dtype)
    if up is not None and literal:  # one more pixel around it, which the convolution crops
        x, weights = upfirdn2d(x, up, up=2, padding=(3, 2, 3, 2), gain=4), weights.flip([3, 4])
    x = x.reshape(1, n * inner, *x.shape[2:])
    if up is None or literal:
        padding = k // 2 if up is None else 0
        x = F.conv2d(x, weights.reshape(n * outer, inner, k, k), padding=padding, groups=n)
        return x.reshape(n, outer, *x.shape[2:])
    weights = weights.transpose(1, 2).reshape(n * inner, outer, k, k)
    x = F.conv_transpose2d(x, weights, stride=2, groups=n)
    return upfirdn2d(x.reshape(n, outer, *x.shape[2:]), up, padding=(1, 1, 1, 1), gain=4)


class _Named(nn.Module):
    """The parameters and buffers of a network by name, in NCHW order."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.contiguous_format)
        self.named = dict(network.named_parameters()) | dict(network.named_buffers())

    def linear(self, x: Tensor, name: str) -> Tensor:
        weight = self.named[f"{name}.weight"]
        return F.linear(x, weight / math.sqrt(weight.shape[1]), self.named[f"{name}.bias"])


class Synthesis(_Named):
    """Our synthesis network (architecture "skip") in textbook form; same weights, same images."""

    def __init__(self, network: SynthesisNetwork, literal: bool = False) -> None:
        super().__init__(network)
        self.config, self.literal = network.config, literal
        self.noise_size = network.noise_size
        assert self.config.architecture == "skip"

    def _layer(self, x: Tensor, w: Tensor, name: str, up: bool, noise_mode: str | Tensor) -> Tensor:
        weight, style = self.named[f"{name}.weight"], self.linear(w, f"{name}.affine")
        f = self.named[f"{name}.resample_filter"] if up else None
        x = modulated_conv2d(x, weight, style, up=f, literal=self.literal)
        if isinstance(noise_mode, Tensor):
            start = self.network.get_submodule(name).noise_start
            rows = noise_mode[:, start : start + x.shape[2] * x.shape[3]]
            noise = rows.reshape(x.shape[0], 1, *x.shape[2:])
        elif noise_mode == "random":
            noise = torch.randn([x.shape[0], 1, *x.shape[2:]], device=x.device)
        else:
            noise = self.named[f"{name}.noise_const"]
        if isinstance(noise_mode, Tensor) or noise_mode != "none":
            x = x + (noise * self.named[f"{name}.noise_strength"]).to(x.dtype)
        return bias_act(x, self.named[f"{name}.bias"], clamp=self.config.conv_clamp)

    def _torgb(self, x: Tensor, w: Tensor, name: str) -> Tensor:
        style = self.linear(w, f"{name}.affine") / math.sqrt(x.shape[1])
        x = modulated_conv2d(x, self.named[f"{name}.weight"], style, demodulate=False)
        b = self.named[f"{name}.bias"]
        return bias_act(x, b, act="linear", gain=1, clamp=self.config.conv_clamp).float()

    def forward(
        self, ws: Tensor, noise_mode: str | Tensor = "random", dtype: torch.dtype | None = None
    ) -> Tensor:
        """Renders ws [N, num_ws, w_dim] to images [N, C, H, W]."""
        const = self.named["b4.const"]
        x = const.to(dtype or const.dtype)[None].repeat(len(ws), 1, 1, 1)
        x = self._layer(x, ws[:, 0], "b4.conv1", False, noise_mode)
        img = self._torgb(x, ws[:, 1], "b4.torgb")
        for i, resolution in enumerate(self.config.resolutions[1:]):
            name, block_ws = f"b{resolution}", ws[:, 2 * i + 1 :]
            x = self._layer(x, block_ws[:, 0], f"{name}.conv0", True, noise_mode)
            x = self._layer(x, block_ws[:, 1], f"{name}.conv1", False, noise_mode)
            img = upsample2d(img, self.named[f"{name}.resample_filter"])
            img = img + self._torgb(x, block_ws[:, 2], f"{name}.torgb")
        return img


class TextbookGenerator(nn.Module):
    """Our mapping network with the textbook's synthesis."""

    def __init__(self, generator: Generator, literal: bool = False) -> None:
        super().__init__()
        self.mapping, self.z_dim = generator.mapping, generator.z_dim
        self.synthesis = Synthesis(generator.synthesis, literal)


class TextbookDiscriminator(_Named):
    """Our discriminator (architecture "resnet", no labels) in textbook form."""

    def __init__(self, network: Discriminator) -> None:
        super().__init__(network)
        self.config = network.config
        assert self.config.architecture == "resnet"
        assert self.config.c_dim == 0

    def _conv(
        self, x: Tensor, name: str, down: Tensor | None = None, gain: float = ROOT2
    ) -> Tensor:
        weight = self.named[f"{name}.weight"]
        k = weight.shape[2]
        weight = (weight / math.sqrt(weight.shape[1] * k * k)).to(x.dtype)
        if down is None:
            x = F.conv2d(x, weight, padding=k // 2)
        elif k == 1:
            x = F.conv2d(downsample2d(x, down), weight)
        else:
            x = F.conv2d(upfirdn2d(x, down, padding=(2, 2, 2, 2)), weight, stride=2)
        b = self.named.get(f"{name}.bias")
        if b is None:
            return x * gain
        clamp = None if self.config.conv_clamp is None else self.config.conv_clamp * gain / ROOT2
        return bias_act(x, b, gain=gain, clamp=clamp)

    def _stddev(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        group = max(g for g in range(1, min(self.config.mbstd_group_size, n) + 1) if n % g == 0)
        y = x.reshape(group, n // group, c, h, w)
        y = ((y - y.mean(dim=0)).square().mean(dim=0) + 1e-8).sqrt().mean(dim=[1, 2, 3])
        return torch.cat([x, y.repeat(group).view(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)

    def forward(self, img: Tensor, c: None = None, dtype: torch.dtype | None = None) -> Tensor:
        """Logits [N, 1] of img [N, C, H, W]."""
        x = img.contiguous().to(dtype or img.dtype)
        for resolution in reversed(self.config.resolutions[1:]):
            name = f"b{resolution}"
            f = self.named[f"{name}.resample_filter"]
            if resolution == self.config.img_resolution:
                x = self._conv(x, f"{name}.fromrgb")
            short = self._conv(x, f"{name}.skip", down=f, gain=math.sqrt(0.5))
            x = self._conv(x, f"{name}.conv0")
            x = short + self._conv(x, f"{name}.conv1", down=f, gain=1)
        x = self._conv(self._stddev(x.float()), "b4.conv").flatten(1)
        weight = self.named["b4.fc.weight"]
        x = bias_act(x @ (weight / math.sqrt(weight.shape[1])).t(), self.named["b4.fc.bias"])
        return self.linear(x, "b4.out")
