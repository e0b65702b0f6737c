"""Published inversions with their published settings, to compare with and for who knows them.

StyleGAN2's projection into W or W+ (arXiv 1912.04958, appendix D) and pivotal tuning
(arXiv 2106.05744). LPIPS, which needs a network that is not shipped, is replaced by the distance
that every method here uses, so that what differs is the search.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.refine import changes, rounded, tuned_parameters
from stylemix.inversion.residual import Residual
from stylemix.inversion.schedule import Stages, constant, optimise, stylegan2
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model
from stylemix.networks.generator import SynthesisLayer, SynthesisNetwork
from stylemix.progress import Progress

STEPS, RATE = 1000, 0.1  # of the projections into W and W+
PIVOT_STEPS, PIVOT_RATE = 450, 0.01
TUNE_STEPS, TUNE_RATE = 350, 0.0003
NOISE_WEIGHT = 1e5
EXPLORATION = 0.05
SMALLEST_NOISE = 8  # px of the maps that are looked at


def search_published(
    model: Model, similarity: Similarity, settings: ProjectionSettings, progress: Progress | None
) -> tuple[Tensor, Tensor, list[Residual | None]]:
    """Start and result [N, L, w_dim] with details, by the method that `settings` names."""
    tune = settings.method == "pti"
    count, layers = len(similarity.targets), model.generator.num_ws
    steps, rate = (PIVOT_STEPS, PIVOT_RATE) if tune else (STEPS, RATE)
    stages = Stages([steps, *[TUNE_STEPS] * (count * tune)], progress)
    mean = model.generator.mapping.w_avg.expand(count, 1, -1)
    start = mean.repeat(1, layers, 1)
    w = (start if settings.method == "w+" else mean).clone().requires_grad_(True)
    noise = _project(model.generator.synthesis, similarity, w, layers, rate, settings, stages)
    ws = w.detach().expand(count, layers, -1).clone()
    details: list[Residual | None] = [rounded(Residual(noise=row)) for row in noise]
    if tune:
        for i in range(count):
            row = slice(i, i + 1)
            details[i] = _tune(model, similarity.part(row), ws[row], noise[row], stages)
    return start, ws, details


def _project(
    network: SynthesisNetwork,
    similarity: Similarity,
    w: Tensor,
    layers: int,
    rate: float,
    settings: ProjectionSettings,
    stages: Stages,
) -> Tensor:
    """Optimises w [N, 1 or L, w_dim] and noise; returns the noise, [N, noise_size]."""
    spread = latent_prior(similarity.model.generator).w_std
    draw = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn([len(w), network.noise_size], generator=draw).to(w).requires_grad_(True)

    def losses_at(_step: int, t: float) -> Tensor:
        shaken = torch.randn(w.shape, generator=draw).to(w)
        shaken = w + shaken * (spread * EXPLORATION * max(0.0, 1 - t / 0.75) ** 2)
        images = network(shaken.expand(-1, layers, -1), noise_mode=noise)
        return similarity.appearance(images) + NOISE_WEIGHT * _pattern(network, noise)

    @torch.no_grad()
    def normalise(_step: int, _t: float) -> None:
        for start, (h, w_px) in _maps(network):
            rows = noise[:, start : start + h * w_px]
            rows -= rows.mean(dim=1, keepdim=True)
            rows *= (rows.square().mean(dim=1, keepdim=True) + 1e-12).rsqrt()

    adam = torch.optim.Adam([w, noise], lr=rate)
    optimise(adam, losses_at, stages, stylegan2, normalise, plateau=False)
    return noise.detach()


def _maps(network: SynthesisNetwork) -> list[tuple[int, tuple[int, int]]]:
    """Where the map of each layer begins in a row of noise, and its height and width."""
    layers = [layer for layer in network.modules() if isinstance(layer, SynthesisLayer)]
    return [(layer.noise_start, tuple(layer.noise_const.shape)) for layer in layers]  # type: ignore[misc]


def _pattern(network: SynthesisNetwork, noise: Tensor) -> Tensor:
    """How much noise [N, noise_size] is an image rather than noise, [N]: neighbours alike."""
    total = torch.zeros(len(noise), device=noise.device)
    for start, (height, width) in _maps(network):
        rows = noise[:, start : start + height * width].unflatten(1, (1, height, width))
        while True:
            for dim in (2, 3):
                alike = (rows * rows.roll(1, dims=dim)).mean(dim=(1, 2, 3))
                total = total + alike.square()
            if min(rows.shape[2:]) <= SMALLEST_NOISE:
                break
            rows = F.avg_pool2d(rows, 2)
    return total


def _tune(
    model: Model, similarity: Similarity, ws: Tensor, noise: Tensor, stages: Stages
) -> Residual:
    """Tunes all weights around the pivot ws [1, L, w_dim]."""
    network = copy.deepcopy(model.generator.synthesis)
    learned = tuned_parameters(network)
    adam = torch.optim.Adam(learned.values(), lr=TUNE_RATE)

    def losses_at(_step: int, _t: float) -> Tensor:
        return similarity.appearance(network(ws, noise_mode=noise))

    optimise(adam, losses_at, stages, constant, plateau=False)
    return rounded(Residual(changes(model.generator, learned), noise=noise[0]))
