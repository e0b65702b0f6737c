"""Metrics of reconstructions: PSNR and MS-SSIM."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.images.filters import gaussian_blur

WINDOW, SIGMA = 11, 1.5  # px, size and standard deviation of the Gaussian window
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of the scales, finest first
K1, K2 = 0.01, 0.03


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Returns the peak signal-to-noise ratio [N] in dB of images [N, C, H, W] in [-1, 1]."""
    mse = (images - targets).square().mean(dim=(1, 2, 3)) / 4  # of values in [0, 1]
    return -10 * mse.clamp(min=1e-10).log10()


def ms_ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Returns the multi-scale structural similarity [N] of images [N, C, H, W] in [-1, 1].

    (Wang et al. 2003.) Images under 176 px use fewer scales, with weights normalised to a sum of
    one, so values are comparable for one size only.
    """
    x, y = (images.double() + 1) / 2, (targets.double() + 1) / 2
    used = SCALES[: sum(min(x.shape[2:]) // 2**i >= WINDOW for i in range(len(SCALES)))]
    total = torch.ones(x.shape[:2], dtype=x.dtype, device=x.device)
    for i, weight in enumerate(used):
        ssim, contrast = _ssim(x, y)
        last = i == len(used) - 1
        total = total * (ssim if last else contrast).clamp(min=0) ** (weight / sum(used))
        x, y = (F.avg_pool2d(v, 2, padding=[s % 2 for s in v.shape[2:]]) for v in (x, y))
    mean: Tensor = total.mean(dim=1).float()
    return mean


def _ssim(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Returns SSIM and its contrast term, averaged over the image, [N, C] each."""

    def blur(v: Tensor) -> Tensor:
        return gaussian_blur(v, SIGMA, WINDOW // 2)

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x.square(), blur(y * y) - mean_y.square()
    covariance = blur(x * y) - mean_x * mean_y
    contrast = (2 * covariance + K2**2) / (var_x + var_y + K2**2)
    luminance = (2 * mean_x * mean_y + K1**2) / (mean_x.square() + mean_y.square() + K1**2)
    return (luminance * contrast).mean(dim=(2, 3)), contrast.mean(dim=(2, 3))
