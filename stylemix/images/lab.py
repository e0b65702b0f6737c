"""Colours in CIE L*a*b*, of sRGB under D65: there, back, and from one image to another."""

from __future__ import annotations

import torch
from torch import Tensor

# Linear sRGB to XYZ (IEC 61966-2-1).
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_KNEE = 6 / 29
_MOST_GAIN = 3.0  # of the spread of colours: where a style has none, noise would be amplified


def _to_white(like: Tensor) -> Tensor:
    """The matrix [3, 3] to XYZ in which white is 1, 1, 1."""
    matrix = torch.tensor(_TO_XYZ, device=like.device)
    return matrix / matrix.sum(dim=1, keepdim=True)


def to_lab(images: Tensor) -> Tensor:
    """L*, a* and b* [N, 3, H, W] of RGB images [N, 3, H, W] in [-1, 1]; L* is 0 to 100."""
    rgb = (images.float().clamp(-1, 1) + 1) / 2
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("ij,njhw->nihw", _to_white(images), linear)
    root = xyz.clamp(min=1e-9) ** (1 / 3)
    x, y, z = torch.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def from_lab(lab: Tensor) -> Tensor:
    """RGB images [N, 3, H, W] in [-1, 1] of L*, a* and b* [N, 3, H, W]; what sRGB lacks is cut."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29))
    linear = torch.einsum("ij,njhw->nihw", torch.linalg.inv(_to_white(lab)), xyz).clamp(0, 1)
    power = 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, power) * 2 - 1


def keep_colors(
    images: Tensor, source: Tensor, face: Tensor, skin: Tensor, amount: float = 1.0
) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] that get the hues of `source` where skin [N, 1, H, W] is 1.

    Mean and spread of a* and b* within the face [N, 1, H, W] go to those of the source by `amount`,
    0 to 1 (Reinhard et al. 2001, "Color transfer between images"), and all skin with them;
    lightness stays. Grey has no hues.
    """
    if not amount or images.shape[1] == 1:
        return images
    lab, wanted = to_lab(images[:, :3]), to_lab(source[:, :3])
    mean, spread = _moments(lab[:, 1:], face)
    new_mean, new_spread = _moments(wanted[:, 1:], face)
    gain = (new_spread / spread.clamp(min=1e-6)).clamp(max=_MOST_GAIN)
    moved = (lab[:, 1:] - mean) * gain + new_mean
    hues = lab[:, 1:].lerp(moved, amount * skin.to(lab))
    changed = from_lab(torch.cat([lab[:, :1], hues], dim=1))
    # Only where something is to change, so that the rest keeps even what sRGB cannot show.
    rgb = images[:, :3] + (changed - from_lab(lab))
    return torch.cat([rgb, images[:, 3:]], dim=1)


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [N, C, 1, 1] of values [N, C, H, W] within a mask."""
    total = mask.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    mean = (values * mask).sum(dim=(2, 3), keepdim=True) / total
    variance = ((values - mean).square() * mask).sum(dim=(2, 3), keepdim=True) / total
    return mean, variance.sqrt()
