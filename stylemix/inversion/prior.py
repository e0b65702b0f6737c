"""The distribution of a generator's mapped latents, and starting points for a projection."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator
from stylemix.networks.latents import map_latents

SAMPLES = 10_000  # mapped latents that the prior is estimated from
STARTS = 64  # starting latents; a quarter of them for models above 256 px
CHUNK = 16  # images generated at once without gradients


@dataclass(frozen=True)
class LatentPrior:
    """Statistics of mapped latents, and starting latents: their mean and k-means centres.

    `whiten` maps LeakyReLU_5(w) - mean to unit Gaussians: slope 5 inverts the mapping network's
    last activation (P-norm space of II2S, arXiv 2012.09036).
    """

    w_std: float
    mean: Tensor
    whiten: Tensor
    centres: Tensor  # [M, w_dim]
    images: Tensor  # [M, C, H, W], of the centres

    def penalty(self, ws: Tensor) -> Tensor:
        """Mean square [N] of whitened ws [N, L, w_dim]; about 1 for mapped latents."""
        v = (F.leaky_relu(ws, 5.0) - self.mean) @ self.whiten
        return v.square().mean(dim=(1, 2))


_PRIORS: WeakKeyDictionary[Generator, LatentPrior] = WeakKeyDictionary()


def latent_prior(generator: Generator) -> LatentPrior:
    """The prior of a generator, from latents of a fixed seed; cached while it exists, by device."""
    prior = _PRIORS.get(generator)
    if prior is None or prior.mean.device != generator.device:
        prior = _PRIORS[generator] = _compute_prior(generator)
    return prior


@torch.no_grad()
def _compute_prior(generator: Generator) -> LatentPrior:
    from scipy.cluster.vq import kmeans2  # takes a quarter of a second, which kept latents save

    z = torch.from_numpy(np.random.RandomState(123).randn(SAMPLES, generator.z_dim)).float()
    w = torch.cat([map_latents(generator, part)[:, 0] for part in z.split(1000)])
    std = float((w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    v = F.leaky_relu(w, 5.0)
    values, vectors = torch.linalg.eigh(torch.cov(v.t()).double().cpu())
    # Eigenvalues are clamped: near-zero directions would otherwise dominate the penalty.
    whiten = vectors * values.clamp(min=values.max() * 1e-3).rsqrt()
    points = w[:2000].double().cpu().numpy()
    count = start_count(generator)
    with warnings.catch_warnings():  # an empty cluster keeps its initial centre, which is fine
        warnings.simplefilter("ignore")
        clusters, _ = kmeans2(points, points[: count - 1], minit="matrix")
    centres = torch.cat([w.mean(dim=0, keepdim=True), torch.from_numpy(clusters).to(w)])
    images = torch.cat(
        [draw_w(generator, part) for part in centres.split(batch_size(generator, CHUNK))]
    )
    return LatentPrior(std, v.mean(dim=0), whiten.to(w), centres, images)


def start_count(generator: Generator) -> int:
    """The number of starting latents of a generator."""
    return STARTS if generator.img_resolution <= 256 else STARTS // 4


def draw_w(generator: Generator, w: Tensor) -> Tensor:
    """Images [N, C, H, W] of w [N, w_dim], the same w for all layers."""
    ws = w.unsqueeze(1).repeat(1, generator.num_ws, 1)
    return generator.synthesis(ws, noise_mode="const")  # type: ignore[no-any-return]
