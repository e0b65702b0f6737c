"""Styles from pairs: the same face once as the model draws it and once in the style.

With pairs nothing can be lost that an unpaired transfer loses, glasses or age: the generator
learns the drawing of a face at that face's own latent, by pixels and features, and with enough
pairs by a discriminator as well, for sharp lines (as pix2pix, arXiv 1611.07004, with w as input).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.adam import Adam
from stylemix.inversion.loss import Similarity
from stylemix.inversion.refine import changes
from stylemix.inversion.schedule import Stages, hold_then_cosine, optimise
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.labels import label_batch
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.trainable import style_weights
from stylemix.training.augment.pipe import PIPES
from stylemix.training.losses import d_logistic, g_logistic, r1_penalty

MIN_PAIRS = 4
ALL_WEIGHTS_PAIRS = 24  # from so many pairs on all weights learn, below it the affine layers
ADVERSARIAL_PAIRS = 64  # from so many on a discriminator takes part; fewer it knows by heart
BETAS = (0.0, 0.99)


@dataclass(frozen=True)
class PairSettings:
    """Length, rates and weights of learning from pairs.

    Attributes:
        steps: None for 300 to 3000, by the number of pairs.
        part: what the style changes, "affine" or "all"; None for what the number of pairs allows.
        pixel_weight: of squared errors at three scales.
        feature_weight: of the base's discriminator's features, or of MobileNetV2's.
        adversarial_weight: 0 for none; with less than 64 pairs there is none either.
    """

    steps: int | None = None
    part: str | None = None
    batch: int = 8
    lr: float = 0.002
    pixel_weight: float = 20.0
    feature_weight: float = 1.0
    adversarial_weight: float = 0.1
    r1_gamma: float = 1.0
    r1_interval: int = 16
    augment_p: float = 0.2
    seed: int = 0


def learn_pairs(
    model: Model,
    ws: Tensor,
    drawings: Tensor,
    settings: PairSettings | None = None,
    progress: Progress | None = None,
) -> Style:
    """A style that draws latents ws [N, L, w_dim] as the drawings [N, C, H, W] in [-1, 1].

    Raises StylemixError for fewer than 4 pairs, or as many drawings as there are latents not.
    """
    settings = settings or PairSettings()
    count = len(ws)
    check_pairs(count, len(drawings))
    device, dtype = model.generator.device, model.generator.dtype
    ws, drawings = ws.to(device, dtype), drawings.to(device, dtype)
    network = copy.deepcopy(model.generator.synthesis)
    learned = style_weights(network, settings.part or usual_part(count))
    adam = Adam([(list(learned.values()), settings.lr)], BETAS)
    weights = ProjectionSettings(
        pixel_weight=settings.pixel_weight, feature_weight=settings.feature_weight
    )
    alike = Similarity(model, drawings[:1], weights)
    rng = torch.Generator().manual_seed(settings.seed)
    critic = None
    if count >= ADVERSARIAL_PAIRS and model.discriminator is not None:
        critic = _Critic(model.discriminator, settings)

    def losses_at(step: int, _t: float) -> Tensor:
        chosen = torch.randint(0, count, [min(settings.batch, count)], generator=rng).to(device)
        targets = drawings[chosen]
        images = network(ws[chosen], noise_mode="const")
        losses = alike.toward(targets).appearance(images)
        if critic is not None:
            losses = losses + settings.adversarial_weight * critic.loss(step, images, targets)
        return losses

    steps = settings.steps or min(3000, 300 + 10 * count)
    with torch.random.fork_rng(devices=[]):  # the critic's pipe uses torch's CPU generator
        torch.default_generator.manual_seed(settings.seed)
        optimise(adam, losses_at, Stages([steps], progress), hold_then_cosine, plateau=False)
    return Style(model.fingerprint, weights=changes(model.generator, learned))


def check_pairs(faces: int, drawings: int) -> None:
    """Raises StylemixError for fewer than 4 pairs, or as many drawings as there are faces not."""
    if faces < MIN_PAIRS or drawings != faces:
        raise StylemixError(
            f"got {faces} faces and {drawings} drawings; expected as many of both, at least "
            f"{MIN_PAIRS}; add pairs"
        )


def usual_part(count: int) -> str:
    """What so many pairs can train: all weights, or the affine layers."""
    return "all" if count >= ALL_WEIGHTS_PAIRS else "affine"


class _Critic:
    """The base's discriminator, learning to tell drawings from what the generator draws."""

    def __init__(self, base: Discriminator, settings: PairSettings) -> None:
        self.settings = settings
        self.network = copy.deepcopy(base).requires_grad_(True).train()
        self.adam = Adam([(list(self.network.parameters()), settings.lr)], BETAS)
        self.pipe = PIPES["bgc"]

    def loss(self, step: int, images: Tensor, drawings: Tensor) -> Tensor:
        """One step of the discriminator; the generator's loss, one number."""
        s = self.settings
        self.network.requires_grad_(True)
        logits = self._score(drawings), self._score(images.detach())
        self._update(d_logistic(*logits))
        if step % s.r1_interval == 0:
            reals = drawings.detach().requires_grad_(True)
            penalty = r1_penalty(self._score(reals), reals).mean()
            self._update(penalty * (s.r1_gamma / 2 * s.r1_interval))
        self.network.requires_grad_(False)
        return g_logistic(self._score(images))

    def _score(self, images: Tensor) -> Tensor:
        c = label_batch(self.network, len(images))
        score: Tensor = self.network(self.pipe(images, self.settings.augment_p), c)
        return score

    def _update(self, loss: Tensor) -> None:
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
