"""Published inversion methods with their published settings, as baselines.

StyleGAN2's projection into W or W+ (arXiv 1912.04958, appendix D) and pivotal tuning
(arXiv 2106.05744). LPIPS, which needs a network that is not shipped, is replaced by the distance
that all methods here use, so that methods differ in the optimisation only.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.inversion.adam import Adam
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
NOISE_WEIGHT = 1e5  # of the noise regularisation
EXPLORATION = 0.05  # initial noise on w, in standard deviations
MIN_NOISE_SIZE = 8  # px; noise maps are regularised down to this size


def search_published(
    model: Model, similarity: Similarity, settings: ProjectionSettings, progress: Progress | None
) -> tuple[Tensor, Tensor, list[Residual | None]]:
    """Initial and final ws [N, L, w_dim] and residuals, by the method named in `settings`."""
    tune = settings.method == "pti"
    count, layers = len(similarity.targets), model.generator.num_ws
    steps, rate = (PIVOT_STEPS, PIVOT_RATE) if tune else (STEPS, RATE)
    stages = Stages([steps, *[TUNE_STEPS] * (count * tune)], progress)
    mean = model.generator.mapping.w_avg.expand(count, 1, -1)
    start = mean.repeat(1, layers, 1)
    w = (start if settings.method == "w+" else mean).clone().requires_grad_(True)
    noise = _optimise_w(model.generator.synthesis, similarity, w, layers, rate, settings, stages)
    ws = w.detach().expand(count, layers, -1).clone()
    details: list[Residual | None] = [rounded(Residual(noise=row)) for row in noise]
    if tune:
        for i in range(count):
            row = slice(i, i + 1)
            details[i] = _tune(model, similarity.part(row), ws[row], noise[row], stages)
    return start, ws, details


def _optimise_w(
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
    rng = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn([len(w), network.noise_size], generator=rng).to(w).requires_grad_(True)

    def losses_at(_step: int, t: float) -> Tensor:
        w_noise = torch.randn(w.shape, generator=rng).to(w)
        noisy = w + w_noise * (spread * EXPLORATION * max(0.0, 1 - t / 0.75) ** 2)
        images = network(noisy.expand(-1, layers, -1), noise_mode=noise)
        return similarity.appearance(images) + NOISE_WEIGHT * _noise_regularisation(network, noise)

    @torch.no_grad()
    def normalise(_step: int, _t: float) -> None:
        for start, (h, w_px) in _maps(network):
            rows = noise[:, start : start + h * w_px]
            rows -= rows.mean(dim=1, keepdim=True)
            rows *= (rows.square().mean(dim=1, keepdim=True) + 1e-12).rsqrt()

    adam = Adam([([w, noise], rate)])
    optimise(adam, losses_at, stages, stylegan2, normalise, plateau=False)
    return noise.detach()


def _maps(network: SynthesisNetwork) -> list[tuple[int, tuple[int, int]]]:
    """The start of each layer's map in a row of noise, and its height and width."""
    layers = [layer for layer in network.modules() if isinstance(layer, SynthesisLayer)]
    return [(layer.noise_start, tuple(layer.noise_const.shape)) for layer in layers]  # type: ignore[misc]


def _noise_regularisation(network: SynthesisNetwork, noise: Tensor) -> Tensor:
    """Noise regularisation loss [N] of noise [N, noise_size]: squared autocorrelation at 1 px."""
    total = torch.zeros(len(noise), device=noise.device)
    for start, (height, width) in _maps(network):
        rows = noise[:, start : start + height * width].unflatten(1, (1, height, width))
        while True:
            for dim in (2, 3):
                correlation = (rows * rows.roll(1, dims=dim)).mean(dim=(1, 2, 3))
                total = total + correlation.square()
            if min(rows.shape[2:]) <= MIN_NOISE_SIZE:
                break
            rows = F.avg_pool2d(rows, 2)
    return total


def _tune(
    model: Model, similarity: Similarity, ws: Tensor, noise: Tensor, stages: Stages
) -> Residual:
    """Tunes all weights with the pivot ws [1, L, w_dim] fixed (pivotal tuning)."""
    network = copy.deepcopy(model.generator.synthesis)
    learned = tuned_parameters(network)
    adam = Adam([(list(learned.values()), TUNE_RATE)])

    def losses_at(_step: int, _t: float) -> Tensor:
        return similarity.appearance(network(ws, noise_mode=noise))

    optimise(adam, losses_at, stages, constant, plateau=False)
    return rounded(Residual(changes(model.generator, learned), noise=noise[0]))
