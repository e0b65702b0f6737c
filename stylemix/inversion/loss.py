"""Projection losses: differentiable distances in pixels, features and identity."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylemix.devices import search_dtype
from stylemix.faces.recognition import embed, identity_cosine, load_identity_network, make_chips
from stylemix.images.tensors import as_rgb
from stylemix.inversion.settings import ProjectionSettings
from stylemix.metrics.mobilenet import feature_maps
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size

CHUNK = 16  # images compared at once without gradients
OWN_FEATURES_PX = 256  # largest images that are compared in the discriminator's features
Network = TypeVar("Network", bound=nn.Module)


class Similarity:
    """Distances between images and target images, in features, pixels and identity.

    Features are those of the model's own frozen discriminator, or of the shipped MobileNetV2 for a
    model without a discriminator or above `OWN_FEATURES_PX`, where a discriminator takes as long as
    the generator; identity needs a face template.
    """

    def __init__(self, model: Model, targets: Tensor, settings: ProjectionSettings) -> None:
        self.model, self.settings, self.targets = model, settings, targets
        self.dtype = search_dtype(targets.device)
        has_face = model.template.kind != "none"
        # Copies in the search precision, so that weights are not converted at every step.
        large = max(targets.shape[2:]) > OWN_FEATURES_PX
        discriminator = None if large else model.discriminator
        self.discriminator = None if discriminator is None else frozen(discriminator, self.dtype)
        device = targets.device
        self.network = frozen(load_identity_network(device), self.dtype) if has_face else None
        with torch.no_grad():
            self.maps, self.pixels = self._maps(targets), pyramid(targets)
            self.identity = self._embed(targets) if has_face else None

    def _maps(self, images: Tensor) -> list[Tensor]:
        if self.discriminator is not None:
            return [
                features.float() for features in self.discriminator.features(images, self.dtype)
            ]
        return feature_maps(images)

    def _distance(self, maps: list[Tensor], pixels: list[Tensor], rows: slice) -> Tensor:
        total = torch.zeros(len(pixels[0]), device=pixels[0].device)
        for ours, theirs in zip(maps, self.maps, strict=True):
            theirs = theirs[rows]
            power = theirs.square().mean(dim=(1, 2, 3)) + 1e-8
            error = (ours - theirs).square().mean(dim=(1, 2, 3)) / power
            total = total + error * (self.settings.feature_weight / len(maps))
        for ours, theirs in zip(pixels, self.pixels, strict=True):
            error = (ours - theirs[rows]).square().mean(dim=(1, 2, 3))
            total = total + error * (self.settings.pixel_weight / len(pixels))
        return total

    def appearance(self, images: Tensor) -> Tensor:
        """Distance [N] of each image to its target, in features and in pixels at three scales."""
        return self._distance(self._maps(images), pyramid(images), slice(None))

    @torch.no_grad()
    def nearest(self, images: Tensor) -> Tensor:
        """Index [N] of the image in [M, C, H, W] that is nearest to each target."""
        return self.distances(images).argmin(dim=1)

    @torch.no_grad()
    def distances(self, images: Tensor) -> Tensor:
        """Distances [N, M] in appearance of each target to each image in [M, C, H, W]."""
        rows = []
        for part in images.split(batch_size(self.model.generator, CHUNK)):
            maps, pixels = self._maps(part), pyramid(part)
            targets = [slice(i, i + 1) for i in range(len(self.targets))]
            rows.append(torch.stack([self._distance(maps, pixels, target) for target in targets]))
        return torch.cat(rows, dim=1)

    def person(self, images: Tensor) -> Tensor:
        """Weighted squared distance [N] of face descriptors; zero without a face template."""
        if self.identity is None:
            return torch.zeros(len(images), device=images.device)
        distance = (self._embed(images) - self.identity).square().sum(dim=1)
        return distance * self.settings.identity_weight

    def _embed(self, images: Tensor) -> Tensor:
        """Face descriptors [N, 128] in the precision of the search."""
        assert self.network is not None
        chips = make_chips(as_rgb(images).float(), self.model.template)
        chips = chips.to(self.dtype, memory_format=torch.channels_last)
        descriptors: Tensor = self.network(chips)
        return descriptors.float()

    @torch.no_grad()
    def toward(self, targets: Tensor) -> Similarity:
        """The same networks with other targets, for their appearance alone."""
        other = copy.copy(self)
        other.targets, other.identity = targets, None
        other.maps, other.pixels = self._maps(targets), pyramid(targets)
        return other

    def part(self, rows: slice, settings: ProjectionSettings | None = None) -> Similarity:
        """The same losses for a slice of the targets, with other settings if given."""
        part = copy.copy(self)
        part.settings = settings or self.settings
        part.targets = self.targets[rows]
        part.maps, part.pixels = ([t[rows] for t in ts] for ts in (self.maps, self.pixels))
        part.identity = None if self.identity is None else self.identity[rows]
        return part

    @torch.no_grad()
    def measure(self, images: Tensor) -> list[dict[str, float]]:
        """Mean squared error, and identity cosine for faces, of each image."""
        mse = (images - self.targets).square().mean(dim=(1, 2, 3)).tolist()
        rows = [{"mse": value} for value in mse]
        if self.identity is not None:
            ours, theirs = (embed(as_rgb(v), self.model.template) for v in (images, self.targets))
            cosines = identity_cosine(ours, theirs)
            for row, value in zip(rows, cosines.tolist(), strict=True):
                row["identity"] = value
        return rows


def frozen(network: Network, dtype: torch.dtype) -> Network:
    """A frozen copy of a network in the given dtype."""
    copied = copy.deepcopy(network).to(dtype).requires_grad_(False)
    return copied.to(memory_format=torch.channels_last)


def pyramid(images: Tensor) -> list[Tensor]:
    """Images [N, C, H, W] at full, half and quarter resolution."""
    half = F.avg_pool2d(images, 2)
    return [images, half, F.avg_pool2d(half, 2)]
