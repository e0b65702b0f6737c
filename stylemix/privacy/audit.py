"""Audits: has a model memorised its training images, and can one tell what it was trained on?

Everything is a comparison with held-out images, which come from where the training images come
from but were not trained on: what is true of them as well is no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.projection import project
from stylemix.inversion.settings import PHOTOS_AT_ONCE, PRESETS
from stylemix.messages import note
from stylemix.metrics.distances import Array, Features
from stylemix.metrics.extractors import ImageSet, check_labels, generator_features
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.metrics.memorization import (
    Closeness,
    Estimate,
    auc,
    bootstrap,
    closeness,
    copy_rate,
    copying_test,
    nearest,
    pair_threshold,
    relative_gap,
)
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.privacy.spaces import Space, feature_spaces
from stylemix.progress import progress_bar, track

COPYING = -3.0  # C_T below which a generator copies (Meehan et al. 2020)
FALSE_MATCHES = 1e-5  # share of pairs of held-out faces that recognition takes for one person
BATCH = 32  # images at most at once
PAIRS = 12  # nearest pairs that are kept of each space


@dataclass(frozen=True)
class AuditSettings:
    """The size of an audit.

    Attributes:
        count: generated images; None for as many as held-out images.
        seed: seed of the first generated image; the others follow.
        psi: truncation of the generated images; below 1 they are nearer to the average.
        projected: images of each set that are projected for the recovery; 0 for none.
    """

    count: int | None = None
    seed: int = 0
    psi: float = 1.0
    projected: int = 64


@dataclass(frozen=True)
class Pair:
    """A generated image, by its seed, and the number of its nearest training image."""

    seed: int
    train: int
    distance: float


@dataclass(frozen=True)
class SpaceAudit:
    """The audit in one feature space.

    Attributes:
        c_t: the copying test; None for too few images.
        copies: the copy rate.
        identity: how many faces are within the threshold of recognition of a training image, at
            `FALSE_MATCHES`; None outside the spaces of faces.
        pairs: the nearest pairs of generated and training images, nearest first.
    """

    c_t: float | None
    copies: Closeness
    identity: Closeness | None
    pairs: list[Pair]


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes:
        generated, train, held_out: numbers of images.
        spaces: by name of the feature space.
        recovery: by how much the error of projecting training images is below that of held-out
            ones, in shares of it (Webster et al. 2019, arXiv 1901.03396).
        membership: area under the ROC curve of guessing what was trained on; .5 is chance.
        by: what it is guessed by: "discriminator" or "reconstruction".
    """

    generated: int
    train: int
    held_out: int
    spaces: dict[str, SpaceAudit]
    recovery: Estimate | None = None
    membership: Estimate | None = None
    by: str = ""

    @property
    def findings(self) -> list[str]:
        """What suggests that training images can be recovered, a sentence each; [] for nothing."""
        found = []
        for name, space in self.spaces.items():
            if space.c_t is not None and space.c_t < COPYING:
                found.append(f"C_T in {name} is below {COPYING:g}: training images are copied")
            if not space.copies.passes:
                found.append(f"the copy rate in {name} is above that of held-out images")
            if space.identity is not None and not space.identity.passes:
                found.append(f"people of the training set are generated, by {name}")
        if self.recovery is not None and self.recovery.low > 0:
            found.append("training images are reconstructed better than new ones")
        if self.membership is not None and self.membership.low > 0.5:
            found.append(f"the {self.by} tells training images from new ones")
        return found


def audit(
    model: Model,
    data: ImageSet,
    held_out: ImageSet | None = None,
    settings: AuditSettings | None = None,
    cache: Path | None = None,
    show: bool = False,
) -> Audit:
    """Audits a model against the images that it was trained on.

    Args:
        model: the model, with its discriminator if membership is to be guessed by that.
        data: the images that it was trained on, at its size and with its alignment.
        held_out: images of the same source that it was not trained on. Without them training
            images are compared with the others of the training set, which tells copies as well,
            but neither recovery nor membership.
        settings: sizes.
        cache: folder for the features of real images; None keeps none.
        show: show progress bars.

    Raises StylemixError for fewer than two images of a set.
    """
    settings = settings or AuditSettings()
    reals = data if held_out is None else held_out
    for images in (data, reals):
        if len(images) < 2:
            raise StylemixError("got fewer than 2 images; expected more; choose other data")
        check_labels(model.generator.c_dim, images)
    seeds = range(settings.seed, settings.seed + (settings.count or len(reals)))
    spaces = {
        space.name: _in_space(model, space, data, held_out, seeds, settings.psi, cache, show)
        for space in feature_spaces(model.template, model.generator.device)
    }
    result = Audit(len(seeds), len(data), len(reals), spaces)
    if held_out is None:
        return result
    errors = _errors(model, data, held_out, settings.projected, show)
    if errors is not None:
        scores, by = (-errors[0], -errors[1]), "reconstruction"
        result = replace(result, recovery=bootstrap(relative_gap, *errors))
    if model.discriminator is not None:
        scores, by = _judged(model, data, held_out, show), "discriminator"
    elif errors is None:
        return result
    return replace(result, membership=bootstrap(auc, *scores), by=by)


