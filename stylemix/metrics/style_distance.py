"""Distances of images from a style, by channel statistics of a frozen network's features.

Means and standard deviations of channels, as in AdaIN (arXiv 1703.06868), depend less on the
content of an image than on its style.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.images.tensors import bring_within
from stylemix.metrics.mobilenet import feature_maps
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import sample_ws

SAMPLE_COUNT = 256  # generated faces that give the spread
CHUNK = 32  # images at a time
IN_CACHE = 8  # images of 256 px at a time: the maps of more leave a processor's cache
STAGES = (1, 3, 6, 13)  # of MobileNetV2
JUDGED_SIDE = 256  # px in which avatars are compared with a style: smaller ones show no strokes
JUDGED_WIDTH = 2 * (16 + 24 + 32 + 96)  # of `image_statistics`


def channel_statistics(maps: Sequence[Tensor]) -> list[Tensor]:
    """Returns means and standard deviations of channels [N, 2 C] for each map [N, C, h, w]."""
    return [torch.cat([m.mean(dim=(2, 3)), m.std(dim=(2, 3))], dim=1) for m in maps]


class StyleMeter:
    """Measures looks of images of one model, in units of the spread over faces that it generates.

    Features are those of its discriminator, or of MobileNetV2 for one of 4 px, which has no blocks.
    """

    @torch.no_grad()
    def __init__(self, model: Model, count: int = SAMPLE_COUNT) -> None:
        self.model = model
        generator = model.generator
        rng = torch.Generator().manual_seed(0)
        parts = []
        for start in range(0, count, CHUNK):
            ws = sample_ws(generator, min(CHUNK, count - start), rng)
            for some in ws.split(batch_size(generator, CHUNK)):
                parts.append(self._statistics(generator.synthesis(some, noise_mode="const")))
        stages = [torch.cat(stage) for stage in zip(*parts, strict=True)]
        self.scales = [stage.std(dim=0).clamp(min=1e-4) for stage in stages]

    def _statistics(self, images: Tensor) -> list[Tensor]:
        network = self.model.discriminator
        assert network is not None
        return channel_statistics(network.features(images) or feature_maps(images))

    def rows(self, images: Tensor) -> Tensor:
        """Returns statistics [N, S] of images [N, C, H, W] in [-1, 1], with equal weight per stage.

        The squared norm of a difference is the mean over stages and channels of squared differences
        in units of the spread. Differentiable.
        """
        stages = self._statistics(images)
        scaled = [s / c * s.shape[1] ** -0.5 for s, c in zip(stages, self.scales, strict=True)]
        rows: Tensor = torch.cat(scaled, dim=1) * len(stages) ** -0.5
        return rows

    @torch.no_grad()
    def describe(self, images: Tensor) -> Tensor:
        """Returns `rows` of any number of images, without gradients."""
        return torch.cat([self.rows(part) for part in images.split(CHUNK)])

    def look(self, images: Tensor) -> Tensor:
        """Returns the look [S] of images [K, C, H, W], the mean of their statistics."""
        return self.describe(images).mean(dim=0)


def style_distance(rows: Tensor, look: Tensor) -> Tensor:
    """Returns the squared distance [...] of statistics [..., S] from a look [S]."""
    distance: Tensor = (rows - look).square().sum(dim=-1)
    return distance


@torch.no_grad()
def image_statistics(images: Tensor) -> Tensor:
    """Returns channel statistics [N, S] of MobileNetV2 features of each image [N, C, H, W].

    Images in [-1, 1] are compared in 256 px, whatever their size. The statistics of each stage have
    unit length, whatever its number of channels, and all have the same weight.
    """
    rows = []
    for part in images.split(IN_CACHE):
        large = bring_within(part, JUDGED_SIDE, JUDGED_SIDE)
        stages = channel_statistics(feature_maps(large, STAGES))
        rows.append(torch.cat([F.normalize(stage, dim=1) for stage in stages], dim=1))
    return torch.cat(rows)


def style_statistics(images: Tensor) -> Tensor:
    """Returns channel statistics of MobileNetV2 features of images [N, C, H, W], as one vector.

    The statistics of each stage are normalised to unit length, whatever its number of channels.
    """
    parts = [channel_statistics(feature_maps(part, STAGES)) for part in images.split(IN_CACHE)]
    stages = [torch.cat(stage).mean(dim=0) for stage in zip(*parts, strict=True)]
    return torch.cat([F.normalize(stage, dim=0) for stage in stages])
