"""Projection: the latents whose images look like given photos.

First one w for all layers (StyleGAN2, arXiv 1912.04958, section 5), then a w of its own for every
layer, held together by a penalty on the differences (delta form of e4e, arXiv 2102.02766).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.features import as_rgb, bring_within, load_feature_network
from stylemix.generator import Generator
from stylemix.identity import embed, identity_cosine
from stylemix.latents import map_latents, z_from_seed
from stylemix.model import Model

Progress = Callable[[int, int, float], None]
SMALLEST_FOR_FEATURES, LARGEST_FOR_FEATURES = 128, 256  # px; the network was trained on 224
SAMPLES = 10_000  # latents that the prior is made of
STARTS = 64  # latents to start from; a quarter of them for large models
CHUNK = 16  # images made at once without gradients


@dataclass(frozen=True)
class ProjectionSettings:
    """Steps, rates and weights of a projection; measured in docs/log.md."""

    w_steps: int = 100
    plus_steps: int = 200
    lr: float = 0.1
    exploration: float = 0.025  # noise on w, in standard deviations, that fades out
    pixel_weight: float = 10.0
    feature_weight: float = 1.0
    identity_weight: float = 0.3
    delta_weight: float = 0.002
    prior_weight: float = 0.0005
    seed: int = 0


@dataclass
class Projection:
    """Latents and images of photos: one w [N, w_dim], w per layer [N, L, w_dim] and what they show.

    `metrics` has, for "w" and "w+", mean squared errors (images in [-1, 1]) and identity cosines.
    """

    w: Tensor
    ws: Tensor
    image_w: Tensor
    image: Tensor
    metrics: list[dict[str, float]]


@dataclass(frozen=True)
class LatentPrior:
    """Statistics of mapped latents, and what to start from: their mean and centres of clusters.

    `whiten` turns LeakyReLU_5(w) - mean into unit Gaussians: slope 5 undoes the mapping network's
    last activation (P-norm space of II2S, arXiv 2012.09036).
    """

    w_std: float
    mean: Tensor
    whiten: Tensor
    centres: Tensor  # [M, w_dim]
    pictures: Tensor  # [M, C, H, W], of the centres

    def penalty(self, ws: Tensor) -> Tensor:
        """Mean square [N] of whitened ws [N, L, w_dim]; about 1 for mapped latents."""
        v = (F.leaky_relu(ws, 5.0) - self.mean) @ self.whiten
        return v.square().mean(dim=(1, 2))


_PRIORS: WeakKeyDictionary[Generator, LatentPrior] = WeakKeyDictionary()


def latent_prior(generator: Generator) -> LatentPrior:
    """The prior of a generator, from latents of a fixed seed; kept as long as the generator is."""
    if generator not in _PRIORS:
        _PRIORS[generator] = _find_prior(generator)
    return _PRIORS[generator]


@torch.no_grad()
def _find_prior(generator: Generator) -> LatentPrior:
    z = torch.from_numpy(np.random.RandomState(123).randn(SAMPLES, generator.z_dim)).float()
    w = torch.cat([map_latents(generator, part)[:, 0] for part in z.split(1000)])
    std = float((w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    v = F.leaky_relu(w, 5.0)
    values, vectors = torch.linalg.eigh(torch.cov(v.t()).double().cpu())
    # Directions that latents hardly use are limited, or their noise would dominate the penalty.
    whiten = vectors * values.clamp(min=values.max() * 1e-3).rsqrt()
    some = w[:2000].double().cpu().numpy()
    count = STARTS if generator.img_resolution <= 256 else STARTS // 4
    with warnings.catch_warnings():  # an empty cluster keeps its first centre, which will do
        warnings.simplefilter("ignore")
        found, _ = kmeans2(some, some[: count - 1], minit="matrix")
    centres = torch.cat([w.mean(dim=0, keepdim=True), torch.from_numpy(found).to(w)])
    pictures = torch.cat([_show(generator, part) for part in centres.split(CHUNK)])
    return LatentPrior(std, v.mean(dim=0), whiten.to(w), centres, pictures)


def _show(generator: Generator, w: Tensor) -> Tensor:
    """Images of w [N, w_dim], the same for all layers."""
    ws = w.unsqueeze(1).repeat(1, generator.num_ws, 1)
    return generator.synthesis(ws, noise_mode="const")  # type: ignore[no-any-return]


class Similarity:
    """How far images are from target images, in features, pixels and identity.

    Features are those of the model's own frozen discriminator, or of the shipped MobileNetV2 for a
    model without one; identity needs a face template.
    """

    def __init__(self, model: Model, targets: Tensor, settings: ProjectionSettings) -> None:
        self.model, self.settings, self.targets = model, settings, targets
        has_face = model.template.kind != "none"
        with torch.no_grad():
            self.maps, self.pixels = self._maps(targets), _pyramid(targets)
            self.identity = embed(as_rgb(targets), model.template) if has_face else None

    def _maps(self, images: Tensor) -> list[Tensor]:
        if self.model.discriminator is not None:
            return self.model.discriminator.features(images)
        images = bring_within(as_rgb(images), SMALLEST_FOR_FEATURES, LARGEST_FOR_FEATURES)
        return load_feature_network(str(images.device)).maps(images)

    def _distance(self, maps: list[Tensor], pixels: list[Tensor], which: slice) -> Tensor:
        total = torch.zeros(len(pixels[0]), device=pixels[0].device)
        for ours, theirs in zip(maps, self.maps, strict=True):
            theirs = theirs[which]
            power = theirs.square().mean(dim=(1, 2, 3)) + 1e-8
            error = (ours - theirs).square().mean(dim=(1, 2, 3)) / power
            total = total + error * (self.settings.feature_weight / len(maps))
        for ours, theirs in zip(pixels, self.pixels, strict=True):
            error = (ours - theirs[which]).square().mean(dim=(1, 2, 3))
            total = total + error * (self.settings.pixel_weight / len(pixels))
        return total

    def appearance(self, images: Tensor) -> Tensor:
        """Distance [N] of each image to its target, in features and in pixels at three scales."""
        return self._distance(self._maps(images), _pyramid(images), slice(None))

    @torch.no_grad()
    def nearest(self, images: Tensor) -> Tensor:
        """Which of images [M, C, H, H] looks most like each target, [N]."""
        rows = []
        for part in images.split(CHUNK):
            maps, pixels = self._maps(part), _pyramid(part)
            one_by_one = [slice(i, i + 1) for i in range(len(self.targets))]
            rows.append(torch.stack([self._distance(maps, pixels, i) for i in one_by_one]))
        return torch.cat(rows, dim=1).argmin(dim=1)

    def person(self, images: Tensor) -> Tensor:
        """Squared distance [N] of face descriptors; zero without a face template."""
        if self.identity is None:
            return torch.zeros(len(images), device=images.device)
        found = embed(as_rgb(images), self.model.template)
        return (found - self.identity).square().sum(dim=1) * self.settings.identity_weight

    @torch.no_grad()
    def measure(self, images: Tensor) -> list[dict[str, float]]:
        """Mean squared error, and identity cosine for faces, of each image."""
        mse = (images - self.targets).square().mean(dim=(1, 2, 3)).tolist()
        rows = [{"mse": value} for value in mse]
        if self.identity is not None:
            found = embed(as_rgb(images), self.model.template)
            cosines = identity_cosine(found, self.identity)
            for row, value in zip(rows, cosines.tolist(), strict=True):
                row["identity"] = value
        return rows


def _pyramid(images: Tensor) -> list[Tensor]:
    half = F.avg_pool2d(images, 2)
    return [images, half, F.avg_pool2d(half, 2)]


class _Search:
    """What both stages of a projection share: the loss, the schedule and the steps done."""

    def __init__(
        self,
        model: Model,
        similarity: Similarity,
        settings: ProjectionSettings,
        progress: Progress | None,
    ) -> None:
        self.synthesis, self.similarity = model.generator.synthesis, similarity
        self.settings, self.progress = settings, progress
        self.prior = latent_prior(model.generator)
        self.draw = torch.Generator().manual_seed(settings.seed)
        self.done = 0

    def run(
        self,
        parameters: list[Tensor],
        ws: Callable[[], Tensor],
        loss_of: Callable[[Tensor, int], Tensor],
        steps: int,
    ) -> None:
        """Moves `parameters` so that the mean of `loss_of(ws(), step)` falls."""
        adam = torch.optim.Adam(parameters, lr=self.settings.lr)
        for step in range(steps):
            for group in adam.param_groups:
                group["lr"] = self.settings.lr * _ramp(step, steps)
            losses = loss_of(ws(), step)
            adam.zero_grad()
            losses.sum().backward()
            adam.step()
            self.done += 1
            if self.progress is not None:
                total = self.settings.w_steps + self.settings.plus_steps
                self.progress(self.done, total, float(losses.detach().mean()))

    def loss_w(self, ws: Tensor, step: int) -> Tensor:
        """Losses [N] of one w for all layers, looked at through noise that fades out."""
        fade = max(0.0, 1 - step / self.settings.w_steps / 0.75) ** 2
        # The same noise for all, so that a photo's result does not depend on those beside it.
        noise = torch.randn([1, 1, ws.shape[2]], generator=self.draw).to(ws)
        ws = ws + noise * (fade * self.settings.exploration * self.prior.w_std)
        return self._appearance(ws, self.synthesis(ws, noise_mode="const"))

    def loss_plus(self, ws: Tensor, step: int) -> Tensor:
        """Losses [N] of a w for each layer."""
        images = self.synthesis(ws, noise_mode="const")
        deltas = (ws - ws.mean(dim=1, keepdim=True)) / self.prior.w_std
        losses = self._appearance(ws, images)
        losses = losses + self.settings.delta_weight * deltas.square().sum(dim=2).mean(dim=1)
        # Identity is the dearest term by far and changes slowly: every other step will do.
        return losses if step % 2 else losses + self.similarity.person(images)

    def _appearance(self, ws: Tensor, images: Tensor) -> Tensor:
        unlikely = self.settings.prior_weight * self.prior.penalty(ws)
        return self.similarity.appearance(images) + unlikely


def _ramp(step: int, steps: int) -> float:
    """Share of the learning rate: up in the first 5 %, down a cosine in the last 40 %."""
    up = min(1.0, (step + 1) / steps / 0.05)
    return up * (0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - step / steps) / 0.4)))


def project(
    model: Model,
    targets: Tensor,
    settings: ProjectionSettings | None = None,
    progress: Progress | None = None,
) -> Projection:
    """Finds latents of aligned photos, all photos of the batch at once.

    Args:
        model: what to project into.
        targets: aligned images [N, C, H, W] in [-1, 1] at the model's size.
        settings: steps, rates and weights.
        progress: called after each step with (step, steps, mean loss).
    """
    settings = settings or ProjectionSettings()
    generator = model.generator
    expected = (generator.img_channels, generator.config.height, generator.config.width)
    if targets.ndim != 4 or tuple(targets.shape[1:]) != expected:
        raise StylemixError(
            f"got images of shape {list(targets.shape)}; "
            f"expected [N, {', '.join(map(str, expected))}]; align them to the model"
        )
    similarity = Similarity(model, targets.to(generator.mapping.w_avg), settings)
    search = _Search(model, similarity, settings, progress)
    # The best of some cached latents, instead of a hundred blind steps from the average.
    starts = search.prior.centres[similarity.nearest(search.prior.pictures)]

    single = starts.clone().requires_grad_(True)
    repeated = [1, generator.num_ws, 1]
    search.run(
        [single], lambda: single.unsqueeze(1).repeat(repeated), search.loss_w, settings.w_steps
    )
    w = single.detach().clone()
    deltas = torch.zeros([len(w), generator.num_ws, generator.w_dim]).to(w).requires_grad_(True)
    search.run(
        [single, deltas], lambda: single.unsqueeze(1) + deltas, search.loss_plus,
        settings.plus_steps,
    )  # fmt: skip
    with torch.no_grad():
        ws = single.unsqueeze(1) + deltas
        image_w, image = _show(generator, w), generator.synthesis(ws, noise_mode="const")
    rows = zip(similarity.measure(image_w), similarity.measure(image), strict=True)
    metrics = [
        {f"{k} w": v for k, v in a.items()} | {f"{k} w+": v for k, v in b.items()} for a, b in rows
    ]
    return Projection(w, ws, image_w, image, metrics)


@torch.no_grad()
def seed_latent(generator: Generator, seed: int, psi: float = 0.7) -> Tensor:
    """Ws [1, L, w_dim] of a seed, truncated by `psi`."""
    return map_latents(generator, z_from_seed(seed, generator.z_dim), psi)
