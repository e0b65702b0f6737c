"""Filters against SciPy's."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from stylemix.images.filters import gaussian_blur


def test_a_blur_is_that_of_scipy_where_the_window_fits():
    images = torch.rand([2, 3, 20, 16], generator=torch.Generator().manual_seed(0)).double()
    wanted = gaussian_filter(images.numpy(), (0, 0, 1.5, 1.5), radius=(0, 0, 5, 5))
    found = gaussian_blur(images, 1.5, 5)
    assert found.shape == (2, 3, 10, 6)
    assert np.abs(found.numpy() - wanted[:, :, 5:-5, 5:-5]).max() < 1e-12
