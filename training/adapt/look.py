"""Styles from few images: light, colour, make-up, black and white, hints of a drawing.

Offsets in style space (StyleDomain, arXiv 2212.10229) and the toRGB layers learn the difference
between the images and the generator's faces: a few thousand parameters, too few to memorize an
image. Where that is not enough, affine layers or all weights are trained as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.adam import Adam
from stylemix.inversion.schedule import Stages, optimise, warm_up_then_linear
from stylemix.metrics.mobilenet import MAX_COMPARED_SIDE
from stylemix.metrics.style_distance import StyleMeter
from stylemix.models.model import Model
from stylemix.networks.generator import SynthesisNetwork
from stylemix.networks.latents import nest_styles, sample_ws
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.look_loss import LookLoss, LookSettings, same_face
from stylemix.training.adapt.scores import score_style, worth
from stylemix.training.adapt.trainable import COLORS, sparsify, style_offsets, style_weights

GREY_THRESHOLD = 0.01  # mean difference of the channels below which images are black and white
REFERENCE_COUNT = 512  # generated faces that the images are compared with
MIN_FOR_HELD_OUT = 4  # images; from this number on one in four is held out
MAX_HELD_OUT = 32  # images
EVALUATIONS, SCORED_FACES = 10, 16  # evaluations per training, and faces for each
SPARSE_FROM = 0.6  # progress at which the sparsity mask is fixed; the rest trains on


def learn_look(
    model: Model,
    images: Tensor,
    settings: LookSettings | None = None,
    progress: Progress | None = None,
) -> Style:
    """Learns a look from aligned images [K, 3, H, H] in [-1, 1]; returns it without a name.

    With four images or more one in four is held out; the result is the evaluated step with the
    best `scores.worth` on these. Stops early on a plateau. `progress` is called after each step
    with (step, steps, loss).
    """
    settings = settings or LookSettings()
    if model.generator.img_channels != 3:
        raise StylemixError(
            f"got a model of {model.generator.img_channels} channels; expected one of colour "
            "images; use another --model"
        )
    images = images.to(model.generator.device, model.generator.dtype)
    training, held_out = images, images[:0]
    if settings.held_out and len(images) >= MIN_FOR_HELD_OUT:
        is_held_out = torch.arange(len(images)) % 4 == 3
        training, held_out = images[~is_held_out], images[is_held_out][:MAX_HELD_OUT]
    look, best, best_score = _Look(model, training, settings), None, -1.0

    def evaluate() -> None:
        nonlocal best, best_score
        if len(held_out):
            style = look.style()
            score = worth(score_style(model, style, held_out, SCORED_FACES))
            if score > best_score:
                best, best_score = style, score

    def after(step: int, t: float) -> None:
        look.sparsify(t)
        due = (step + 1) % max(settings.steps // EVALUATIONS, 1) == 0
        if due and (look.masks or settings.sparse == 1):
            evaluate()

    stages = Stages([settings.steps], progress)
    optimise(look.adam, look.loss, stages, warm_up_then_linear, after)
    stages.finish()
    look.sparsify(1.0)
    evaluate()
    return best or look.style()


class _Look:
    """A synthesis network in training for a look, with its loss and optimizer."""

    def __init__(self, model: Model, images: Tensor, settings: LookSettings) -> None:
        self.model, self.settings = model, settings
        generator = model.generator
        self.rng = torch.Generator().manual_seed(settings.seed)
        chroma = (images - images.mean(dim=1, keepdim=True)).abs().mean()
        self.is_grey = float(chroma) < GREY_THRESHOLD
        meter = None
        if model.discriminator is not None and settings.critic_weight > 0:
            meter = StyleMeter(model)
        self.loss_of = LookLoss(images, self._references(), settings, meter)
        self.network: SynthesisNetwork = copy.deepcopy(generator.synthesis)
        self.offsets = style_offsets(generator)
        self.weights = style_weights(self.network, settings.part)
        self.masks: dict[str, Tensor] = {}
        colors = [v for k, v in self.weights.items() if k.endswith(COLORS)]
        others = [v for k, v in self.weights.items() if not k.endswith(COLORS)]
        fast = [*self.offsets.values(), *colors]
        self.adam = Adam([(fast, settings.lr), (others, settings.weight_lr)])

    @torch.no_grad()
    def _faces(self, count: int) -> tuple[Tensor, Tensor]:
        ws = sample_ws(self.model.generator, count, self.rng, self.settings.psi)
        return ws, self.model.generator.synthesis(ws, noise_mode="const")

    def _references(self) -> Iterator[Tensor]:
        small = self.model.generator.img_resolution <= MAX_COMPARED_SIDE
        for _ in range((REFERENCE_COUNT if small else REFERENCE_COUNT // 8) // 16):
            yield self._faces(16)[1]

    def loss(self, _step: int, _t: float) -> Tensor:
        """Returns the loss on a batch of new faces."""
        settings = self.settings
        ws, plain = self._faces(settings.batch)
        images = self.network(ws, noise_mode="const", styles_offset=nest_styles(self.offsets))
        loss = self.loss_of(images, plain) + same_face(self.model, images, plain, settings)
        size = torch.stack([value.square().mean() for value in self.offsets.values()]).sum()
        return loss + settings.size_weight * size

    @torch.no_grad()
    def sparsify(self, t: float) -> None:
        """Zeroes all but the largest offsets, if requested; progress t >= `SPARSE_FROM` only."""
        if self.settings.sparse < 1 and t >= SPARSE_FROM:
            self.masks = self.masks or sparsify(self.offsets, self.settings.sparse)
            for name, mask in self.masks.items():
                self.offsets[name].mul_(mask)

    @torch.no_grad()
    def style(self) -> Style:
        """Returns the style learned so far."""
        original = dict(self.model.generator.synthesis.named_parameters())
        weights = {name: value.detach().clone() for name, value in self.weights.items()}
        if self.is_grey:
            make_grey({k: v for k, v in weights.items() if k.endswith(COLORS)})
        return Style(
            self.model.fingerprint,
            offsets={name: value.detach().clone() for name, value in self.offsets.items()},
            weights={name: value - original[name] for name, value in weights.items()},
        )


@torch.no_grad()
def make_grey(colors: dict[str, Tensor]) -> None:
    """Averages the toRGB weights [3, ...] over red, green and blue: grey without any tint."""
    for value in colors.values():
        value.copy_(value.mean(dim=0, keepdim=True).expand_as(value))
