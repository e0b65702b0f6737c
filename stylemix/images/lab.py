"""Conversion between sRGB (D65) and CIE L*a*b*, and colour transfer between images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Linear sRGB to XYZ (IEC 61966-2-1).
_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
# The same, normalised to a white of (1, 1, 1), and back. Inverted here since ONNX has no such op.
_TO_WHITE = np.array(_TO_XYZ) / np.sum(_TO_XYZ, axis=1, keepdims=True)
_FROM_WHITE = np.linalg.inv(_TO_WHITE)
_KNEE = 6 / 29  # delta of the CIE definition, where the cube root becomes linear
_MAX_GAIN = 3.0  # of a* and b*, so that the noise of a grey style is not amplified


def to_lab(images: Tensor) -> Tensor:
    """Converts RGB images [N, 3, H, W] in [-1, 1] to L*, a*, b* [N, 3, H, W]; L* is 0 to 100."""
    rgb = (images.float().clamp(-1, 1) + 1) / 2
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(_TO_WHITE.tolist(), device=images.device)
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear)
    root = xyz.clamp(min=1e-9) ** (1 / 3)
    x, y, z = torch.where(xyz > _KNEE**3, root, xyz / (3 * _KNEE**2) + 4 / 29).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def from_lab(lab: Tensor) -> Tensor:
    """Converts L*, a*, b* [N, 3, H, W] to RGB images [N, 3, H, W] in [-1, 1], clipped to sRGB."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(f > _KNEE, f**3, 3 * _KNEE**2 * (f - 4 / 29))
    matrix = torch.tensor(_FROM_WHITE.tolist(), device=lab.device)
    linear = torch.einsum("ij,njhw->nihw", matrix, xyz).clamp(0, 1)
    power = 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, linear * 12.92, power) * 2 - 1


def keep_colors(
    images: Tensor, source: Tensor, face: Tensor, skin: Tensor, amount: float = 1.0
) -> Tensor:
    """Transfer the skin colours of `source` to images [N, C, H, W] in [-1, 1].

    Shifts mean and standard deviation of a* and b* within the mask `face` [N, 1, H, W] by `amount`
    (0 to 1) towards those of the source (Reinhard et al. 2001, "Color transfer between images"),
    and applies this within the mask `skin`. L* and grey images are unchanged.
    """
    if not amount or images.shape[1] == 1:
        return images
    lab, source_lab = to_lab(images[:, :3]), to_lab(source[:, :3])
    mean, std = _moments(lab[:, 1:], face)
    new_mean, new_std = _moments(source_lab[:, 1:], face)
    gain = (new_std / std.clamp(min=1e-6)).clamp(max=_MAX_GAIN)
    transferred = (lab[:, 1:] - mean) * gain + new_mean
    ab = lab[:, 1:].lerp(transferred, amount * skin.to(lab))
    changed = from_lab(torch.cat([lab[:, :1], ab], dim=1))
    # Adding the difference preserves the values outside sRGB of all other pixels.
    rgb = images[:, :3] + (changed - from_lab(lab))
    return torch.cat([rgb, images[:, 3:]], dim=1)


def _moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation [N, C, 1, 1] of values [N, C, H, W] within a mask."""
    total = mask.sum(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    mean = (values * mask).sum(dim=(2, 3), keepdim=True) / total
    variance = ((values - mean).square() * mask).sum(dim=(2, 3), keepdim=True) / total
    return mean, variance.sqrt()
