"""Adaptive discriminator augmentation (ADA, Karras et al. 2020, arXiv 2006.06676, appendix B).

This module samples the transform of each image; the other modules of the package apply it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stylemix.errors import StylemixError, check_range
from stylemix.training.augment.color import add, flip_luma, multiply, recolor, rotate_hue, saturate
from stylemix.training.augment.corruption import add_noise, cut_out
from stylemix.training.augment.filters import BAND_POWER, filter_bands
from stylemix.training.augment.geometry import rotate, scale, translate, warp

MIN_SIDE = 4  # px; the resampling filter reaches over three


@dataclass(frozen=True)
class AugmentPipe:
    """Strength of each augmentation, 0 to disable it; its probability is p times this."""

    xflip: float = 0
    rotate90: float = 0
    xint: float = 0
    scale: float = 0
    rotate: float = 0
    aniso: float = 0
    xfrac: float = 0
    brightness: float = 0
    contrast: float = 0
    lumaflip: float = 0
    hue: float = 0
    saturation: float = 0
    imgfilter: float = 0
    noise: float = 0
    cutout: float = 0
    xint_max: float = 0.125  # fraction of the width and of the height
    scale_std: float = 0.2  # of log2, as for the other factors
    aniso_std: float = 0.2
    xfrac_std: float = 0.125
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    saturation_std: float = 1.0
    imgfilter_bands: tuple[float, float, float, float] = (1, 1, 1, 1)  # strengths, from low to high
    imgfilter_std: float = 1.0
    noise_std: float = 0.1
    cutout_size: float = 0.5  # fraction of the width and of the height
    sharp: bool = True  # resample with the sym6 filter at twice the size, else bilinear

    def __call__(self, images: Tensor, p: float, part: tuple[int, int] | None = None) -> Tensor:
        """Augments images [N, 1, 3 or 4, H, W] independently; twice differentiable.

        The fourth channel is alpha: only geometric transforms and cutout change it.

        Args:
            images: floating point values in [-1, 1].
            p: overall probability. 0 returns the images unchanged and uses no random numbers.
            part: (start, total) where these are images start to start + N of a batch of `total`;
                the result then equals that of the whole batch, from the same random state.

        Random numbers come from torch's CPU generator on every device.
        """
        start, total = part or (0, len(images))
        _check(images, p, start, total)
        if p == 0:
            return images
        if images.dtype in (torch.float16, torch.bfloat16):  # too coarse for resampling
            return self(images.float(), p, part).to(images.dtype)
        own = slice(start, start + len(images))
        chance, (h, w) = _Chance(total, p), images.shape[2:]
        if self._has("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"):
            images = warp(images, self._inverse_transform(chance, h, w)[own], self.sharp)
        if self._has("brightness", "contrast", "lumaflip", "hue", "saturation"):
            images = recolor(images, self._color_transform(chance)[own])
        if self.imgfilter:
            images = filter_bands(images, self._band_gains(chance)[own])
        if self.noise:
            std = chance.choose(self.noise, torch.randn([total]).abs() * self.noise_std, 0)
            images = add_noise(images, std[own], torch.randint(2**62, [total])[own])
        if self.cutout:
            size = chance.choose(self.cutout, torch.full([total], self.cutout_size), 0)
            images = cut_out(images, torch.rand([total, 2])[own], size[own])
        return images

    def _has(self, *names: str) -> bool:
        return any(getattr(self, name) for name in names)

    def _inverse_transform(self, chance: _Chance, h: int, w: int) -> Tensor:
        """Returns [N, 3, 3] from output to input pixels, both measured from the centre."""
        n = chance.count
        flip = chance.choose(self.xflip, torch.randint(2, [n]).float(), 0)
        inverse = scale(1 - 2 * flip, torch.ones(n))
        quarters = chance.choose(self.rotate90, torch.randint(4, [n]).float(), 0)
        if h != w:  # rotations by 180 degrees preserve the size
            quarters = (quarters / 2).floor() * 2
        inverse = inverse @ rotate(quarters * (math.pi / 2))
        shift = (torch.rand([n, 2]) * 2 - 1) * self.xint_max
        shift = chance.choose(self.xint, shift, 0)
        inverse = inverse @ translate(-(shift[:, 0] * w).round(), -(shift[:, 1] * h).round())

        factor = chance.choose(self.scale, torch.exp2(torch.randn([n]) * self.scale_std), 1)
        inverse = inverse @ scale(1 / factor, 1 / factor)
        # Rotations before and after the anisotropic scaling, together as likely as the others.
        half = 1 - math.sqrt(max(1 - chance.p * self.rotate, 0))
        angle = (torch.rand([n]) * 2 - 1) * math.pi
        inverse = inverse @ rotate(chance.choose_with(half, angle, 0))
        factor = chance.choose(self.aniso, torch.exp2(torch.randn([n]) * self.aniso_std), 1)
        inverse = inverse @ scale(1 / factor, factor)
        angle = (torch.rand([n]) * 2 - 1) * math.pi
        inverse = inverse @ rotate(chance.choose_with(half, angle, 0))
        shift = chance.choose(self.xfrac, torch.randn([n, 2]) * self.xfrac_std, 0)
        return inverse @ translate(-shift[:, 0] * w, -shift[:, 1] * h)

    def _color_transform(self, chance: _Chance) -> Tensor:
        """Returns [N, 4, 4] on (r, g, b, 1)."""
        n = chance.count
        offset = chance.choose(self.brightness, torch.randn([n]) * self.brightness_std, 0)
        m = add(offset)
        factor = torch.exp2(torch.randn([n]) * self.contrast_std)
        m = multiply(chance.choose(self.contrast, factor, 1)) @ m
        flip = chance.choose(self.lumaflip, torch.randint(2, [n]).float(), 0)
        m = flip_luma(flip) @ m
        angle = chance.choose(self.hue, (torch.rand([n]) * 2 - 1) * math.pi, 0)
        m = rotate_hue(angle) @ m
        factor = torch.exp2(torch.randn([n]) * self.saturation_std)
        return saturate(chance.choose(self.saturation, factor, 1)) @ m

    def _band_gains(self, chance: _Chance) -> Tensor:
        """Returns [N, 4]: each band is amplified in turn, at constant expected image power."""
        n = chance.count
        power = torch.tensor(BAND_POWER)
        gains = torch.ones([n, 4])
        for band, strength in enumerate(self.imgfilter_bands):
            factor = torch.exp2(torch.randn([n]) * self.imgfilter_std)
            factors = torch.ones([n, 4])
            factors[:, band] = chance.choose(self.imgfilter * strength, factor, 1)
            gains = gains * factors / (factors.square() * power).sum(dim=1, keepdim=True).sqrt()
        return gains


def _check(images: Tensor, p: float, start: int, total: int) -> None:
    check_range("augmentation probability", p, 0, 1)
    shape = list(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3, 4) or min(shape[2:]) < MIN_SIDE:
        raise StylemixError(
            f"got images of shape {shape}; expected [N, C, H, W] with 1, 3 or 4 channels "
            f"and at least {MIN_SIDE} px a side"
        )
    if not 0 <= start <= start + len(images) <= total:
        raise StylemixError(
            f"got {len(images)} images as part ({start}, {total}); "
            f"expected start + {len(images)} to be at most the total"
        )


@dataclass(frozen=True)
class _Chance:
    """Samples for each of `count` images whether an augmentation is applied."""

    count: int
    p: float

    def choose(self, strength: float, value: Tensor, otherwise: float) -> Tensor:
        return self.choose_with(self.p * strength, value, otherwise)

    def choose_with(self, probability: float, value: Tensor, otherwise: float) -> Tensor:
        applied = torch.rand([self.count]) < probability
        shape = [self.count] + [1] * (value.ndim - 1)
        return torch.where(applied.view(shape), value, torch.full_like(value, otherwise))


_BLIT = AugmentPipe(xflip=1, rotate90=1, xint=1)
_BG = replace(_BLIT, scale=1, rotate=1, aniso=1, xfrac=1)
_BGC = replace(_BG, brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1)
PIPES = {
    "blit": _BLIT,
    "geom": AugmentPipe(scale=1, rotate=1, aniso=1, xfrac=1),
    "color": AugmentPipe(brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1),
    "filter": AugmentPipe(imgfilter=1),
    "noise": AugmentPipe(noise=1),
    "cutout": AugmentPipe(cutout=1),
    "bg": _BG,
    "bgc": _BGC,
    "bgcf": replace(_BGC, imgfilter=1),
    "bgcfn": replace(_BGC, imgfilter=1, noise=1),
    "bgcfnc": replace(_BGC, imgfilter=1, noise=1, cutout=1),
    # R3GAN (Huang et al. 2024, arXiv 2501.05441): colours half as often, and cutout.
    "r3": replace(
        _BG, brightness=0.5, contrast=0.5, lumaflip=0.5, hue=0.5, saturation=0.5, cutout=1
    ),
}
