"""Perceptual path length (StyleGAN, arXiv 1812.04948, section 4.1).

With the settings of StyleGAN2: in w, at the endpoints of paths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.images.tensors import as_rgb
from stylemix.metrics.distances import Array
from stylemix.metrics.extractors import ImageSet, feature_input, map_with_labels
from stylemix.metrics.mobilenet import load_feature_network
from stylemix.networks.generator import Generator
from stylemix.progress import track

EPSILON = 1e-4  # the step, in fractions of the distance between both w
TRIM = 1  # per cent of lengths that are excluded at either end

Distance = Callable[[Tensor, Tensor], Tensor]


def feature_map_distance(a: Tensor, b: Tensor) -> Tensor:
    """Returns squared distances [N] of images [N, C, H, W] in [-1, 1] on five maps of MobileNetV2.

    As in LPIPS without learned weights (arXiv 1801.03924): the channels are normalised to unit
    length at each pixel; squared differences are averaged over pixels and summed over maps.
    """
    network = load_feature_network(str(a.device))
    maps = (network.maps(feature_input(as_rgb(images))) for images in (a, b))
    distance = torch.zeros(len(a), device=a.device)
    for map_a, map_b in zip(*maps, strict=True):
        difference = F.normalize(map_a, dim=1) - F.normalize(map_b, dim=1)
        distance += difference.square().sum(dim=1).mean(dim=(1, 2))
    return distance


@torch.no_grad()
def path_lengths(
    generator: Generator,
    seeds: Sequence[int],
    distance: Distance = feature_map_distance,
    batch: int = 16,
    reals: ImageSet | None = None,
    show: bool = False,
) -> Array:
    """Returns path lengths [N] in w, one per seed: `distance` over the squared step.

    A seed determines both endpoints z of its path, the first as in `z_from_seed`, and their common
    label from `reals`.
    """
    lengths = []
    starts = range(0, len(seeds), batch)
    for start in track(starts, "Paths", len(starts), show=show):
        part = seeds[start : start + batch]
        ends = [np.random.RandomState(seed).randn(2, generator.z_dim) for seed in part]
        first, second = (
            map_with_labels(generator, z, part, reals)
            for z in torch.from_numpy(np.stack(ends)).unbind(1)
        )
        images = [
            generator.synthesis(ws, noise_mode="const")
            for ws in (first, first.lerp(second, EPSILON))
        ]
        lengths.append(distance(*images).double().cpu() / EPSILON**2)
    return np.asarray(torch.cat(lengths).numpy())


def mean_path_length(lengths: Array) -> float:
    """Returns the mean of path lengths [N] between their 1st and 99th percentile."""
    low = np.percentile(lengths, TRIM, method="lower")
    high = np.percentile(lengths, 100 - TRIM, method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())
