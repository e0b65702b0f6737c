"""Refinement of projections: weights inside the generator's domain, features outside of it.

Hybrid refinement (arXiv 2301.12141): the weights of the synthesis network are tuned a little, so
that the face itself fits, and where a photo shows what the generator cannot generate (hands, hats,
lettering) optimised features replace its own. Pivotal tuning (arXiv 2106.05744) tunes all weights
and no features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.faces.regions import region_mask
from stylemix.inversion.adam import Adam
from stylemix.inversion.loss import Similarity, pyramid
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.residual import Residual
from stylemix.inversion.schedule import Stages, cosine, optimise
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.tuned_blocks import TunedBlocks
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import FeatureOverride, Generator, SynthesisNetwork
from stylemix.networks.latents import map_latents

NEIGHBOURS = 4  # latents near the photo's latent whose images should not change
NEIGHBOUR_DISTANCE = 0.5  # from the photo's latent, in standard deviations of w
MAX_UNKNOWN = 0.4  # share of a photo that may be out of domain, before dilation
ERROR_THRESHOLD = 0.12  # mean error of 3 x 3 px (images in [-1, 1]) above which is out of domain
# A partial replacement is enough, since the optimised features compensate for the share of the
# generator's own, and that share follows when the head turns.
FEATURE_SHARE = 0.25  # of the features that are replaced where the photo is out of domain
FEATURE_LEVEL = 2  # features are stored at the second-finest resolution
RATE_INPUTS = 256  # inputs of a layer up to which weights have the full rate
DIVERGED = 8.0  # times the lowest loss of a photo; three times come and go by themselves
BETAS = (0.8, 0.95)  # of Adam: short averages, since there are few steps


def refine(
    model: Model,
    similarity: Similarity,
    ws: Tensor,
    settings: ProjectionSettings,
    stages: Stages,
    mask: Tensor | None = None,
) -> list[Residual]:
    """Optimises the residuals of the targets of `similarity`, given latents ws [N, L, w_dim].

    Args:
        model: the model of the projection.
        similarity: the loss.
        ws: latents, which are not changed.
        settings: learning rates and loss weights.
        stages: the schedule; its next stage is used.
        mask: [N, 1, H, W], 1 where a photo shows what the model cannot generate; None to estimate.
    """
    near = _neighbours(model, ws, settings.seed)
    blocks = TunedBlocks(
        model.generator.synthesis, torch.cat([ws[:, None], near], dim=1), similarity.dtype
    )
    before = _initial(blocks, batch_size(model.generator, 1 + NEIGHBOURS))
    features = blocks.features(model.generator.config.resolutions[-FEATURE_LEVEL:][0])
    if mask is None:
        mask = _estimated(model, before[:, 0], similarity.targets)
    mask = F.interpolate(mask.to(ws), features.shape[2:], mode="bilinear", antialias=True)
    free = features.clone(memory_format=torch.contiguous_format).requires_grad_(True)
    learned = list(blocks.learned.values())
    rates = [settings.refine_lr * _relative_rate(value) for value in learned]
    pairs = zip([*learned, free], [*rates, settings.feature_lr], strict=True)
    adam = Adam([([value], rate) for value, rate in pairs], BETAS, fused=True, parts=len(ws))
    local = settings.local_weight > 0
    masks = torch.stack([mask[:, 0], *[torch.zeros_like(mask[:, 0])] * local])
    override = FeatureOverride(free, masks)
    best = _Best([*learned, free], len(ws))

    def losses_at(step: int, _t: float) -> Tensor:
        losses = measured(step)
        if diverged := best.diverged(losses):
            best.restore(diverged, adam)
            losses = measured(step)
        best.keep(losses)
        return losses

    def measured(step: int) -> Tensor:
        # Every step has a neighbour: Adam reacts too late to a term that is added only sometimes.
        neighbour = 1 + step % NEIGHBOURS
        images = blocks.draw([0, neighbour] if local else [0], override)
        losses = similarity.appearance(images[:, 0])
        if local:
            losses = losses + settings.local_weight * _drift(images[:, 1], before[:, neighbour])
        return losses

    optimise(adam, losses_at, stages, cosine, plateau=False)
    with torch.no_grad():
        best.keep(measured(0))
    best.restore(range(len(ws)), adam)
    values = free.detach()
    return [rounded(Residual(blocks.changes(i), values[i], mask[i])) for i in range(len(ws))]


@torch.no_grad()
def _initial(blocks: TunedBlocks, batch: int) -> Tensor:
    """The images [N, 1 + NEIGHBOURS, C, H, W] of all rows, `batch` of them at once."""
    rows = list(range(1 + NEIGHBOURS))
    parts = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    return torch.cat([blocks.draw(part) for part in parts], dim=1)


def _estimated(model: Model, images: Tensor, targets: Tensor) -> Tensor:
    """The mask [N, 1, H, W] of features that replace the generator's, from the error of images."""
    mask = FEATURE_SHARE * unknown(images, targets)
    if model.template.eyes is not None:  # replaced features of a face cannot be edited
        mask = mask * (1 - region_mask(["face"], targets, model.template))
    return mask


