"""Published inversions with their published settings, to compare with and for who knows them.

StyleGAN2's projection into W or W+ (arXiv 1912.04958, appendix D) and pivotal tuning
(arXiv 2106.05744). LPIPS, which needs a network that is not shipped, is replaced by the distance
that every method here uses, so that what differs is the search.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.refine import changes, rounded, tuned_parameters
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model
from stylemix.networks.generator import SynthesisLayer, SynthesisNetwork

STEPS, RATE = 1000, 0.1  # of the projections into W and W+
PIVOT_STEPS, PIVOT_RATE = 450, 0.01
TUNE_STEPS, TUNE_RATE = 350, 0.0003
NOISE_WEIGHT = 1e5
EXPLORATION = 0.05
SMALLEST_NOISE = 8  # px of the maps that are looked at

Progress = Callable[[int, int, float], None]


def search_published(
    model: Model, similarity: Similarity, settings: ProjectionSettings, progress: Progress | None
) -> tuple[Tensor, Tensor, list[Residual | None]]:
    """Start and result [N, L, w_dim] with details, by the method that `settings` names."""
    tune = settings.method == "pti"
    count, layers = len(similarity.targets), model.generator.num_ws
    steps, rate = (PIVOT_STEPS, PIVOT_RATE) if tune else (STEPS, RATE)
    total = steps + (TUNE_STEPS * count if tune else 0)
    done = 0

    def tell(loss: float) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, loss)

    mean = model.generator.mapping.w_avg.expand(count, 1, -1)
    start = mean.repeat(1, layers, 1)
    w = (start if settings.method == "w+" else mean).clone().requires_grad_(True)
    noise = _descend(
        model.generator.synthesis, similarity, w, layers, (steps, rate), settings, tell
    )
    ws = w.detach().expand(count, layers, -1).clone()
    details: list[Residual | None] = [rounded(Residual(noise=row)) for row in noise]
    if tune:
        for i in range(count):
            row = slice(i, i + 1)
            details[i] = _tune(model, similarity.part(row), ws[row], noise[row], tell)
    return start, ws, details


def _descend(
    network: SynthesisNetwork,
    similarity: Similarity,
    w: Tensor,
    layers: int,
    schedule: tuple[int, float],
    settings: ProjectionSettings,
    tell: Callable[[float], None],
) -> Tensor:
    """Moves w [N, 1 or L, w_dim] and noise; returns the noise, [N, noise_size]."""
    steps, rate = schedule
    spread = latent_prior(similarity.model.generator).w_std
    draw = torch.Generator().manual_seed(settings.seed)
    noise = torch.randn([len(w), network.noise_size], generator=draw).to(w).requires_grad_(True)
    adam = torch.optim.Adam([w, noise], lr=rate)
    for step in range(steps):
        t = step / steps
        down = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - t) / 0.25))
        for group in adam.param_groups:
            group["lr"] = rate * min(1.0, t / 0.05) * down
        shaken = torch.randn(w.shape, generator=draw).to(w)
        shaken = w + shaken * (spread * EXPLORATION * max(0.0, 1 - t / 0.75) ** 2)
        images = network(shaken.expand(-1, layers, -1), noise_mode=noise)
        losses = similarity.appearance(images) + NOISE_WEIGHT * _pattern(network, noise)
        adam.zero_grad()
        losses.sum().backward()
        adam.step()
        with torch.no_grad():
            for start, (h, w_px) in _maps(network):
                rows = noise[:, start : start + h * w_px]
                rows -= rows.mean(dim=1, keepdim=True)
                rows *= (rows.square().mean(dim=1, keepdim=True) + 1e-12).rsqrt()
        tell(float(losses.detach().mean()))
    return noise.detach()


def _maps(network: SynthesisNetwork) -> list[tuple[int, tuple[int, int]]]:
    """Where the map of each layer begins in a row of noise, and its height and width."""
    layers = [layer for layer in network.modules() if isinstance(layer, SynthesisLayer)]
    return [(layer.noise_start, tuple(layer.noise_const.shape)) for layer in layers]  # type: ignore[misc]


def _pattern(network: SynthesisNetwork, noise: Tensor) -> Tensor:
    """How much noise [N, noise_size] is a picture rather than noise, [N]: neighbours alike."""
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
    model: Model, similarity: Similarity, ws: Tensor, noise: Tensor, tell: Callable[[float], None]
) -> Residual:
    """Tunes all weights around the pivot ws [1, L, w_dim]."""
    network = copy.deepcopy(model.generator.synthesis)
    learned = tuned_parameters(network)
    adam = torch.optim.Adam(learned.values(), lr=TUNE_RATE)
    for _ in range(TUNE_STEPS):
        loss = similarity.appearance(network(ws, noise_mode=noise)).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
        tell(float(loss.detach()))
    return rounded(Residual(changes(model.generator, learned), noise=noise[0]))
