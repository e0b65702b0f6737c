"""Adaptive discriminator augmentation (ADA, Karras et al. 2020, arXiv 2006.06676, appendix B)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.ops import downsample2d, grid_sample, setup_filter, upsample2d

# Daubechies' least asymmetric wavelet of order 6: a sharp low-pass for resampling.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
HALF = len(SYM6) // 4  # its reach in pixels of the image that was doubled


@dataclass(frozen=True)
class AugmentPipe:
    """Strength of each augmentation, 0 for never; the probability of each is p times this."""

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
    xint_max: float = 0.125
    scale_std: float = 0.2
    aniso_std: float = 0.2
    xfrac_std: float = 0.125
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    saturation_std: float = 1.0
    sharp: bool = True  # resample with the sym6 filter at twice the size, else bilinear

    def __call__(self, images: Tensor, p: float) -> Tensor:
        """Augments images [N, 3, H, W] with overall probability `p`, from torch's random state.

        Differentiable twice in the images.
        """
        if p <= 0:
            return images
        images = self._warp(images, self._inverse_transform(images, p))
        return _recolour(images, self._colour_transform(images, p))

    def _inverse_transform(self, images: Tensor, p: float) -> Tensor:
        """[N, 3, 3] from output to input pixels, both measured from the centre."""
        n, _, h, w = images.shape
        chance = _Chance(n, p, images.device)
        inverse = chance.identity(3)
        flip = chance.choose(self.xflip, torch.randint(2, [n]).float(), 0)
        inverse = inverse @ _scale(1 - 2 * flip, torch.ones(n))
        turns = chance.choose(self.rotate90, torch.randint(4, [n]).float(), 0)
        inverse = inverse @ _rotate(turns * (math.pi / 2))
        shift = (torch.rand([n, 2]) * 2 - 1) * self.xint_max
        shift = chance.choose(self.xint, shift, 0)
        inverse = inverse @ _translate(-(shift[:, 0] * w).round(), -(shift[:, 1] * h).round())

        factor = chance.choose(self.scale, torch.exp2(torch.randn([n]) * self.scale_std), 1)
        inverse = inverse @ _scale(1 / factor, 1 / factor)
        # Two rotations around the stretch, together as likely as the other augmentations.
        half = 1 - math.sqrt(max(1 - p * self.rotate, 0))
        angle = (torch.rand([n]) * 2 - 1) * math.pi
        inverse = inverse @ _rotate(chance.choose_with(half, angle, 0))
        factor = chance.choose(self.aniso, torch.exp2(torch.randn([n]) * self.aniso_std), 1)
        inverse = inverse @ _scale(1 / factor, factor)
        angle = (torch.rand([n]) * 2 - 1) * math.pi
        inverse = inverse @ _rotate(chance.choose_with(half, angle, 0))
        shift = chance.choose(self.xfrac, torch.randn([n, 2]) * self.xfrac_std, 0)
        return inverse @ _translate(-shift[:, 0] * w, -shift[:, 1] * h)

    def _warp(self, images: Tensor, inverse: Tensor) -> Tensor:
        """Resamples at twice the size with a sharp low-pass, so that nothing is blurred.

        Without `sharp` at the size itself: a third of the cost, slightly soft for reals and fakes.
        """
        h, w = images.shape[2:]
        moved = (inverse - torch.eye(3)).abs().amax(dim=[1, 2]) > 1e-6
        if not bool(moved.any()):
            return images
        inverse = inverse[moved]
        left, right, top, bottom = _margins(inverse, w, h)
        x = F.pad(images[moved.to(images.device)], [left, right, top, bottom], mode="reflect")
        inverse = _translate((left - right) / 2, (top - bottom) / 2) @ inverse
        if not self.sharp:
            x = _sample(x, inverse, h, w)
            return x if bool(moved.all()) else _put(images, moved, x)
        sym6 = setup_filter(SYM6).to(images.device)
        x = upsample2d(x, sym6)
        inverse = _scale(2, 2) @ inverse @ _scale(0.5, 0.5)
        inverse = _translate(-0.5, -0.5) @ inverse @ _translate(0.5, 0.5)
        x = _sample(x, inverse, (h + HALF * 2) * 2, (w + HALF * 2) * 2)
        x = downsample2d(x, sym6, padding=-HALF * 2, flip_filter=True)
        return x if bool(moved.all()) else _put(images, moved, x)

    def _colour_transform(self, images: Tensor, p: float) -> Tensor:
        """[N, 4, 4] on (r, g, b, 1)."""
        n = images.shape[0]
        chance = _Chance(n, p, images.device)
        m = chance.identity(4)
        grey = torch.tensor([1.0, 1.0, 1.0, 0.0]) / math.sqrt(3)
        onto_grey = grey.outer(grey)
        offset = chance.choose(self.brightness, torch.randn([n]) * self.brightness_std, 0)
        shift = torch.eye(4).repeat(n, 1, 1)
        shift[:, :3, 3] = offset[:, None]
        m = shift @ m
        factor = torch.exp2(torch.randn([n]) * self.contrast_std)
        factor = chance.choose(self.contrast, factor, 1)
        diagonal = torch.stack([factor, factor, factor, torch.ones(n)], dim=1)
        m = diagonal.diag_embed() @ m
        flip = chance.choose(self.lumaflip, torch.randint(2, [n]).float(), 0)
        m = (torch.eye(4) - 2 * onto_grey * flip[:, None, None]) @ m
        angle = chance.choose(self.hue, (torch.rand([n]) * 2 - 1) * math.pi, 0)
        m = _rotate_about(grey[:3], angle) @ m
        factor = torch.exp2(torch.randn([n]) * self.saturation_std)
        factor = chance.choose(self.saturation, factor, 1)
        rest = torch.eye(4) - onto_grey
        return (onto_grey + rest * factor[:, None, None]) @ m


_BLIT = AugmentPipe(xflip=1, rotate90=1, xint=1)
_BG = replace(_BLIT, scale=1, rotate=1, aniso=1, xfrac=1)
PIPES = {
    "blit": _BLIT,
    "geom": AugmentPipe(scale=1, rotate=1, aniso=1, xfrac=1),
    "color": AugmentPipe(brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1),
    "bg": _BG,
    "bgc": replace(_BG, brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1),
}


@dataclass(frozen=True)
class _Chance:
    """Draws, per image, whether an augmentation happens; matrices are made on the CPU."""

    n: int
    p: float
    device: torch.device

    def identity(self, size: int) -> Tensor:
        return torch.eye(size).repeat(self.n, 1, 1)

    def choose(self, strength: float, value: Tensor, otherwise: float) -> Tensor:
        return self.choose_with(self.p * strength, value, otherwise)

    def choose_with(self, probability: float, value: Tensor, otherwise: float) -> Tensor:
        happens = torch.rand([self.n]) < probability
        shape = [self.n] + [1] * (value.ndim - 1)
        return torch.where(happens.view(shape), value, torch.full_like(value, otherwise))


def _margins(inverse: Tensor, w: int, h: int) -> tuple[int, int, int, int]:
    """Pixels of padding that the outermost corners of the output reach into."""
    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = torch.tensor([[-cx, -cy, 1], [cx, -cy, 1], [cx, cy, 1], [-cx, cy, 1]])
    reach = inverse @ corners.t()  # [N, 3, 4]
    x, y = reach[:, 0], reach[:, 1]
    sides = torch.stack([-x.min() - cx, x.max() - cx, -y.min() - cy, y.max() - cy])
    limit = torch.tensor([w - 1, w - 1, h - 1, h - 1])
    pads = (sides + 2 * HALF).ceil().clamp(min=0).minimum(limit)
    left, right, top, bottom = pads.int().tolist()
    return left, right, top, bottom


def _sample(x: Tensor, inverse: Tensor, out_h: int, out_w: int) -> Tensor:
    """Reads images x at `inverse` [N, 3, 3] of the pixels of an output of the given size."""
    inverse = _scale(2 / x.shape[3], 2 / x.shape[2]) @ inverse @ _scale(out_w / 2, out_h / 2)
    size = [x.shape[0], x.shape[1], out_h, out_w]
    return grid_sample(x, F.affine_grid(inverse[:, :2].to(x), size, align_corners=False))


def _put(images: Tensor, where: Tensor, x: Tensor) -> Tensor:
    """`images` with those at the mask `where` [N] replaced by `x`."""
    return images.index_copy(0, where.nonzero()[:, 0].to(images.device), x)


def _recolour(images: Tensor, m: Tensor) -> Tensor:
    n, c, h, w = images.shape
    m = m.to(images)
    if c == 1:  # a grey picture keeps what the transform does to grey
        mean = m[:, :3].mean(dim=1, keepdim=True)
        return images * mean[:, :, :3].sum(dim=2, keepdim=True)[..., None] + mean[:, :, 3:, None]
    flat = m[:, :3, :3] @ images.reshape(n, c, h * w) + m[:, :3, 3:]
    return flat.reshape(n, c, h, w)


Number = Tensor | float


def _matrix(rows: list[list[Number]]) -> Tensor:
    """3x3 matrices [N, 3, 3] (or [3, 3]) from entries that are numbers or tensors [N]."""
    tensors = torch.broadcast_tensors(
        *[torch.as_tensor(v, dtype=torch.float32) for row in rows for v in row]
    )
    flat = torch.stack(list(tensors), dim=-1)
    return flat.reshape(*flat.shape[:-1], 3, 3)


def _translate(x: Number, y: Number) -> Tensor:
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _scale(x: Number, y: Number) -> Tensor:
    return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def _rotate(angle: Tensor) -> Tensor:
    c, s = angle.cos(), angle.sin()
    return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def _rotate_about(axis: Tensor, angle: Tensor) -> Tensor:
    """Rodrigues' rotation about a unit axis [3] by angles [N], as [N, 4, 4]."""
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    out = torch.eye(4).repeat(len(angle), 1, 1)
    out[:, :3, :3] = torch.eye(3) * c + cross * s + axis.outer(axis) * (1 - c)
    return out