def _relative_rate(weight: Tensor) -> float:
    """The rate of a weight [O, I, ...] relative to one of `RATE_INPUTS` inputs.

    Adam changes every weight by about its rate, so the output of a layer changes by the rate times
    its inputs, relative to the square root of their number, by which it is scaled.
    """
    inputs = weight.shape[1] if weight.ndim > 1 else 1
    return min(1.0, math.sqrt(RATE_INPUTS / inputs))


class _Best:
    """The parameters of lowest loss of each photo, to return to when a loss rises far above it.

    Parameters are stacked along their first dimension, photo by photo.
    """

    def __init__(self, parameters: list[Tensor], photos: int) -> None:
        self.parameters = [value.detach().unflatten(0, (photos, -1)) for value in parameters]
        self.values = [value.clone() for value in self.parameters]
        self.losses = torch.full([photos], math.inf, device=parameters[0].device)

    def diverged(self, losses: Tensor) -> list[int]:
        """The photos whose loss is not finite, or more than `DIVERGED` times their lowest."""
        far = ~(losses.detach() <= DIVERGED * self.losses)
        photos: list[int] = torch.nonzero(far).flatten().tolist()
        return photos

    def keep(self, losses: Tensor) -> None:
        """Keeps the parameters of the photos [N] whose losses are the lowest so far."""
        for photo in torch.nonzero(losses.detach() < self.losses).flatten().tolist():
            self.losses[photo] = losses[photo].detach()
            for kept, current in zip(self.values, self.parameters, strict=True):
                kept[photo].copy_(current[photo])

    def restore(self, photos: Iterable[int], adam: Adam) -> None:
        """Restores the parameters of lowest loss; later steps begin anew, with half the rates."""
        for photo in photos:
            adam.state[photo].clear()
            adam.factors[photo] /= 2
            for kept, current in zip(self.values, self.parameters, strict=True):
                current[photo].copy_(kept[photo])


def tuned_parameters(network: SynthesisNetwork) -> dict[str, Tensor]:
    """The parameters that pivotal tuning optimises: all but noise strengths; freezes the rest."""
    network.requires_grad_(False)
    return {
        name: parameter.requires_grad_(True)
        for name, parameter in network.named_parameters()
        if not name.endswith("noise_strength")
    }


def changes(generator: Generator, learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """The differences between learned parameters and those of the generator."""
    original = dict(generator.synthesis.named_parameters())
    return {name: (value - original[name]).detach() for name, value in learned.items()}


def rounded(detail: Residual) -> Residual:
    """The residual rounded to half precision as in its file, so that both give the same image."""
    tensors = {key: value.half().float() for key, value in detail.weights.items()}
    parts = [detail.features, detail.mask, detail.noise]
    features, mask, noise = (None if part is None else part.half().float() for part in parts)
    return Residual(tensors, features, mask, noise)


@torch.no_grad()
def unknown(image: Tensor, target: Tensor) -> Tensor:
    """Soft mask [N, 1, H, W] in [0, 1] of the regions of a photo that the model cannot generate.

    The reconstruction error, averaged over 3 x 3 px at half resolution, thresholded, dilated by a
    pixel and blurred.
    """
    error = (image - target).abs().mean(dim=1, keepdim=True)
    error = F.avg_pool2d(F.avg_pool2d(error, 2), 3, stride=1, padding=1, count_include_pad=False)
    limit = error.flatten(1).quantile(1 - MAX_UNKNOWN, dim=1).clamp(min=ERROR_THRESHOLD)
    mask = (error > limit[:, None, None, None]).float()
    mask = F.max_pool2d(mask, 3, stride=1, padding=1)
    mask = F.avg_pool2d(mask, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(mask, image.shape[2:], mode="bilinear")


@torch.no_grad()
def _neighbours(model: Model, ws: Tensor, seed: int) -> Tensor:
    """Latents [N, K, L, w_dim] near those of each photo, towards sampled latents."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn([NEIGHBOURS, model.generator.z_dim], generator=rng)
    direction = map_latents(model.generator, z, psi=0.5) - ws[:, None]
    length = torch.linalg.vector_norm(direction, dim=3, keepdim=True)
    distance = NEIGHBOUR_DISTANCE * latent_prior(model.generator).w_std
    near: Tensor = ws[:, None] + direction * (distance / length)
    return near


def _drift(images: Tensor, before: Tensor) -> Tensor:
    """Distance [N] of the neighbours' images from those before tuning (locality term of PTI)."""
    pairs = zip(pyramid(images), pyramid(before), strict=True)
    return torch.stack([(a - b).square().mean(dim=(1, 2, 3)) for a, b in pairs]).sum(dim=0) * 10
