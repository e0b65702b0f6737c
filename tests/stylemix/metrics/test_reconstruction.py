"""PSNR and MS-SSIM compared with their definitions and another implementation."""

import pytest
import torch
import torch.nn.functional as F

from stylemix.metrics.reconstruction import ms_ssim, psnr


def noisy_pair(height, width):
    draw = torch.Generator().manual_seed(0)
    x = F.avg_pool2d(torch.rand(2, 3, height, width, generator=draw).double(), 5, 1, 2)
    y = (x + 0.1 * torch.randn(x.shape, generator=draw).double()).clamp(0, 1)
    return x * 2 - 1, y * 2 - 1


def test_psnr_values():
    x = torch.zeros(2, 3, 8, 8)
    y = x.clone()
    y[0] += 0.2  # .1 of values from 0 to 1: 20 dB
    y[1] += 0.02
    assert psnr(x, y).tolist() == pytest.approx([20, 40], abs=1e-3)


def test_ms_ssim_values():
    """Figures of the package pytorch-msssim 1.0.0 for the same images."""
    x, y = noisy_pair(192, 200)
    assert ms_ssim(y, x).tolist() == pytest.approx([0.7941, 0.7959], abs=3e-4)


def test_ms_ssim_of_small_images_uses_fewer_scales():
    x, y = noisy_pair(64, 64)
    assert ms_ssim(x, x).tolist() == pytest.approx([1, 1])
    assert ms_ssim(x, 1 - x).max() < 0.1
    assert 0.5 < ms_ssim(y, x).min() < 0.9
    worse = x + 2 * (y - x)
    assert (ms_ssim(worse, x) < ms_ssim(y, x)).all()
