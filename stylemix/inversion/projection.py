"""Projection: the latents whose images look like given photos.

A start from an encoder, or from the nearest of some cached latents and a search with one w for all
layers (StyleGAN2, arXiv 1912.04958, section 5); then a w of its own for every layer, held together
by a penalty on the differences (delta form of e4e, arXiv 2102.02766); then what no latent shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.baselines import search_published
from stylemix.inversion.encoder import Encoder, shipped_encoder
from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.refine import refine
from stylemix.inversion.residual import Residual
from stylemix.inversion.schedule import Stages, hold_then_cosine, optimise
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.tuned_blocks import tuned_blocks
from stylemix.models.model import Model
from stylemix.networks.generator import Generator
from stylemix.networks.latents import map_latents, z_from_seed
from stylemix.progress import Progress

REFINE_COST = 1.5  # of a step of refinement, in steps of the search before it
MOST_WEIGHTS = 2**25  # of all photos that are refined together


@dataclass
class Projection:
    """Latents and images of photos: ws [N, L, w_dim], what they show, and where the search began.

    `details` has for each photo what its latent does not say, or None. `metrics` has mean squared
    errors (images in [-1, 1]) and, for faces, identity cosines, of the start and of the result.
    """

    ws: Tensor
    image: Tensor
    image_start: Tensor
    details: list[Residual | None]
    metrics: list[dict[str, float]]


class _Search:
    """What the stages of a projection share: the loss and the schedule."""

    def __init__(
        self,
        model: Model,
        similarity: Similarity,
        settings: ProjectionSettings,
        stages: Stages,
    ) -> None:
        self.synthesis, self.similarity = model.generator.synthesis, similarity
        self.settings, self.stages = settings, stages
        self.prior = latent_prior(model.generator)
        self.draw = torch.Generator().manual_seed(settings.seed)

    def run(
        self,
        parameters: list[Tensor],
        ws: Callable[[], Tensor],
        loss_of: Callable[[Tensor, float, bool], Tensor],
    ) -> Tensor:
        """Optimises `parameters` for the loss of `ws()`; returns the best ws of each row.

        A search can lose what it had found, so the last ws need not be the result.
        """
        best = ws().detach().clone()
        lowest = torch.full([len(best)], math.inf, device=best.device)

        def losses_at(step: int, t: float) -> Tensor:
            nonlocal best, lowest
            # Identity is by far the most expensive term and changes slowly: every other step.
            full = step % 2 == 0
            now = ws()
            losses = loss_of(now, t, full)
            if full:
                best, lowest = _lower(best, lowest, now.detach(), losses.detach())
            return losses

        adam = torch.optim.Adam(parameters, lr=self.settings.lr)
        optimise(adam, losses_at, self.stages, hold_then_cosine)
        if self.stages.steps[self.stages.index]:
            now = ws().detach()
            with torch.no_grad():
                best, _ = _lower(best, lowest, now, loss_of(now, 1.0, True))
        return best

    def loss_w(self, ws: Tensor, t: float, full: bool) -> Tensor:
        """Losses [N] of one w for all layers, looked at through noise that fades out."""
        fade = max(0.0, 1 - t / 0.75) ** 2
        # The same noise for all, so that a photo's result does not depend on those beside it.
        noise = torch.randn([1, 1, ws.shape[2]], generator=self.draw).to(ws)
        ws = ws + noise * (fade * self.settings.exploration * self.prior.w_std)
        return self._appearance(ws, self._draw(ws))

    def loss_plus(self, ws: Tensor, t: float, full: bool) -> Tensor:
        """Losses [N] of a w for each layer; identity only where `full`."""
        images = self._draw(ws)
        deltas = (ws - ws.mean(dim=1, keepdim=True)) / self.prior.w_std
        losses = self._appearance(ws, images)
        losses = losses + self.settings.delta_weight * deltas.square().sum(dim=2).mean(dim=1)
        return losses + self.similarity.person(images) if full else losses

    def _draw(self, ws: Tensor) -> Tensor:
        images: Tensor = self.synthesis(ws, noise_mode="const", dtype=self.similarity.dtype)
        return images

    def _appearance(self, ws: Tensor, images: Tensor) -> Tensor:
        unlikely = self.settings.prior_weight * self.prior.penalty(ws)
        return self.similarity.appearance(images) + unlikely


def _lower(best: Tensor, lowest: Tensor, now: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """The latents [N, L, w_dim] and losses [N] of whichever is lower, row by row."""
    better = losses < lowest
    return torch.where(better[:, None, None], now, best), torch.minimum(losses, lowest)


def project(
    model: Model,
    targets: Tensor,
    settings: ProjectionSettings | None = None,
    progress: Progress | None = None,
    mask: Tensor | None = None,
    encoder: Encoder | None = None,
) -> Projection:
    """Finds latents of aligned photos, all photos of the batch at once.

    Args:
        model: what to project into.
        targets: aligned images [N, C, H, W] in [-1, 1] at the model's size.
        settings: steps, rates and weights.
        progress: called with (step, steps, mean loss).
        mask: [N, 1, H, W], 1 where a photo shows what the model does not know, to keep it as it
            is; None to find out.
        encoder: where to start; None for the shipped one of this model, if there is one.
    """
    settings = settings or ProjectionSettings()
    generator = model.generator
    expected = (generator.img_channels, generator.config.height, generator.config.width)
    if targets.ndim != 4 or tuple(targets.shape[1:]) != expected:
        raise StylemixError(
            f"got images of shape {list(targets.shape)}; "
            f"expected [N, {', '.join(map(str, expected))}]; align them to the model"
        )
    similarity = Similarity(model, targets.to(generator.device, generator.dtype), settings)
    if settings.method == "hybrid":
        start, ws, details = _hybrid(model, similarity, settings, progress, mask, encoder)
    else:
        start, ws, details = search_published(model, similarity, settings, progress)
    with torch.no_grad():
        first = generator.synthesis(start, noise_mode="const")
        image = torch.cat([_draw(model, one, d) for one, d in zip(ws, details, strict=True)])
    rows = zip(similarity.measure(first), similarity.measure(image), strict=True)
    metrics = [b | {f"{key} start": value for key, value in a.items()} for a, b in rows]
    return Projection(ws, image, first, details, metrics)


def _draw(model: Model, ws: Tensor, detail: Residual | None) -> Tensor:
    """The image [1, C, H, W] of ws [L, w_dim] with its detail."""
    network = model.generator.synthesis
    if detail is None:
        return network(ws[None], noise_mode="const")  # type: ignore[no-any-return]
    return detail.draw(network, ws[None])


def _hybrid(
    model: Model,
    similarity: Similarity,
    settings: ProjectionSettings,
    progress: Progress | None,
    mask: Tensor | None,
    encoder: Encoder | None,
) -> tuple[Tensor, Tensor, list[Residual | None]]:
    """Start, result [N, L, w_dim] and details of the method "hybrid"."""
    encoder = encoder or shipped_encoder(model)
    count = len(similarity.targets)
    steps = [0 if encoder is not None else settings.w_steps, settings.plus_steps]
    parts = _together(model, count) if settings.refine_steps else []
    costs = [float(count)] * 2 + [REFINE_COST * len(part) for part in parts]
    steps += [settings.refine_steps] * len(parts)
    stages = Stages(steps, progress, costs, settings.budget and settings.budget * count)
    search = _Search(model, similarity, settings, stages)
    if encoder is not None:
        stages.next()
        with torch.no_grad():
            start = encoder(similarity.targets)
    else:
        # The best of some cached latents, instead of a hundred blind steps from the average.
        w = search.prior.centres[similarity.nearest(search.prior.pictures)]
        w = w.clone().requires_grad_(True)
        repeated = [1, model.generator.num_ws, 1]
        start = search.run([w], lambda: w.unsqueeze(1).repeat(repeated), search.loss_w)
    common = start.mean(dim=1, keepdim=True).clone().requires_grad_(True)
    deltas = (start - common.detach()).clone().requires_grad_(True)
    ws = search.run([common, deltas], lambda: common + deltas, search.loss_plus)
    details: list[Residual | None] = [None] * count
    close = replace(settings, pixel_weight=settings.refine_pixel_weight)
    for part in parts:
        rows = slice(part.start, part.stop)
        own, some = None if mask is None else mask[rows], similarity.part(rows, close)
        found = refine(model, some, ws[rows], settings, stages, own)
        details[rows] = found
    stages.finish()
    return start, ws, details


def _together(model: Model, count: int) -> list[range]:
    """Which photos are refined together: as many as may have weights of their own at once."""
    names = tuple(f"{name}." for name in tuned_blocks(model.generator.synthesis))
    own = dict(model.generator.synthesis.named_parameters())
    size = sum(value.numel() for name, value in own.items() if name.startswith(names))
    step = max(1, MOST_WEIGHTS // size)
    return [range(i, min(i + step, count)) for i in range(0, count, step)]


@torch.no_grad()
def seed_latent(generator: Generator, seed: int, psi: float = 0.7) -> Tensor:
    """Ws [1, L, w_dim] of a seed, truncated by `psi`."""
    return map_latents(generator, z_from_seed(seed, generator.z_dim), psi)
