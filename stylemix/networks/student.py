"""Students: small networks that redraw the photo of a face in one pass.

A U-Net (Ronneberger et al. 2015) that works at half the photo's size and below and ends in two
pixel shuffles (Shi et al. 2016), at twice the photo's size. What depends on the whole photo, its
light, is evened out before it by a tone curve; so the network itself needs no normalisation layers,
learns from parts of faces, and draws images of any size.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
DARKEST, BRIGHTEST = 0.04, 0.96  # luma that the darkest and brightest hundredth of a photo get
FACE = (0.2, 0.8)  # rows and columns of a crop that are mostly face, in parts of its side
MIDDLE = 0.58  # luma that the median of the face gets
MAX_GAIN = 2.5  # of colours in dark places
STRONG = 1.1  # chroma in parts of the luma whose gain is 1; that of skin is below half of its luma
EXPONENTS = (0.55, 1.3)  # of the tone curve, so that no light makes noise or night of a face
FINE = 16  # channels at the photo's own size
SCALE = 2  # px of a drawing for a px of the photo


@dataclass(frozen=True)
class StudentConfig:
    """Channels at 1/2, 1/4, 1/8 ... of the photo's size."""

    channels: tuple[int, ...] = (32, 64, 96, 96)

    @classmethod
    def parse(cls, channels: object, weights: Mapping[str, Tensor]) -> StudentConfig:
        """The config of a file; raises ValueError for anything but 2 to 8 counts up to 1024.

        The largest weights must be there, so that a few bytes do not ask for a gigabyte.
        """
        counts = channels if isinstance(channels, list | tuple) else ()
        if not 1 < len(counts) <= 8 or not all(type(n) is int and 0 < n <= 1024 for n in counts):
            raise ValueError("got other channels")
        for level, count in enumerate(counts):
            weight = weights.get(f"trunk.enc.{level}.conv0.weight")
            if weight is None or tuple(weight.shape) != (count, count, 3, 3):
                raise ValueError("got weights of other channels")
        return cls(tuple(counts))

    @property
    def multiple(self) -> int:
        """The network pads images to a multiple of so many px."""
        return int(2 ** len(self.channels))


class _Conv(nn.Conv2d):
    """A convolution with leaky ReLU, whose sides are padded by their own values."""

    def __init__(self, ins: int, outs: int, stride: int = 1, active: bool = True) -> None:
        super().__init__(ins, outs, 3, stride, 1)
        self.active = active
        gain = math.sqrt(2 / (1 + SLOPE**2)) if active else 1.0
        nn.init.normal_(self.weight, std=gain / math.sqrt(ins * 9))
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return functional.leaky_relu(x, SLOPE) if self.active else x


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = _Conv(channels, channels)
        self.conv1 = _Conv(channels, channels, active=False)
        with torch.no_grad():
            self.conv1.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv1(self.conv0(x))
        return out


class _Trunk(nn.Module):
    """From photos [N, 3, H, W] to features at half their size."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = _Conv(12, channels[0])
        self.enc = nn.ModuleList(_Residual(c) for c in channels)
        steps = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(_Conv(a, b, stride=2) for a, b in steps)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in steps)
        self.dec = nn.ModuleList(_Residual(c) for c in channels[:-1])

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(functional.pixel_unshuffle(images, 2))
        skips = []
        for level, block in enumerate(self.enc):
            x = block(x)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        for level in reversed(range(len(self.dec))):
            x = functional.interpolate(self.up[level](x), scale_factor=2.0, mode="nearest")
            x = self.dec[level](x + skips[level])
        features: Tensor = x
        return features


class _Head(nn.Module):
    """From features to drawings of twice the photo's size, with the photo's own edges."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = _Residual(channels)
        self.spread = _Conv(channels, 4 * FINE)
        self.fine = _Conv(FINE + 3, FINE)
        self.last = _Conv(FINE, 12, active=False)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        x = functional.pixel_shuffle(self.spread(self.block(features)), 2)
        x = self.last(self.fine(torch.cat([x, images], dim=1)))
        return functional.pixel_shuffle(x, 2)


