"""Refinement of photos: weights inside what the generator knows, features outside it.

Hybrid refinement (arXiv 2301.12141): the weights of the synthesis network move a little, so that
the face itself fits, and where a photo shows what the generator cannot draw (hands, hats,
lettering) free features come in. Pivotal tuning (arXiv 2106.05744) moves weights only, and all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.faces.regions import region_mask
from stylemix.inversion.loss import Similarity, pyramid
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.residual import Residual
from stylemix.inversion.schedule import Stages, cosine, optimise
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.tuned_blocks import TunedBlocks
from stylemix.models.model import Model
from stylemix.networks.generator import FeatureOverride, Generator, SynthesisNetwork
from stylemix.networks.latents import map_latents

NEIGHBOURS = 4  # latents near the photo's whose images are to stay
LOCAL_WAY = 0.5  # how far these lie from the photo's, in standard deviations of w
MOST = 0.4  # of a photo may be unknown, before edges are widened
TOLD = 0.12  # an error above this (images in [-1, 1], 3 x 3 cells) is nothing that the model knows
# Free features make up for what they do not replace, and what they leave moves with the head.
SHARE = 0.25  # of the features that are replaced where the photo is unknown
FINEST_KEPT = 2  # features are kept at a half of the image's side
BETAS = (0.8, 0.95)  # of Adam: there are few steps to remember


def refine(
    model: Model,
    similarity: Similarity,
    ws: Tensor,
    settings: ProjectionSettings,
    stages: Stages,
    mask: Tensor | None = None,
) -> list[Residual]:
    """What the targets of `similarity` show beyond their latents ws [N, L, w_dim].

    Args:
        model: what was projected into.
        similarity: the loss.
        ws: latents, which stay as they are.
        settings: rates and weights.
        stages: how long; the next of them is this.
        mask: [N, 1, H, W], 1 where a photo shows what the model does not know; None to find out.
    """
    near = _neighbours(model, ws, settings.seed)
    blocks = TunedBlocks(
        model.generator.synthesis, torch.cat([ws[:, None], near], dim=1), similarity.dtype
    )
    with torch.no_grad():
        before = blocks.draw(list(range(1 + NEIGHBOURS)))
    features = blocks.features(model.generator.config.resolutions[-FINEST_KEPT:][0])
    if mask is None:
        mask = SHARE * unknown(before[:, 0], similarity.targets)
        if model.template.eyes is not None:  # a face that is replaced cannot be edited
            mask = mask * (1 - region_mask(["face"], similarity.targets, model.template))
    mask = F.interpolate(mask.to(ws), features.shape[2:], mode="bilinear", antialias=True)
    free = features.clone().requires_grad_(True)
    adam = torch.optim.Adam(
        [
            {"params": list(blocks.learned.values()), "lr": settings.refine_lr},
            {"params": [free], "lr": settings.feature_lr},
        ],
        betas=BETAS,
        fused=True,
    )
    local = settings.local_weight > 0
    kept = FeatureOverride(free, torch.stack([mask[:, 0], *[torch.zeros_like(mask[:, 0])] * local]))

    def losses_at(step: int, _t: float) -> Tensor:
        # One neighbour goes along in each step: with a look now and then Adam learns too late.
        one = 1 + step % NEIGHBOURS
        images = blocks.draw([0, one] if local else [0], kept)
        losses = similarity.appearance(images[:, 0])
        if local:
            losses = losses + settings.local_weight * _drift(images[:, 1], before[:, one])
        return losses

    optimise(adam, losses_at, stages, cosine, plateau=False)
    free = free.detach()
    return [rounded(Residual(blocks.changes(i), free[i], mask[i])) for i in range(len(ws))]


def tuned_parameters(network: SynthesisNetwork) -> dict[str, Tensor]:
    """The parameters of a network that pivotal tuning moves; all but noise strengths."""
    network.requires_grad_(False)
    return {
        name: parameter.requires_grad_(True)
        for name, parameter in network.named_parameters()
        if not name.endswith("noise_strength")
    }


def changes(generator: Generator, learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """How far parameters have moved from those of the generator."""
    original = dict(generator.synthesis.named_parameters())
    return {name: (value - original[name]).detach() for name, value in learned.items()}


def rounded(detail: Residual) -> Residual:
    """The detail as its file in half precision gives it back, so that both show the same."""
    tensors = {key: value.half().float() for key, value in detail.weights.items()}
    parts = [detail.features, detail.mask, detail.noise]
    features, mask, noise = (None if part is None else part.half().float() for part in parts)
    return Residual(tensors, features, mask, noise)


@torch.no_grad()
def unknown(image: Tensor, target: Tensor) -> Tensor:
    """Where a photo shows what the model does not know, [N, 1, H, W] from 0 to 1.

    The error of the reconstruction over cells of 3 x 3 px at a half of the size, widened by a cell
    and with soft edges.
    """
    error = (image - target).abs().mean(dim=1, keepdim=True)
    error = F.avg_pool2d(F.avg_pool2d(error, 2), 3, stride=1, padding=1, count_include_pad=False)
    limit = error.flatten(1).quantile(1 - MOST, dim=1).clamp(min=TOLD)
    told = (error > limit[:, None, None, None]).float()
    told = F.max_pool2d(told, 3, stride=1, padding=1)
    told = F.avg_pool2d(told, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(told, image.shape[2:], mode="bilinear")


@torch.no_grad()
def _neighbours(model: Model, ws: Tensor, seed: int) -> Tensor:
    """Latents [N, K, L, w_dim] near those of each photo."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn([NEIGHBOURS, model.generator.z_dim], generator=draw)
    way = map_latents(model.generator, z, psi=0.5) - ws[:, None]
    length = torch.linalg.vector_norm(way, dim=3, keepdim=True)
    near: Tensor = ws[:, None] + way * (LOCAL_WAY * latent_prior(model.generator).w_std / length)
    return near


def _drift(images: Tensor, before: Tensor) -> Tensor:
    """How much neighbours show something else than before, [N] (locality of PTI)."""
    pairs = zip(pyramid(images), pyramid(before), strict=True)
    return torch.stack([(a - b).square().mean(dim=(1, 2, 3)) for a, b in pairs]).sum(dim=0) * 10
