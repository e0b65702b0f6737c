"""Features of a picture from MobileNetV2 (Sandler et al. 2018), and the Frechet distance on them.

The weights are torchvision's IMAGENET1K_V1, feature part only. Distances here are named after
this network: they are neither FID nor LPIPS and compare only with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.faces import load_weights

Array = NDArray[np.float64]

CHANNELS = 1280  # of the pooled features
FEATURE_SIZE = 224  # pixels a side that the network was trained on; Frechet distances use it
SMALLEST_SIDE = 32  # below that the last stages see one pixel
# Blocks whose first convolution halves the picture, and the stem.
STRIDED = (0, 2, 4, 7, 14)
# The last block at each size: 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture's side, with 16, 24,
# 32, 96 and 320 channels.
STAGES = (1, 3, 6, 13, 17)
LAST_BLOCK = 18
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Block(nn.Module):
    """An inverted residual: widen, filter each channel by itself, narrow without activation."""

    def __init__(self, weights: dict[str, Tensor], index: int) -> None:
        super().__init__()
        kinds = [name for name in weights if name.startswith(f"{index}.") and "weight" in name]
        self.steps = len(kinds)
        self.linear = 0 < index < LAST_BLOCK
        self.stride = 2 if index in STRIDED else 1
        for step in range(self.steps):
            for kind in ("weight", "bias"):
                self.register_buffer(f"{kind}{step}", weights[f"{index}.{step}.{kind}"].float())

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C', H', W']."""
        y = x
        for step in range(self.steps):
            weight, bias = self.get_buffer(f"weight{step}"), self.get_buffer(f"bias{step}")
            spatial = weight.shape[2] > 1
            groups = y.shape[1] // weight.shape[1]
            stride = self.stride if spatial else 1
            y = functional.conv2d(y, weight, bias, stride, weight.shape[2] // 2, groups=groups)
            if not (self.linear and step == self.steps - 1):
                y = functional.relu6(y)
        return x + y if self.linear and x.shape == y.shape else y


class FeatureNetwork(nn.Module):
    """MobileNetV2 without its classifier; batch normalisation is folded into the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights = load_weights("mobilenet_v2")
        self.blocks = nn.ModuleList(Block(weights, index) for index in range(LAST_BLOCK + 1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def maps(self, images: Tensor, stages: Sequence[int] = STAGES) -> list[Tensor]:
        """Outputs of the blocks `stages` (0 to 18), for images [N, 3, H, W] in [-1, 1].

        Raises StylemixError for images under 32 pixels and for other shapes or stages.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_SIDE:
            raise StylemixError(
                f"got images of shape {list(images.shape)}; expected [N, 3, H, W] with sides of "
                f"{SMALLEST_SIDE} or more; enlarge them first"
            )
        if not stages or min(stages) < 0 or max(stages) > LAST_BLOCK:
            raise StylemixError(
                f"got feature stages {list(stages)}; expected numbers from 0 to {LAST_BLOCK}; "
                "leave them out for the usual five"
            )
        x = ((images.float() + 1) / 2 - self.mean) / self.std
        found: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(stages) + 1]):
            x = block(x)
            if index in stages:
                found[index] = x
        return [found[index] for index in stages]

    def pooled(self, images: Tensor) -> Tensor:
        """Mean features [N, 1280] of images [N, 3, H, W] in [-1, 1], best at `FEATURE_SIZE`."""
        return self.maps(images, (LAST_BLOCK,))[0].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Same as `pooled`."""
        return self.pooled(images)


def load_feature_network(device: str | torch.device = "cpu") -> FeatureNetwork:
    """The network, loaded once for each device, in evaluation mode and without gradients."""
    return _cached(str(device))


@lru_cache(maxsize=2)
def _cached(device: str) -> FeatureNetwork:
    return FeatureNetwork().eval().requires_grad_(False).to(device)


class FeatureStatistics:
    """Mean and covariance of feature vectors, gathered batch by batch in float64."""

    def __init__(self, size: int = CHANNELS) -> None:
        self.count = 0
        self._shift: Array | None = None  # the first batch's mean: keeps the sums small
        self._sum: Array = np.zeros(size)
        self._products: Array = np.zeros((size, size))

    def add(self, features: Tensor | Array) -> None:
        """Take a batch [N, size] in; StylemixError for NaN, infinities or another size."""
        if isinstance(features, Tensor):
            features = features.detach().double().cpu().numpy()
        batch = np.asarray(features, dtype=np.float64)
        if batch.ndim != 2 or batch.shape[1] != len(self._sum) or not np.isfinite(batch).all():
            raise StylemixError(
                f"got features of shape {list(batch.shape)} (or not finite); expected finite "
                f"numbers of shape [N, {len(self._sum)}]; use one feature network throughout"
            )
        if not len(batch):
            return
        if self._shift is None:
            self._shift = batch.mean(axis=0)
        batch = batch - self._shift
        self.count += len(batch)
        self._sum += batch.sum(axis=0)
        self._products += batch.T @ batch

    @property
    def mean(self) -> Array:
        """The mean [size]."""
        shift = self._checked(1)
        return shift + self._sum / self.count

    @property
    def covariance(self) -> Array:
        """The unbiased covariance [size, size]; needs two vectors."""
        self._checked(2)
        outer = np.outer(self._sum, self._sum) / self.count
        return (self._products - outer) / (self.count - 1)

    def _checked(self, least: int) -> Array:
        if self._shift is None or self.count < least:
            raise StylemixError(
                f"got {self.count} pictures for statistics; expected {least} or more; add pictures"
            )
        return self._shift


def frechet_distance(mean1: Array, covariance1: Array, mean2: Array, covariance2: Array) -> float:
    """Squared Frechet distance of two Gaussians (Dowson & Landau 1982).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with means [K] and covariances [K, K]. The trace
    of the root comes from symmetric eigenproblems, which stay real where C1 C2 is singular.
    """
    root = _symmetric_root(covariance1)
    eigenvalues = np.linalg.eigvalsh(root @ covariance2 @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    distance = np.sum((mean1 - mean2) ** 2)
    distance += np.trace(covariance1) + np.trace(covariance2) - 2 * cross
    return float(max(distance, 0.0))


def _symmetric_root(matrix: Array) -> Array:
    """The symmetric root [K, K] of a positive semidefinite matrix [K, K]."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
