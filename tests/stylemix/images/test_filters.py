"""Filters compared with SciPy."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from stylemix.images.filters import gaussian_blur, mirrored_blur


def test_gaussian_blur_agrees_with_scipy():
    images = torch.rand([2, 3, 20, 16], generator=torch.Generator().manual_seed(0)).double()
    expected = gaussian_filter(images.numpy(), (0, 0, 1.5, 1.5), radius=(0, 0, 5, 5))
    blurred = gaussian_blur(images, 1.5, 5)
    assert blurred.shape == (2, 3, 10, 6)
    assert np.abs(blurred.numpy() - expected[:, :, 5:-5, 5:-5]).max() < 1e-12


def test_mirrored_blur_agrees_with_scipy():
    images = torch.rand([1, 2, 20, 16], generator=torch.Generator().manual_seed(0)).double()
    expected = gaussian_filter(images.numpy(), (0, 0, 1.5, 1.5), mode="mirror", truncate=2.67)
    assert np.abs(mirrored_blur(images, 1.5).numpy() - expected).max() < 1e-12
    assert mirrored_blur(images, 40.0).shape == images.shape  # wider than the image
