"""Regularizers that tie an adapted generator to its base: a latent stays the same person.

Four terms, from cheap to expensive: pooled colours, the distances between the images of a batch
(cross-domain correspondence, arXiv 2104.06820), face descriptors, and readings of glasses and
beards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.faces.recognition import embed
from stylemix.images.tensors import as_rgb
from stylemix.metrics.attributes import probe_log_odds
from stylemix.models.model import Model
from stylemix.networks.generator import SynthesisNetwork


@contextmanager
def tapped(network: SynthesisNetwork, block: str) -> Iterator[list[Tensor]]:
    """Yields a list that collects the output features [N, C, h, w] of a block ("b16")."""
    features: list[Tensor] = []
    handle = network.blocks()[block].register_forward_hook(
        lambda _module, _inputs, out: features.append(out[0])
    )
    try:
        yield features
    finally:
        handle.remove()


def pooled_difference(images: Tensor, plain: Tensor, cells: int) -> Tensor:
    """Returns the mean squared difference of images [N, C, H, W], pooled to cells x cells."""
    size = min(cells, *images.shape[2:])
    return F.mse_loss(F.adaptive_avg_pool2d(images, size), F.adaptive_avg_pool2d(plain, size))


def distance_difference(features: Tensor, base: Tensor) -> Tensor:
    """Compares pairwise similarities within a batch between two networks' features [N, C, h, w].

    Returns the Kullback-Leibler divergence of the softmax over cosine similarities of each image
    to all others (arXiv 2104.06820, equations 1 to 3).
    """
    others = ~torch.eye(len(features), dtype=torch.bool, device=features.device)

    def log_similarities(maps: Tensor) -> Tensor:
        rows = F.normalize(maps.float().flatten(1), dim=1)
        similarities = (rows @ rows.t())[others].unflatten(0, (len(maps), -1))
        logs: Tensor = similarities.log_softmax(dim=1)
        return logs

    ours, targets = log_similarities(features), log_similarities(base)
    return F.kl_div(ours, targets, log_target=True, reduction="batchmean")


def identity_difference(model: Model, images: Tensor, plain: Tensor) -> Tensor:
    """Returns the mean squared distance of face descriptors [N, C, H, H]; 0 without faces."""
    if model.template.eyes is None:
        return images.new_zeros([])
    with torch.no_grad():
        before = embed(as_rgb(plain), model.template)
    after = embed(as_rgb(images), model.template)
    return (after - before).square().sum(dim=1).mean()


def attribute_difference(model: Model, images: Tensor, plain: Tensor) -> Tensor:
    """Returns how far glasses and beards of [N, C, H, H] go from those of plain; 0 without faces.

    The cross entropy of the probes' readings beyond that of equal readings, the mean of both.
    """
    if model.template.eyes is None:
        return images.new_zeros([])
    with torch.no_grad():
        before = probe_log_odds(plain, model.template)
    after = probe_log_odds(images, model.template)
    terms = []
    for name, odds in before.items():
        target = odds.sigmoid()
        least = F.binary_cross_entropy_with_logits(odds, target)
        terms.append(F.binary_cross_entropy_with_logits(after[name], target) - least)
    return torch.stack(terms).mean()
