"""Projection: the latents whose images look like given photos.

First one w for all layers (StyleGAN2, arXiv 1912.04958, section 5), then a w of its own for every
layer, held together by a penalty on the differences (delta form of e4e, arXiv 2102.02766).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from scipy.cluster.vq import kmeans2
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.features import load_feature_network
from stylemix.generator import Generator
from stylemix.identity import embed, identity_cosine
from stylemix.latents import z_from_seed
from stylemix.model import Model

Progress = Callable[[int, int, float], None]
SMALLEST_FOR_FEATURES = 128  # px; the feature network was trained on 224


@dataclass(frozen=True)
class ProjectionSettings:
    """Steps, rates and weights of a projection; measured in docs/log.md."""

    w_steps: int = 100
    plus_steps: int = 200
    lr: float = 0.05
    exploration: float = 0.025  # noise on w, in standard deviations, that fades out
    pixel_weight: float = 4.0
    feature_weight: float = 0.5
    identity_weight: float = 1.0
    delta_weight: float = 0.02
    prior_weight: float = 0.002
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
    """Statistics of mapped latents, and centres of their clusters to start from.

    `whiten` turns LeakyReLU_5(w) - mean into unit Gaussians: slope 5 undoes the mapping network's
    last activation (P-norm space of II2S, arXiv 2012.09036).
    """

    w_std: float
    mean: Tensor
    whiten: Tensor
    centres: Tensor

    def penalty(self, ws: Tensor) -> Tensor:
        """Mean square [N] of whitened ws [N, L, w_dim]; about 1 for mapped latents."""
        v = (F.leaky_relu(ws, 5.0) - self.mean) @ self.whiten
        return v.square().mean(dim=(1, 2))


def latent_prior(generator: Generator, samples: int = 10_000, centres: int = 64) -> LatentPrior:
    """The prior of a generator, from `samples` latents of a fixed seed; kept for later calls."""
    return _prior(generator, samples, centres)


@lru_cache(maxsize=4)
def _prior(generator: Generator, samples: int, centres: int) -> LatentPrior:
    device = generator.mapping.w_avg.device
    draw = np.random.RandomState(123)
    z = torch.from_numpy(draw.randn(samples, generator.z_dim)).float().to(device)
    c = torch.zeros([1, generator.c_dim], device=device)  # no class: their common part
    with torch.no_grad():
        parts = [generator.mapping(p, c.expand(len(p), -1))[:, 0] for p in z.split(1000)]
    w = torch.cat(parts)
    std = float((w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    v = F.leaky_relu(w, 5.0)
    mean = v.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(v.t()).double().cpu())
    # Directions that latents hardly use are limited, or their noise would dominate the penalty.
    floor = values.max() * 1e-3
    whiten = (vectors * values.clamp(min=floor).rsqrt()).float().to(device)
    found, _ = kmeans2(w[:2000].double().cpu().numpy(), centres - 1, seed=0, minit="++")
    starts = torch.cat([w.mean(dim=0, keepdim=True), torch.from_numpy(found).to(w)])
    return LatentPrior(std, mean, whiten, starts)


class Similarity:
    """How far images are from target images, in features, pixels and identity.

    Features are those of the model's own frozen discriminator, or of the shipped MobileNetV2 for a
    model without one; identity needs a face template.
    """

    def __init__(self, model: Model, targets: Tensor, settings: ProjectionSettings) -> None:
        self.model, self.settings, self.targets = model, settings, targets
        with torch.no_grad():
            self.features = self._maps(targets)
            self.identity = embed(targets, model.template) if self._has_face else None

    @property
    def _has_face(self) -> bool:
        return self.model.template.kind != "none" and self.targets.shape[1] == 3

    def _maps(self, images: Tensor) -> list[Tensor]:
        if self.model.discriminator is not None:
            return self.model.discriminator.features(images)
        if images.shape[1] == 1:
            images = images.repeat(1, 3, 1, 1)
        if images.shape[-1] < SMALLEST_FOR_FEATURES:
            images = F.interpolate(images, SMALLEST_FOR_FEATURES, mode="bilinear")
        return load_feature_network(str(images.device)).maps(images)

    def appearance(self, images: Tensor, targets: slice | None = None) -> Tensor:
        """Distance [N] in features and pixels at three scales."""
        pick = targets or slice(None)
        total = torch.zeros(len(images), device=images.device)
        for ours, theirs in zip(self._maps(images), self.features, strict=True):
            theirs = theirs[pick]
            scale = theirs.square().mean(dim=(1, 2, 3)) + 1e-8
            total = total + (ours - theirs).square().mean(dim=(1, 2, 3)) / scale
        total = total * (self.settings.feature_weight / len(self.features))
        ours, theirs = images, self.targets[pick]
        for _ in range(3):
            error = (ours - theirs).square().mean(dim=(1, 2, 3))
            total = total + error * (self.settings.pixel_weight / 3)
            ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
        return total

    def person(self, images: Tensor) -> Tensor:
        """Squared distance [N] of face descriptors; zero without a face template."""
        if self.identity is None:
            return torch.zeros(len(images), device=images.device)
        found = embed(images, self.model.template)
        return (found - self.identity).square().sum(dim=1) * self.settings.identity_weight

    @torch.no_grad()
    def measure(self, images: Tensor) -> list[dict[str, float]]:
        """Mean squared error, and identity cosine for faces, of each image."""
        mse = (images - self.targets).square().mean(dim=(1, 2, 3)).tolist()
        rows = [{"mse": value} for value in mse]
        if self.identity is not None:
            cosines = identity_cosine(embed(images, self.model.template), self.identity)
            for row, value in zip(rows, cosines.tolist(), strict=True):
                row["identity"] = value
        return rows


def project(
    model: Model,
    targets: Tensor,
    settings: ProjectionSettings | None = None,
    progress: Progress | None = None,
) -> Projection:
    """Finds latents of aligned photos, all photos of the batch at once.

    Args:
        model: what to project into.
        targets: aligned images [N, C, H, H] in [-1, 1] at the model's resolution.
        settings: steps, rates and weights.
        progress: called after each step with (step, steps, mean loss).
    """
    settings = settings or ProjectionSettings()
    generator = model.generator
    side = generator.img_resolution
    if targets.ndim != 4 or tuple(targets.shape[1:]) != (generator.img_channels, side, side):
        raise StylemixError(
            f"got images of shape {list(targets.shape)}; "
            f"expected [N, {generator.img_channels}, {side}, {side}]; align them to the model"
        )
    targets = targets.to(generator.mapping.w_avg)
    similarity = Similarity(model, targets, settings)
    prior = latent_prior(generator)
    draw = torch.Generator().manual_seed(settings.seed)
    steps = settings.w_steps + settings.plus_steps
    done = 0

    def optimise(
        parameters: list[Tensor], ws: Callable[[], Tensor], count: int, plus: bool
    ) -> None:
        nonlocal done
        adam = torch.optim.Adam(parameters, lr=settings.lr)
        for i in range(count):
            t = i / count
            for group in adam.param_groups:  # ramps of StyleGAN2's projector
                ramp = min(1.0, (t + 1 / count) / 0.05) * (
                    0.5 - 0.5 * np.cos(np.pi * min(1.0, (1 - t) / 0.4))
                )
                group["lr"] = settings.lr * float(ramp)
            w = ws()
            fade = settings.exploration * prior.w_std * max(0.0, 1 - t / 0.75) ** 2
            if not plus and fade > 0:
                noise = torch.randn([len(targets), 1, w.shape[2]], generator=draw)
                w = w + noise.to(w) * fade
            images = generator.synthesis(w, noise_mode="const")
            loss = similarity.appearance(images) + settings.prior_weight * prior.penalty(w)
            if plus:
                deltas = (w - w.mean(dim=1, keepdim=True)) / prior.w_std
                loss = loss + settings.delta_weight * deltas.square().sum(dim=2).mean(dim=1)
                # Identity is the dearest term by far and changes slowly: every other step will do.
                if i % 2 == 0:
                    loss = loss + similarity.person(images)
            adam.zero_grad()
            loss.sum().backward()
            adam.step()
            done += 1
            if progress is not None:
                progress(done, steps, float(loss.detach().mean()))

    single = _best_start(generator, similarity, prior, len(targets)).requires_grad_(True)
    layers = generator.num_ws
    optimise([single], lambda: single.unsqueeze(1).repeat(1, layers, 1), settings.w_steps, False)
    w = single.detach().clone()
    deltas = torch.zeros([len(targets), layers, generator.w_dim]).to(w).requires_grad_(True)
    optimise([single, deltas], lambda: single.unsqueeze(1) + deltas, settings.plus_steps, True)
    with torch.no_grad():
        ws = single.unsqueeze(1) + deltas
        image_w = generator.synthesis(w.unsqueeze(1).repeat(1, layers, 1), noise_mode="const")
        image = generator.synthesis(ws, noise_mode="const")
    rows = zip(similarity.measure(image_w), similarity.measure(image), strict=True)
    metrics = [
        {f"{k} w": v for k, v in a.items()} | {f"{k} w+": v for k, v in b.items()} for a, b in rows
    ]
    return Projection(w, ws.detach(), image_w, image, metrics)


@torch.no_grad()
def _best_start(
    generator: Generator, similarity: Similarity, prior: LatentPrior, count: int
) -> Tensor:
    """The cached latent [N, w_dim] that looks most like each target, instead of blind steps."""
    centres = prior.centres if generator.img_resolution <= 256 else prior.centres[:16]
    images = _pictures(generator, centres)
    best = []
    for i in range(count):
        distances = [similarity.appearance(part, slice(i, i + 1)) for part in images.split(16)]
        best.append(centres[int(torch.cat(distances).argmin())])
    return torch.stack(best).clone()


@lru_cache(maxsize=4)
def _pictures_of(generator: Generator, count: int) -> Tensor:
    centres = latent_prior(generator).centres[:count]
    parts = [
        generator.synthesis(p.unsqueeze(1).repeat(1, generator.num_ws, 1), noise_mode="const")
        for p in centres.split(16)
    ]
    return torch.cat(parts)


def _pictures(generator: Generator, centres: Tensor) -> Tensor:
    return _pictures_of(generator, len(centres))


def seed_latent(generator: Generator, seed: int, psi: float = 0.7) -> Tensor:
    """Ws [1, L, w_dim] of a seed, truncated by `psi`."""
    z = z_from_seed(seed, generator.z_dim).to(generator.mapping.w_avg)
    c = torch.zeros([1, generator.c_dim], device=z.device) if generator.c_dim else None
    with torch.no_grad():
        return generator.mapping(z, c, truncation_psi=psi)  # type: ignore[no-any-return]
