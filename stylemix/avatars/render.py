"""Mixing: a person's latents rendered in one or several styles."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.avatars.drawing import Drawing, draw_region
from stylemix.inversion.residual import Residual
from stylemix.networks.generator import Generator
from stylemix.networks.latents import parse_layers
from stylemix.styles.style import Style, check_strength


@dataclass
class AppliedStyle:
    """A style with the strength and the layers at which it is used; None for its own advice.

    Attributes:
        shares: further factors of the strength, one for each layer (see `strengths`).
        toward: what the photo of a style shows beyond its latent, where that is taken as well.
    """

    style: Style
    strength: float | None = None
    layers: str | None = None
    shares: tuple[float, ...] | None = None
    toward: Residual | None = None

    @property
    def amount(self) -> float:
        """The strength that counts."""
        return self.style.strength if self.strength is None else self.strength

    def factors(self, generator: Generator) -> list[float]:
        """The strength in each layer, 0 where the style does not act."""
        check_strength(self.amount)
        shares = self.shares or (1.0,) * generator.num_ws
        chosen = parse_layers(self.layers or self.style.layers, generator.img_resolution)
        return [self.amount * s if i in chosen else 0.0 for i, s in enumerate(shares)]


def layer_indices(generator: Generator) -> dict[str, int]:
    """The w index that decides whether a layer is among chosen ones: {"b4.conv1": 0, ...}.

    A torgb belongs to the resolution of its block, although it shares its w with the next one.
    """
    out: dict[str, int] = {}
    index = 0
    for name, block in generator.synthesis.blocks().items():
        for kind in block.layers:
            if kind == "torgb":
                last = name == f"b{generator.img_resolution}"
                out[f"{name}.torgb"] = index if last else index - 1
            else:
                out[f"{name}.{kind}"] = index
                index += 1
    return out


def _index_of(parameter: str, where: dict[str, int]) -> int:
    """The w index of a parameter such as "b8.conv0.affine.weight", "b8.skip.weight", "b4.const"."""
    block, kind = parameter.split(".")[:2]
    first = "conv1" if block == "b4" else "conv0"
    return where.get(f"{block}.{kind}", where[f"{block}.{first}"])


@torch.no_grad()
def render(
    generator: Generator,
    ws: Tensor,
    ingredients: Sequence[AppliedStyle] = (),
    detail: Residual | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Renders ws [N, L, w_dim] in the given styles, added, to images [N, C, H, W] in [-1, 1].

    `detail` is what the photo of these latents shows beyond them. With `mask` [1, 1, H, W] the
    styles act where it is 1, and the person stays where it is 0 (see `regions`).
    """
    styled = prepare(generator, ws, ingredients, detail)
    if mask is None:
        return styled.draw()
    return draw_region(prepare(generator, ws, (), detail), styled, mask)


@torch.no_grad()
def prepare(
    generator: Generator,
    ws: Tensor,
    ingredients: Sequence[AppliedStyle] = (),
    detail: Residual | None = None,
) -> Drawing:
    """What `render` draws: ws [N, L, w_dim] moved, with offsets and weights of all styles."""
    where = layer_indices(generator)
    offsets: dict[str, Tensor] = {}
    own = {} if detail is None else {k: v.to(ws) for k, v in detail.weights.items()}
    weights: dict[str, Tensor] = {}
    w_avg = generator.mapping.w_avg
    centred, shift = ws - w_avg, torch.zeros_like(ws[:1])
    for ingredient in ingredients:
        style, factors = ingredient.style, ingredient.factors(generator)
        if style.psi != 1:
            pulls = [1 - min(max(factor, 0.0), 1.0) * (1 - style.psi) for factor in factors]
            centred *= ws.new_tensor(pulls)[:, None]
            # What a photo changed of the weights is the person, too.
            own = {name: pulls[_index_of(name, where)] * v for name, v in own.items()}
        if style.shift is not None:
            shift += ws.new_tensor(factors)[:, None] * style.shift.to(ws)
        for name, value in style.offsets.items():
            if factors[where[name]]:
                offsets[name] = offsets.get(name, 0) + factors[where[name]] * value.to(ws)
        for name, value in style.weights.items():
            if factor := factors[_index_of(name, where)]:
                weights[name] = weights.get(name, 0) + factor * value.to(ws)
        detail = _crossed(generator, detail, ingredient, factors)
    if any(ingredient.style.psi != 1 for ingredient in ingredients):
        ws = w_avg + centred
    for name, value in own.items():
        weights[name] = weights[name] + value if name in weights else value
    network = generator.synthesis
    if weights:
        network = copy.deepcopy(network)
        for name, parameter in network.named_parameters():
            if name in weights:
                parameter.add_(weights[name])
    styles = network.styles(ws + shift)
    styles |= {name: styles[name] + value for name, value in offsets.items()}
    if detail is None:
        return Drawing(network, styles)
    return Drawing(network, styles, detail.noise_mode(ws), detail.kept(ws))


def _crossed(
    generator: Generator, own: Residual | None, ingredient: AppliedStyle, factors: Sequence[float]
) -> Residual | None:
    """The features and noise of a person in a style; `prepare` sees to the weights.

    Features hold what all layers up to theirs drew. They give way where a hand draws anew or
    another person comes in, whose features come with all of these layers.
    """
    style, other = ingredient.style, ingredient.toward
    if other is None and (own is None or not _draws_anew(style)):
        return own
    own, other = own or Residual(), other or Residual()
    features = mask = None
    for detail, share_of in ((own, lambda reached: 1 - max(reached)), (other, min)):
        if detail.features is None or detail.mask is None:
            continue
        last = _layer_of(generator, detail.features)
        share = share_of([min(max(factor, 0.0), 1.0) for factor in factors[: last + 1]])
        if features is None or mask is None or features.shape != detail.features.shape:
            features, mask = detail.features, share * detail.mask
        else:  # what shows is a mask times its features
            shown = mask * features + share * detail.mask * detail.features
            mask = mask + share * detail.mask
            features = shown / mask.clamp(min=torch.finfo(torch.float32).tiny)
    whole = ingredient.toward is not None and min(factors) >= 1
    return Residual(features=features, mask=mask, noise=other.noise if whole else own.noise)


def _draws_anew(style: Style) -> bool:
    """Whether a style changes what is drawn; a look changes colours, offsets and latents only."""
    return style.psi != 1 or any(".torgb." not in name for name in style.weights)


def _layer_of(generator: Generator, features: Tensor) -> int:
    """The w index of the convolution behind which features [C, h, w] stand."""
    blocks = generator.synthesis.blocks().items()
    name = next(k for k, v in blocks if v.conv1.noise_const.shape == features.shape[1:])
    return layer_indices(generator)[f"{name}.conv1"]
