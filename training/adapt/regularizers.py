"""What holds an adapted generator to its base: the same latent stays the same person.

Three terms, from cheap to dear: pooled colours, the distances between the images of a batch
(cross-domain correspondence, arXiv 2104.06820), and descriptors of faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.faces.recognition import embed
from stylemix.images.tensors import as_rgb
from stylemix.models.model import Model
from stylemix.networks.generator import SynthesisNetwork


@contextmanager
def tapped(network: SynthesisNetwork, block: str) -> Iterator[list[Tensor]]:
    """A list that gets the features [N, C, h, w] behind a block ("b16") each time it is used."""
    found: list[Tensor] = []
    handle = network.blocks()[block].register_forward_hook(
        lambda _module, _inputs, out: found.append(out[0])
    )
    try:
        yield found
    finally:
        handle.remove()


def pooled_difference(images: Tensor, plain: Tensor, cells: int) -> Tensor:
    """Mean squared difference of images [N, C, H, W], both as cells x cells mean colours."""
    size = min(cells, *images.shape[2:])
    return F.mse_loss(F.adaptive_avg_pool2d(images, size), F.adaptive_avg_pool2d(plain, size))


def distance_difference(features: Tensor, base: Tensor) -> Tensor:
    """How differently two networks see who of a batch is like whom; features [N, C, h, w] of both.

    The Kullback-Leibler divergence of the softmax over cosine similarities of each image to all
    others (arXiv 2104.06820, equations 1 to 3).
    """
    others = ~torch.eye(len(features), dtype=torch.bool, device=features.device)

    def shares(maps: Tensor) -> Tensor:
        rows = F.normalize(maps.float().flatten(1), dim=1)
        alike = (rows @ rows.t())[others].unflatten(0, (len(maps), -1))
        logs: Tensor = alike.log_softmax(dim=1)
        return logs

    return F.kl_div(shares(features), shares(base), log_target=True, reduction="batchmean")


def identity_difference(model: Model, images: Tensor, plain: Tensor) -> Tensor:
    """Mean squared distance of face descriptors of images [N, C, H, H]; 0 where none are faces."""
    if model.template.eyes is None:
        return images.new_zeros([])
    with torch.no_grad():
        before = embed(as_rgb(plain), model.template)
    after = embed(as_rgb(images), model.template)
    return (after - before).square().sum(dim=1).mean()