def _in_space(
    model: Model,
    space: Space,
    data: ImageSet,
    held_out: ImageSet | None,
    seeds: range,
    psi: float,
    cache: Path | None,
    show: bool,
) -> SpaceAudit:
    if show:
        note(f"Comparing images by {space.name}")
    batch = batch_size(model.generator, BATCH)
    train = cached_real_features(data, space.extractor, cache, batch, show)
    made = generator_features(model.generator, seeds, space.extractor, BATCH, psi, data, show)
    if held_out is None:
        new: Features = train
        theirs = nearest(train, train, own=range(len(train)))[0]
    else:
        new = cached_real_features(held_out, space.extractor, cache, batch, show)
        theirs = nearest(new, train)[0]
    ours, which = nearest(made, train)
    identity = None
    if space.faces:
        identity = closeness(ours, theirs, pair_threshold(new, FALSE_MATCHES))
    order = np.argsort(ours)[:PAIRS]
    pairs = [Pair(seeds[i], int(which[i]), float(ours[i])) for i in order]
    return SpaceAudit(
        copying_test(made, new, train, (ours, theirs)), copy_rate(ours, theirs), identity, pairs
    )


def evenly(count: int, images: ImageSet) -> list[int]:
    """Returns up to `count` numbers of images, evenly spaced in a set."""
    count = min(count, len(images))
    return [i * len(images) // count for i in range(count)]


def _errors(
    model: Model, data: ImageSet, held_out: ImageSet, count: int, show: bool
) -> tuple[Array, Array] | None:
    """Squared errors of the latents of images of both sets; None for no images.

    Without the refinement, which changes the model until it shows what it does not know.
    """
    if not count:
        return None
    settings = replace(PRESETS["fast"], refine_steps=0)
    step = batch_size(model.generator, PHOTOS_AT_ONCE, gradients=True)
    rows: list[list[float]] = [[], []]
    sets = [(images, evenly(count, images)) for images in (data, held_out)]
    total = sum(len(numbers) for _, numbers in sets)
    with progress_bar("Projecting", "photo", show) as report:
        report(0, total)
        for errors, (images, numbers) in zip(rows, sets, strict=True):
            for start in range(0, len(numbers), step):
                targets = _tensor(images, numbers[start : start + step])
                errors += [row["mse"] for row in project(model, targets, settings).metrics]
                report(sum(map(len, rows)), total)
    return np.array(rows[0]), np.array(rows[1])


@torch.no_grad()
def _judged(model: Model, data: ImageSet, held_out: ImageSet, show: bool) -> tuple[Array, Array]:
    """The discriminator's scores of training and held-out images, as many of each.

    Batches have both alternately, since it compares the images of a batch.
    """
    assert model.discriminator is not None
    device = model.generator.device
    count = min(len(data), len(held_out))
    sets = [(images, evenly(count, images)) for images in (data, held_out)]
    half, scores = max(1, batch_size(model.generator, BATCH) // 2), []
    for start in track(range(0, count, half), "Judging", -(-count // half), show=show):
        numbers = [(images, chosen[start : start + half]) for images, chosen in sets]
        images = torch.stack([_tensor(*part) for part in numbers], 1).flatten(0, 1).to(device)
        c = None
        if model.discriminator.c_dim:
            labels = [part.labels_at(chosen) for part, chosen in numbers]
            c = torch.stack([part for part in labels if part is not None], 1).flatten(0, 1)
            c = c.to(device)
        scores.append(model.discriminator(images, c)[:, 0].double().cpu())
    both = torch.cat(scores).reshape(-1, 2).numpy()
    return both[:, 0], both[:, 1]


def _tensor(images: ImageSet, numbers: Sequence[int]) -> Tensor:
    return images.batch(numbers)[0] / 127.5 - 1
