"""Styles from few images: light, colour, make-up, black and white, and a touch of a drawing.

Offsets of the style space (StyleDomain, arXiv 2212.10229) and the steps to colours learn what the
images have and the generator's faces have not: a few thousand numbers that cannot store a
image. Where that is not enough, affine layers or all weights learn as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from stylemix.errors import StylemixError
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
from stylemix.training.adapt.trainable import COLOURS, sparsify, style_offsets, style_weights

GREY = 0.01  # mean difference of the channels below which images are black and white
REFERENCES = 512  # faces of the generator that the images are compared with
ENOUGH_TO_HOLD_OUT = 4  # images; one in four is then set aside
MOST_HELD_OUT = 32
LOOKS, LOOKED_AT = 10, 16  # how often they are looked at, and on how many faces
SPARSE_FROM = 0.6  # of the steps: which offsets count is then settled, and the rest learns on


def learn_look(
    model: Model,
    images: Tensor,
    settings: LookSettings | None = None,
    progress: Progress | None = None,
) -> Style:
    """Learns a look from aligned images [K, 3, H, H] in [-1, 1]; returns an unnamed style.

    From four images on one in four is set aside, and the best of some steps by `scores.worth` on
    these is the result. Ends early on a plateau. `progress` is called after each step with (step,
    steps, loss).
    """
    settings = settings or LookSettings()
    if model.generator.img_channels != 3:
        raise StylemixError(
            f"got a model of {model.generator.img_channels} channels; expected one of colour "
            "images; use another --model"
        )
    images = images.to(model.generator.device, model.generator.dtype)
    learn_from, held = images, images[:0]
    if settings.held_out and len(images) >= ENOUGH_TO_HOLD_OUT:
        aside = torch.arange(len(images)) % 4 == 3
        learn_from, held = images[~aside], images[aside][:MOST_HELD_OUT]
    look, best, most = _Look(model, learn_from, settings), None, -1.0

    def consider() -> None:
        nonlocal best, most
        style = look.style()
        if len(held) and (value := worth(score_style(model, style, held, LOOKED_AT))) > most:
            best, most = style, value

    def after(step: int, t: float) -> None:
        look.thin(t)
        due = (step + 1) % max(settings.steps // LOOKS, 1) == 0
        if due and (look.masks or settings.sparse == 1):
            consider()

    stages = Stages([settings.steps], progress)
    optimise(look.adam, look.loss, stages, warm_up_then_linear, after)
    stages.finish()
    look.thin(1.0)
    consider()
    return best or look.style()


class _Look:
    """A network that learns a look, and how it learns."""

    def __init__(self, model: Model, images: Tensor, settings: LookSettings) -> None:
        self.model, self.settings = model, settings
        generator = model.generator
        self.rng = torch.Generator().manual_seed(settings.seed)
        self.is_grey = float((images - images.mean(dim=1, keepdim=True)).abs().mean()) < GREY
        meter = None
        if model.discriminator is not None and settings.critic_weight > 0:
            meter = StyleMeter(model)
        self.loss_of = LookLoss(images, self._usual(), settings, meter)
        self.network: SynthesisNetwork = copy.deepcopy(generator.synthesis)
        self.offsets = style_offsets(generator)
        self.weights = style_weights(self.network, settings.part)
        self.masks: dict[str, Tensor] = {}
        colours = [v for k, v in self.weights.items() if k.endswith(COLOURS)]
        others = [v for k, v in self.weights.items() if not k.endswith(COLOURS)]
        groups = [{"params": [*self.offsets.values(), *colours], "lr": settings.lr}]
        if others:
            groups.append({"params": others, "lr": settings.weight_lr})
        self.adam = torch.optim.Adam(groups)

    @torch.no_grad()
    def _faces(self, count: int) -> tuple[Tensor, Tensor]:
        ws = sample_ws(self.model.generator, count, self.rng, self.settings.psi)
        return ws, self.model.generator.synthesis(ws, noise_mode="const")

    def _usual(self) -> Iterator[Tensor]:
        small = self.model.generator.img_resolution <= MAX_COMPARED_SIDE
        for _ in range((REFERENCES if small else REFERENCES // 8) // 16):
            yield self._faces(16)[1]

    def loss(self, _step: int, _t: float) -> Tensor:
        """The loss on some new faces."""
        settings = self.settings
        ws, plain = self._faces(settings.batch)
        images = self.network(ws, noise_mode="const", styles_offset=nest_styles(self.offsets))
        loss = self.loss_of(images, plain) + same_face(self.model, images, plain, settings)
        size = torch.stack([value.square().mean() for value in self.offsets.values()]).sum()
        return loss + settings.size_weight * size

    @torch.no_grad()
    def thin(self, t: float) -> None:
        """Leaves only the largest offsets, if asked to; which ones is settled at `SPARSE_FROM`."""
        if self.settings.sparse < 1 and t >= SPARSE_FROM:
            self.masks = self.masks or sparsify(self.offsets, self.settings.sparse)
            for name, mask in self.masks.items():
                self.offsets[name].mul_(mask)

    @torch.no_grad()
    def style(self) -> Style:
        """What has been learned so far, as a style."""
        original = dict(self.model.generator.synthesis.named_parameters())
        weights = {name: value.detach().clone() for name, value in self.weights.items()}
        if self.is_grey:
            make_grey({k: v for k, v in weights.items() if k.endswith(COLOURS)})
        return Style(
            self.model.fingerprint,
            offsets={name: value.detach().clone() for name, value in self.offsets.items()},
            weights={name: value - original[name] for name, value in weights.items()},
        )


@torch.no_grad()
def make_grey(colours: dict[str, Tensor]) -> None:
    """Gives red, green and blue the same weights [3, ...]: black and white without any tint."""
    for value in colours.values():
        value.copy_(value.mean(dim=0, keepdim=True).expand_as(value))
