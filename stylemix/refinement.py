"""Refinement of one photo: weights inside what the generator knows, features outside it.

Hybrid refinement (arXiv 2301.12141): the weights of the synthesis network move a little, so that
the face itself fits, and where a photo shows what the generator cannot draw (hands, hats,
lettering) its features are replaced by free ones. Pivotal tuning (arXiv 2106.05744) moves weights
only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.detail import Detail
from stylemix.generator import Generator, Kept, SynthesisNetwork
from stylemix.latents import map_latents
from stylemix.model import Model
from stylemix.pace import Pace
from stylemix.prior import latent_prior
from stylemix.projection_settings import ProjectionSettings
from stylemix.regions import region_mask
from stylemix.similarity import Similarity, pyramid

NEIGHBOURS = 8  # latents near the photo's whose pictures are to stay
LOCAL_WAY = 0.5  # how far these lie from the photo's, in standard deviations of w
MOST = 0.4  # of a photo may be unknown, before edges are widened
TOLD = 0.12  # an error above this (images in [-1, 1], 3 x 3 cells) is nothing that the model knows
FINEST_KEPT = 2  # features are kept at a half of the picture's side


def refine(
    model: Model,
    similarity: Similarity,
    ws: Tensor,
    settings: ProjectionSettings,
    pace: Pace,
    tell: Callable[[float, float], None],
    mask: Tensor | None = None,
) -> Detail:
    """What the one target of `similarity` shows beyond the latents ws [1, L, w_dim].

    Args:
        model: what was projected into.
        similarity: the loss.
        ws: latents, which stay as they are.
        settings: rates and weights.
        pace: how long.
        tell: called with (way done, loss).
        mask: [1, 1, H, W], 1 where the photo shows what the model does not know; None to find out.
    """
    network = copy.deepcopy(model.generator.synthesis)
    learned = tuned_parameters(network)
    with torch.no_grad():
        image, features = _features(network, ws)
        if mask is None:
            mask = unknown(image, similarity.targets)
            if model.template.eyes is not None:  # a face that is replaced cannot be edited
                mask = mask * (1 - region_mask(["face"], similarity.targets, model.template))
        mask = F.interpolate(mask.to(ws), features.shape[2:], mode="bilinear", antialias=True)
    free = features.clone().requires_grad_(True)
    adam = torch.optim.Adam(
        [
            {"params": list(learned.values()), "lr": settings.refine_lr},
            {"params": [free], "lr": settings.feature_lr},
        ]
    )
    rates = [group["lr"] for group in adam.param_groups]
    near, before = _neighbours(model, ws, settings.seed)
    local = settings.local_weight > 0
    for step, way in enumerate(pace):
        share = fade(way, pace.steps)
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * share
        # One neighbour goes along in each step: with a look now and then Adam learns too late.
        one = slice(step % NEIGHBOURS, step % NEIGHBOURS + 1)
        rows = torch.cat([ws, near[one]]) if local else ws
        masks = torch.cat([mask, torch.zeros_like(mask)]) if local else mask
        images = network(rows, "const", dtype=similarity.dtype, kept=Kept(free, masks))
        loss = similarity.appearance(images[:1]).sum()
        if step % 2 == 0:
            loss = loss + similarity.person(images[:1]).sum()
        if local:
            loss = loss + settings.local_weight * _drift(images[1:], before[one])
        adam.zero_grad()
        loss.backward()
        adam.step()
        tell(way, float(loss.detach()))
    detail = Detail(changes(model.generator, learned), free.detach()[0], mask[0])
    return rounded(detail)


def fade(way: float, steps: int) -> float:
    """Share of the learning rate: up in the first tenth, then down a cosine to nothing."""
    return min(1.0, (way + 1 / steps) / 0.1) * (0.5 + 0.5 * math.cos(math.pi * way))


def tuned_parameters(network: SynthesisNetwork) -> dict[str, Tensor]:
    """The parameters of a network that refinement moves; all but noise strengths."""
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


def rounded(detail: Detail) -> Detail:
    """The detail as its file in half precision gives it back, so that both show the same."""
    tensors = {key: value.half().float() for key, value in detail.weights.items()}
    parts = [detail.features, detail.mask, detail.noise]
    features, mask, noise = (None if part is None else part.half().float() for part in parts)
    return Detail(tensors, features, mask, noise)


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


def _features(network: SynthesisNetwork, ws: Tensor) -> tuple[Tensor, Tensor]:
    """The image of ws and the features that may be kept, those of a half of its size."""
    blocks = list(network.blocks().values())
    found: list[Tensor] = []
    block = blocks[max(len(blocks) - FINEST_KEPT, 0)]
    handle = block.register_forward_hook(lambda _module, _inputs, out: found.append(out[0]))
    try:
        image = network(ws, noise_mode="const")
    finally:
        handle.remove()
    return image, found[0]


@torch.no_grad()
def _neighbours(model: Model, ws: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Latents [K, L, w_dim] near the photo's and what the generator draws of them."""
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn([NEIGHBOURS, model.generator.z_dim], generator=draw)
    way = map_latents(model.generator, z, psi=0.5) - ws
    length = torch.linalg.vector_norm(way, dim=2, keepdim=True)
    near = ws + way * (LOCAL_WAY * latent_prior(model.generator).w_std / length)
    return near, model.generator.synthesis(near, noise_mode="const")


def _drift(images: Tensor, before: Tensor) -> Tensor:
    """How much a neighbour shows something else than before (locality of PTI)."""
    pairs = zip(pyramid(images), pyramid(before), strict=True)
    return torch.stack([(a - b).square().mean() for a, b in pairs]).sum() * 10