class Student(nn.Module):
    """Redraws photos [N, 3, H, W] in [-1, 1] as drawings [N, 3, 2H, 2W], about -1 to 1.

    A face should be as large as in the crops that it learned from: 256 px in the template.
    """

    def __init__(self, config: StudentConfig | None = None) -> None:
        super().__init__()
        self.config = config or StudentConfig()
        self.trunk = _Trunk(self.config.channels)
        self.head = _Head(self.config.channels[0])

    def forward(self, images: Tensor, curve: Tensor | None = None) -> Tensor:
        """Draws images; `curve` is that of `tone_curve` for their faces, None to measure it."""
        return self.draw(even_light(images, tone_curve(images) if curve is None else curve))

    def draw(self, images: Tensor) -> Tensor:
        """Draws images whose light is even."""
        height, width = images.shape[2:]
        sides = [-size % self.config.multiple for size in (width, height)]
        padded = functional.pad(images, [0, sides[0], 0, sides[1]], mode="replicate")
        drawn: Tensor = self.head(self.trunk(padded), padded)
        return drawn[:, :, : 2 * height, : 2 * width]


@torch.no_grad()
def tone_curve(crops: Tensor) -> Tensor:
    """The tone curves [N, 3] that even out the light of crops [N, 3, H, W] of faces in [-1, 1].

    The luma that becomes `DARKEST` and its distance to the one that becomes `BRIGHTEST`, and the
    exponent that brings the median of the face to `MIDDLE`.
    """
    luma = luma_of((crops.float() + 1) / 2)  # quantiles have no half precision
    flat = luma.flatten(1)
    low, high = torch.quantile(flat[:, :: max(1, flat.shape[1] // 8192)],
                               torch.tensor([0.005, 0.99], device=flat.device), dim=1)  # fmt: skip
    span = (high - low).clamp(min=0.1)
    top, bottom = (round(part * crops.shape[2]) for part in FACE)
    left, right = (round(part * crops.shape[3]) for part in FACE)
    median = luma[:, 0, top:bottom, left:right].flatten(1).median(dim=1).values
    middle = ((median - low) / span).clamp(0.05, 0.95)
    exponent = math.log((MIDDLE - DARKEST) / (BRIGHTEST - DARKEST)) / middle.log()
    return torch.stack([low, span, exponent.clamp(*EXPONENTS)], dim=1)


def soften_curve(curve: Tensor, share: float) -> Tensor:
    """Tone curves [N, 3] that go only a share, 0 to 1, of the way."""
    low, span, exponent = curve.unbind(1)
    return torch.stack([share * low, 1 + share * (span - 1), exponent**share], dim=1)


def even_light(images: Tensor, curve: Tensor) -> Tensor:
    """Images [N, 3, H, W] in [-1, 1] through tone curves [N, 3]; hues stay.

    Colours as strong as those of skin become lighter with their luma, up to `MAX_GAIN`: beyond it
    they are noise. Stronger ones do so only as far as the whole photo is too dark: else a dark blue
    wall becomes a bright blue one. The rest of the light is added as grey.
    """
    low, span, exponent = curve.to(images).view(-1, 3, 1, 1, 1).unbind(1)
    rgb = (images + 1) / 2
    luma = luma_of(rgb)
    part = ((luma - low) / span).clamp(1e-4, 1.15)
    # A power by its logarithm: ONNX Runtime's power of two tensors does not compile on WebGPU.
    target = DARKEST + (BRIGHTEST - DARKEST) * (exponent * part.log()).exp()
    chroma = (rgb - luma).abs().amax(dim=1, keepdim=True)
    exposure = BRIGHTEST / (low + span).clamp(min=0.02)
    most = (STRONG * luma / chroma.clamp(min=1e-3)).maximum(exposure).clamp(1.0, MAX_GAIN)
    mild = (target / luma.clamp(min=0.02)).minimum(most)
    return (rgb * mild + (target - luma * mild)).clamp(0, 1) * 2 - 1


def luma_of(images: Tensor) -> Tensor:
    """The luma [N, 1, H, W] of RGB images [N, 3, H, W]."""
    weights = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)
