"""Near looks from a few pictures: light, colour, make-up, black and white.

The look is what the pictures' statistics have and the generator's faces have not: colours over the
face, and means and deviations of features, as in arbitrary style transfer (arXiv 1703.06868). It is
put into offsets of the style space (StyleDomain, arXiv 2212.10229) and into the layers that make
colours, a few thousand numbers that cannot store a picture.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.features import SMALLEST_SIDE, bring_within, load_feature_network
from stylemix.identity import embed
from stylemix.latents import layer_resolutions, map_latents
from stylemix.mixing import layer_indices
from stylemix.model import Model
from stylemix.style import Style

STAGES = (1, 3, 6)  # early stages: textures and colours, not what is shown
LARGEST = 256  # px a side that features are taken at
GREY = 0.01  # mean difference of the channels below which pictures are black and white
REFERENCES = 512  # faces of the generator that the pictures are compared with


@dataclass(frozen=True)
class LookSettings:
    """Steps, rates and weights; measured in docs/log.md."""

    steps: int = 250
    batch: int = 8
    lr: float = 0.02
    colour_weight: float = 10.0
    map_weight: float = 10.0
    texture_weight: float = 0.3
    structure_weight: float = 3.0
    identity_weight: float = 2.0
    size_weight: float = 0.002
    psi: float = 0.8
    seed: int = 0


@dataclass
class Statistics:
    """What images look like, all means over images: colours, where they are, early features."""

    colour: Tensor  # [3]
    colour_products: Tensor  # [3, 3], of two colours each
    face_map: Tensor  # [3, m, m], colours over the face
    features: list[Tensor]  # [C]: means of each stage, then deviations of each stage

    @property
    def covariance(self) -> Tensor:
        """Covariance of the colours [3, 3]."""
        return self.colour_products - self.colour.outer(self.colour)


def statistics(images: Tensor, cells: int) -> Statistics:
    """Statistics of images [N, 3, H, H] in [-1, 1]; differentiable."""
    pixels = images.permute(1, 0, 2, 3).flatten(1)
    small = bring_within(images, SMALLEST_SIDE, LARGEST)
    maps = load_feature_network(str(images.device)).maps(small, STAGES)
    return Statistics(
        pixels.mean(dim=1),
        pixels @ pixels.t() / pixels.shape[1],
        F.adaptive_avg_pool2d(images, cells).mean(dim=0),
        [m.mean(dim=(0, 2, 3)) for m in maps] + [m.std(dim=(2, 3)).mean(dim=0) for m in maps],
    )


@torch.no_grad()
def gather(parts: Iterable[Tensor], cells: int) -> Statistics:
    """Statistics of any number of images, in parts that fit into memory."""
    counts, found = [], []
    for part in parts:
        counts.append(len(part))
        found.append(statistics(part, cells))

    def mean(values: Iterable[Tensor]) -> Tensor:
        shares = [v * (n / sum(counts)) for v, n in zip(values, counts, strict=True)]
        return torch.stack(shares).sum(dim=0)

    return Statistics(
        mean(s.colour for s in found),
        mean(s.colour_products for s in found),
        mean(s.face_map for s in found),
        [mean(feature) for feature in zip(*(s.features for s in found), strict=True)],
    )


class LookLoss:
    """Distance of generated images from a look, as a shift against the generator's own faces.

    Args:
        pictures: the look, [K, 3, H, H] in [-1, 1].
        faces: the generator's own, in parts [n, 3, H, H].
        settings: weights of the terms.
    """

    def __init__(self, pictures: Tensor, faces: Iterable[Tensor], settings: LookSettings) -> None:
        self.settings = settings
        # Few pictures say little about single places: their faces differ more than the light does.
        self.cells = 8 if len(pictures) >= 48 else 4 if len(pictures) >= 12 else 2
        self.target = gather(pictures.split(32), self.cells)
        self.usual = gather(faces, self.cells)

    def __call__(self, images: Tensor, plain: Tensor) -> Tensor:
        """Loss of a batch, given the same faces without the look, [N, 3, H, H] both."""
        s, target, usual = self.settings, self.target, self.usual
        got, before = statistics(images, self.cells), statistics(plain, self.cells)
        # The batch's own faces differ from the average ones; only the change counts.
        colour = (got.colour - before.colour) - (target.colour - usual.colour)
        spread = (got.covariance - before.covariance) - (target.covariance - usual.covariance)
        places = (got.face_map - before.face_map) - (target.face_map - usual.face_map)
        total = s.colour_weight * (colour.square().mean() + spread.square().mean())
        total = total + s.map_weight * places.square().mean()
        for a, b in zip(got.features, target.features, strict=True):
            total = total + s.texture_weight * (a - b).square().mean() / b.square().mean()
        return total


def learn_look(
    model: Model,
    pictures: Tensor,
    settings: LookSettings | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Style:
    """Learns a look from aligned pictures [K, 3, H, H] in [-1, 1]; returns an unnamed style.

    `progress` is called after each step with (step, steps, loss).
    """
    settings = settings or LookSettings()
    generator = model.generator
    if generator.img_channels != 3:
        raise StylemixError(
            f"got a model of {generator.img_channels} channels; expected one of colour pictures; "
            "use another --model"
        )
    draw = torch.Generator().manual_seed(settings.seed)

    @torch.no_grad()
    def faces(count: int) -> tuple[Tensor, Tensor]:
        z = torch.randn([count, generator.z_dim], generator=draw)
        ws = map_latents(generator, z, settings.psi)
        return ws, generator.synthesis(ws, noise_mode="const")

    references = REFERENCES if generator.img_resolution <= LARGEST else REFERENCES // 8
    usual = (faces(16)[1] for _ in range(references // 16))
    loss_of = LookLoss(pictures.to(generator.mapping.w_avg), usual, settings)

    network = copy.deepcopy(generator.synthesis)
    offsets, colours = _variables(model, network)
    adam = torch.optim.Adam([*offsets.values(), *colours.values()], lr=settings.lr)
    for step in range(settings.steps):
        for group in adam.param_groups:  # a short warm-up, then down to a tenth
            t = step / settings.steps
            group["lr"] = settings.lr * min(1.0, (step + 1) / 20) * (1 - 0.9 * t)
        ws, plain = faces(settings.batch)
        images = network(ws, noise_mode="const", styles_offset=offsets)
        loss = loss_of(images, plain) + _same_face(model, images, plain, settings)
        size = torch.stack([value.square().mean() for value in offsets.values()]).sum()
        loss = loss + settings.size_weight * size
        adam.zero_grad()
        loss.backward()
        adam.step()
        if progress is not None:
            progress(step + 1, settings.steps, float(loss.detach()))
    if float((pictures - pictures.mean(dim=1, keepdim=True)).abs().mean()) < GREY:
        make_grey(colours)
    original = dict(generator.synthesis.named_parameters())
    return Style(
        model.fingerprint,
        offsets={name: value.detach() for name, value in offsets.items()},
        weights={name: (v - original[name]).detach() for name, v in colours.items()},
    )


@torch.no_grad()
def make_grey(colours: dict[str, Tensor]) -> None:
    """Gives red, green and blue the same weights [3, ...]: black and white without any tint."""
    for value in colours.values():
        value.copy_(value.mean(dim=0, keepdim=True).expand_as(value))


def _variables(
    model: Model, network: torch.nn.Module
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is learned: offsets from 16 px on, so that pose and shape stay, and all colours."""
    resolutions = layer_resolutions(model.generator.img_resolution)
    where = layer_indices(model.generator)
    offsets = {}
    for name, style in model.generator.synthesis.styles(
        model.generator.mapping.w_avg.expand(1, model.generator.num_ws, -1)
    ).items():
        if resolutions[where[name]] >= min(16, resolutions[-1]):
            offsets[name] = torch.zeros_like(style[0]).requires_grad_(True)
    network.requires_grad_(False)
    colours = {}
    for name, parameter in network.named_parameters():
        if name.endswith(("torgb.weight", "torgb.bias")):
            colours[name] = parameter.requires_grad_(True)
    return offsets, colours


def _same_face(model: Model, images: Tensor, plain: Tensor, settings: LookSettings) -> Tensor:
    """What a look must not change: the drawing of the face, and who it is."""
    structure = (_drawing(images) - _drawing(plain)).square().mean()
    total = settings.structure_weight * structure
    if model.template.kind != "none" and settings.identity_weight > 0:
        with torch.no_grad():
            before = embed(plain[:2], model.template)
        after = embed(images[:2], model.template)
        total = total + settings.identity_weight * (after - before).square().sum(dim=1).mean()
    return total


def _drawing(images: Tensor) -> Tensor:
    """Luma without its local mean and contrast, [N, 1, H, H]: edges, whatever the light."""
    luma = images.mean(dim=1, keepdim=True)
    window = max(images.shape[-1] // 8, 3) | 1
    mean = F.avg_pool2d(luma, window, stride=1, padding=window // 2, count_include_pad=False)
    centred = luma - mean
    power = F.avg_pool2d(
        centred.square(), window, stride=1, padding=window // 2, count_include_pad=False
    )
    return centred / (power + 0.01).sqrt()
