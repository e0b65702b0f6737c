"""Projection (GAN inversion): the latents whose images reproduce given photos.

The start comes from an encoder, or from the nearest of some cached latents, optimised in W
(StyleGAN2, arXiv 1912.04958, section 5). Then W+ is optimised, with a penalty on the differences
between layers (delta regularisation of e4e, arXiv 2102.02766); last comes the refinement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.adam import Adam
from stylemix.inversion.baselines import search_published
from stylemix.inversion.encoder import Encoder, shipped_encoder
from stylemix.inversion.label_search import nearest_classes
from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.refine import refine
from stylemix.inversion.residual import Residual
from stylemix.inversion.schedule import Stages, hold_then_cosine, optimise
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.tuned_blocks import tuned_blocks
from stylemix.models.loading import adjust
from stylemix.models.model import Model
from stylemix.networks.labels import label_of
from stylemix.progress import Progress

REFINE_COST = 1.5  # duration of a refinement step, in steps of the latent search
MAX_WEIGHTS = 2**25  # tuned parameters of all photos that are refined together


@dataclass
class Projection:
    """Latents ws [N, L, w_dim] of photos, their images, and the images of the start.

    `details` has the residual of each photo, or None. `metrics` has mean squared errors (images in
    [-1, 1]) and, for faces, identity cosines, of the start and of the result. `labels` has the
    label of each photo, None without labels.
    """

    ws: Tensor
    image: Tensor
    image_start: Tensor
    details: list[Residual | None]
    metrics: list[dict[str, float]]
    labels: list[tuple[float, ...] | None]


class _Search:
    """The loss and the schedule that the latent stages of a projection share."""

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
        self.rng = torch.Generator().manual_seed(settings.seed)

    def run(
        self,
        parameters: list[Tensor],
        ws: Callable[[], Tensor],
        loss_of: Callable[[Tensor, float, bool], Tensor],
    ) -> Tensor:
        """Optimises `parameters` for the loss of `ws()`; returns the ws of lowest loss by row.

        The loss can rise again, so the last ws need not be the best.
        """
        best = ws().detach().clone()
        lowest = torch.full([len(best)], math.inf, device=best.device)

        def losses_at(step: int, t: float) -> Tensor:
            nonlocal best, lowest
            # Identity is by far the most expensive term and changes slowly: only every other step.
            full = step % 2 == 0
            current = ws()
            losses = loss_of(current, t, full)
            if full:
                best, lowest = _keep_lower(best, lowest, current.detach(), losses.detach())
            return losses

        adam = Adam([(parameters, self.settings.lr)])
        optimise(adam, losses_at, self.stages, hold_then_cosine)
        if self.stages.steps[self.stages.index]:
            last = ws().detach()
            with torch.no_grad():
                best, _ = _keep_lower(best, lowest, last, loss_of(last, 1.0, True))
        return best

    def loss_w(self, ws: Tensor, t: float, full: bool) -> Tensor:
        """Losses [N] in W, with noise on w that decays to zero."""
        fade = max(0.0, 1 - t / 0.75) ** 2
        # The same noise for all photos, so that a result does not depend on the rest of the batch.
        noise = torch.randn([1, 1, ws.shape[2]], generator=self.rng).to(ws)
        ws = ws + noise * (fade * self.settings.exploration * self.prior.w_std)
        return self._appearance(ws, self._generate(ws))

    def loss_plus(self, ws: Tensor, t: float, full: bool) -> Tensor:
        """Losses [N] in W+; the identity loss only if `full`."""
        images = self._generate(ws)
        deltas = (ws - ws.mean(dim=1, keepdim=True)) / self.prior.w_std
        losses = self._appearance(ws, images)
        losses = losses + self.settings.delta_weight * deltas.square().sum(dim=2).mean(dim=1)
        return losses + self.similarity.person(images) if full else losses

    def _generate(self, ws: Tensor) -> Tensor:
        images: Tensor = self.synthesis(ws, noise_mode="const", dtype=self.similarity.dtype)
        return images

    def _appearance(self, ws: Tensor, images: Tensor) -> Tensor:
        penalty = self.settings.prior_weight * self.prior.penalty(ws)
        return self.similarity.appearance(images) + penalty


def _keep_lower(
    best: Tensor, lowest: Tensor, current: Tensor, losses: Tensor
) -> tuple[Tensor, Tensor]:
    """For each row, the latents [N, L, w_dim] of lower loss, and that loss [N]."""
    better = losses < lowest
    return torch.where(better[:, None, None], current, best), torch.minimum(losses, lowest)


@torch.inference_mode(False)  # it needs gradients, whatever the mode of the caller
def project(
    model: Model,
    targets: Tensor,
    settings: ProjectionSettings | None = None,
    progress: Progress | None = None,
    mask: Tensor | None = None,
    encoder: Encoder | None = None,
) -> Projection:
    """Projects a batch of aligned photos into the latent space of a model.

    For a conditional model that is not at a label, the class of each photo is searched first.

    Args:
        model: the model to project into.
        targets: aligned images [N, C, H, W] in [-1, 1] at the model's size.
        settings: steps, learning rates and loss weights.
        progress: called with (step, steps, mean loss), and before that with (class, classes) where
            they are searched.
        mask: [N, 1, H, W], 1 where a photo shows what the model cannot generate and features
            replace its own; None to estimate it.
        encoder: gives the initial latents; None for the shipped encoder of this model, if any.
    """
    generator = model.generator
    settings = settings or ProjectionSettings()
    settings = settings.at(generator.img_resolution, generator.device)
    expected = (generator.img_channels, generator.config.height, generator.config.width)
    if targets.ndim != 4 or tuple(targets.shape[1:]) != expected:
        raise StylemixError(
            f"got images of shape {list(targets.shape)}; "
            f"expected [N, {', '.join(map(str, expected))}]; align them to the model"
        )
    if generator.needs_label:
        return _project_by_class(model, targets, settings, progress, mask, encoder)
    similarity = Similarity(model, targets.to(generator.device, generator.dtype), settings)
    if settings.method == "hybrid":
        start, ws, details = _hybrid(model, similarity, settings, progress, mask, encoder)
    else:
        start, ws, details = search_published(model, similarity, settings, progress)
    with torch.no_grad():
        first = generator.synthesis(start, noise_mode="const")
        image = torch.cat([_render(model, row, d) for row, d in zip(ws, details, strict=True)])
    rows = zip(similarity.measure(first), similarity.measure(image), strict=True)
    metrics = [b | {f"{key} start": value for key, value in a.items()} for a, b in rows]
    labels = [label_of(generator.mapping)] * len(ws)
    return Projection(ws, image, first, details, metrics, labels)


def _project_by_class(
    model: Model,
    targets: Tensor,
    settings: ProjectionSettings,
    progress: Progress | None,
    mask: Tensor | None,
    encoder: Encoder | None,
) -> Projection:
    """Projects each photo at the class that is nearest to it, all photos of a class together."""
    classes = nearest_classes(model, targets, settings, progress)
    order = sorted(range(len(classes)), key=classes.__getitem__)
    parts = []
    for number in sorted(set(classes)):
        rows = [i for i in order if classes[i] == number]
        masks = None if mask is None else mask[rows]
        at_class = adjust(model, None, number)
        parts.append(project(at_class, targets[rows], settings, progress, masks, encoder))
    back = sorted(range(len(order)), key=order.__getitem__)

    def joined(name: str) -> list[Any]:
        values = [value for part in parts for value in getattr(part, name)]
        return [values[i] for i in back]

    ws, image, first = (torch.stack(joined(name)) for name in ("ws", "image", "image_start"))
    details, metrics, labels = (joined(name) for name in ("details", "metrics", "labels"))
    return Projection(ws, image, first, details, metrics, labels)


def _render(model: Model, ws: Tensor, detail: Residual | None) -> Tensor:
    """The image [1, C, H, W] of ws [L, w_dim] with its residual."""
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
    """Initial and final ws [N, L, w_dim] and residuals of the method "hybrid"."""
    encoder = encoder or shipped_encoder(model)
    count = len(similarity.targets)
    steps = [0 if encoder is not None else settings.w_steps, settings.plus_steps]
    batches = _refine_batches(model, count) if settings.refine_steps else []
    costs = [float(count)] * 2 + [REFINE_COST * len(batch) for batch in batches]
    steps += [settings.refine_steps] * len(batches)
    stages = Stages(steps, progress, costs, settings.budget and settings.budget * count)
    search = _Search(model, similarity, settings, stages)
    if encoder is not None:
        stages.next()
        with torch.no_grad():
            start = encoder(similarity.targets)
    else:
        # The nearest cached latent replaces about a hundred steps from the mean of w.
        w = search.prior.centres[similarity.nearest(search.prior.images)]
        w = w.clone().requires_grad_(True)
        repeated = [1, model.generator.num_ws, 1]
        start = search.run([w], lambda: w.unsqueeze(1).repeat(repeated), search.loss_w)
    common = start.mean(dim=1, keepdim=True).clone().requires_grad_(True)
    deltas = (start - common.detach()).clone().requires_grad_(True)
    ws = search.run([common, deltas], lambda: common + deltas, search.loss_plus)
    details: list[Residual | None] = [None] * count
    close = replace(settings, pixel_weight=settings.refine_pixel_weight)
    for batch in batches:
        rows = slice(batch.start, batch.stop)
        masks, part = None if mask is None else mask[rows], similarity.part(rows, close)
        residuals = refine(model, part, ws[rows], settings, stages, masks)
        details[rows] = residuals
    stages.finish()
    return start, ws, details


def _refine_batches(model: Model, count: int) -> list[range]:
    """The batches of photos that are refined together, limited by `MAX_WEIGHTS`."""
    names = tuple(f"{name}." for name in tuned_blocks(model.generator.synthesis))
    parameters = dict(model.generator.synthesis.named_parameters())
    size = sum(value.numel() for name, value in parameters.items() if name.startswith(names))
    step = max(1, MAX_WEIGHTS // size)
    return [range(i, min(i + step, count)) for i in range(0, count, step)]
