"""The loss of a look: statistics of generated faces against those of its images.

A look is the difference of statistics between the images and the generator's faces: colours over
the face, and means and deviations of features, as in arbitrary style transfer (arXiv 1703.06868).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.metrics.mobilenet import SMALLEST_SIDE, feature_maps
from stylemix.metrics.style_distance import StyleMeter, style_distance
from stylemix.models.model import Model
from stylemix.training.adapt.regularizers import identity_difference

STAGES = (1, 3, 6)  # early stages of MobileNetV2: textures and colours, not content
COMPARED_FACES = 2  # images of a batch whose identity is compared


@dataclass(frozen=True)
class LookSettings:
    """Steps, rates and weights; measured in docs/log.md.

    Attributes:
        part: parameters that are trained, one of `trainable.PARTS`.
        lr: learning rate of offsets and toRGB layers.
        weight_lr: learning rate of all other weights.
        sparse: share of the offsets that is kept, the largest of each layer.
        critic_weight: weight of the frozen discriminator's statistics.
        held_out: whether some images are held out to choose the best step.
    """

    steps: int = 250
    batch: int = 8
    part: str = "offsets"
    lr: float = 0.02
    weight_lr: float = 0.002
    sparse: float = 1.0
    color_weight: float = 10.0
    map_weight: float = 10.0
    texture_weight: float = 0.3
    critic_weight: float = 0.2
    structure_weight: float = 3.0
    identity_weight: float = 2.0
    size_weight: float = 0.002
    psi: float = 0.8
    held_out: bool = True
    seed: int = 0


@dataclass
class Statistics:
    """Statistics as means over images: colours, their positions, early features."""

    color: Tensor  # [3]
    color_products: Tensor  # [3, 3], of two channels each
    face_map: Tensor  # [3, m, m], colours over the face
    features: list[Tensor]  # [C]: means of each stage, then deviations of each stage

    @property
    def covariance(self) -> Tensor:
        """Covariance of the colours [3, 3]."""
        return self.color_products - self.color.outer(self.color)


def statistics(images: Tensor, cells: int) -> Statistics:
    """Returns statistics of images [N, 3, H, H] in [-1, 1]; differentiable."""
    pixels = images.permute(1, 0, 2, 3).flatten(1)
    maps = feature_maps(images, STAGES, smallest=SMALLEST_SIDE)
    return Statistics(
        pixels.mean(dim=1),
        pixels @ pixels.t() / pixels.shape[1],
        F.adaptive_avg_pool2d(images, cells).mean(dim=0),
        [m.mean(dim=(0, 2, 3)) for m in maps] + [m.std(dim=(2, 3)).mean(dim=0) for m in maps],
    )


@torch.no_grad()
def gather(batches: Iterable[Tensor], cells: int) -> Statistics:
    """Returns statistics of any number of images, given in batches [n, 3, H, H]."""
    counts, results = [], []
    for batch in batches:
        counts.append(len(batch))
        results.append(statistics(batch, cells))

    def mean(values: Iterable[Tensor]) -> Tensor:
        shares = [v * (n / sum(counts)) for v, n in zip(values, counts, strict=True)]
        return torch.stack(shares).sum(dim=0)

    return Statistics(
        mean(s.color for s in results),
        mean(s.color_products for s in results),
        mean(s.face_map for s in results),
        [mean(feature) for feature in zip(*(s.features for s in results), strict=True)],
    )


class LookLoss:
    """Distance of generated images from a look, relative to the generator's own faces.

    Args:
        images: images of the look, [K, 3, H, H] in [-1, 1].
        faces: faces of the base generator, in batches [n, 3, H, H].
        settings: weights of the terms.
        meter: statistics of the frozen discriminator; None omits that term.
    """

    def __init__(
        self,
        images: Tensor,
        faces: Iterable[Tensor],
        settings: LookSettings,
        meter: StyleMeter | None = None,
    ) -> None:
        self.settings, self.meter = settings, meter
        self.look = None if meter is None else meter.look(images)
        # Few images need a coarse grid: locally, faces differ more than the light does.
        self.cells = 8 if len(images) >= 48 else 4 if len(images) >= 12 else 2
        self.target = gather(images.split(32), self.cells)
        self.reference = gather(faces, self.cells)

    def __call__(self, images: Tensor, plain: Tensor) -> Tensor:
        """Returns the loss of a batch, given the same faces without the look, [N, 3, H, H] both."""
        s, target, ref = self.settings, self.target, self.reference
        after, before = statistics(images, self.cells), statistics(plain, self.cells)
        # The faces of a batch differ from the average; only their change is compared.
        color = (after.color - before.color) - (target.color - ref.color)
        covariance = (after.covariance - before.covariance) - (target.covariance - ref.covariance)
        face_map = (after.face_map - before.face_map) - (target.face_map - ref.face_map)
        total = s.color_weight * (color.square().mean() + covariance.square().mean())
        total = total + s.map_weight * face_map.square().mean()
        for a, b in zip(after.features, target.features, strict=True):
            total = total + s.texture_weight * (a - b).square().mean() / b.square().mean()
        if self.meter is not None and self.look is not None:
            # For each face by itself: every avatar has to show the look, not only their mean.
            distances = style_distance(self.meter.rows(images), self.look)
            total = total + s.critic_weight * distances.mean()
        return total


def same_face(model: Model, images: Tensor, plain: Tensor, settings: LookSettings) -> Tensor:
    """Returns the loss for changes of facial structure and identity, which a look must preserve."""
    structure = (_normalized_luma(images) - _normalized_luma(plain)).square().mean()
    total = settings.structure_weight * structure
    if settings.identity_weight > 0:
        change = identity_difference(model, images[:COMPARED_FACES], plain[:COMPARED_FACES])
        total = total + settings.identity_weight * change
    return total


def _normalized_luma(images: Tensor) -> Tensor:
    """Returns luma with local mean and contrast normalized, [N, 1, H, H]: edges in any light."""
    luma = images.mean(dim=1, keepdim=True)
    window = max(images.shape[-1] // 8, 3) | 1
    mean = F.avg_pool2d(luma, window, stride=1, padding=window // 2, count_include_pad=False)
    centred = luma - mean
    power = F.avg_pool2d(
        centred.square(), window, stride=1, padding=window // 2, count_include_pad=False
    )
    return centred / (power + 0.01).sqrt()
