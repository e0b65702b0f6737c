"""Mixing: a person's latents rendered in one or several styles."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.detail import Detail
from stylemix.errors import StylemixError
from stylemix.generator import Generator
from stylemix.latents import bands, parse_layers
from stylemix.style import Style, check_strength

# How far each band of a person's latent goes towards that of another picture, unless told.
LOOK = {"coarse": 0.0, "middle": 0.35, "fine": 1.0}
RELATED = 1.0  # relative distance of weights above which two generators share no training


@dataclass
class Ingredient:
    """A style with the strength and the layers at which it is used; None for its own advice."""

    style: Style
    strength: float | None = None
    layers: str | None = None


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
    ingredients: Sequence[Ingredient] = (),
    detail: Detail | None = None,
) -> Tensor:
    """Renders ws [N, L, w_dim] in the given styles, added, to images [N, C, H, W] in [-1, 1].

    `detail` is what the photo of these latents shows beyond them.
    """
    resolution = generator.img_resolution
    where = layer_indices(generator)
    offsets: dict[str, Tensor] = {}
    weights = {} if detail is None else {k: v.to(ws) for k, v in detail.weights.items()}
    w_avg = generator.mapping.w_avg
    centred, shift = ws - w_avg, torch.zeros_like(ws[:1])
    for ingredient in ingredients:
        style = ingredient.style
        strength = style.strength if ingredient.strength is None else ingredient.strength
        check_strength(strength)
        chosen = set(parse_layers(ingredient.layers or style.layers, resolution))
        rows = sorted(chosen)
        if style.psi != 1:
            centred[:, rows] *= 1 - min(max(strength, 0.0), 1.0) * (1 - style.psi)
        if style.shift is not None:
            shift[:, rows] += strength * style.shift.to(ws)[rows]
        for name, value in style.offsets.items():
            if where[name] in chosen:
                offsets[name] = offsets.get(name, 0) + strength * value.to(ws)
        for name, value in style.weights.items():
            if _index_of(name, where) in chosen:
                weights[name] = weights.get(name, 0) + strength * value.to(ws)
    if any(ingredient.style.psi != 1 for ingredient in ingredients):
        ws = w_avg + centred
    ws = ws + shift
    network = generator.synthesis
    if weights:
        network = copy.deepcopy(network)
        for name, parameter in network.named_parameters():
            if name in weights:
                parameter.add_(weights[name])
    kept = None if detail is None else detail.kept(ws)
    return network(ws, noise_mode="const", styles_offset=offsets, kept=kept)  # type: ignore[no-any-return]


def blend_style(base: str, source: Tensor, other: Tensor, factor: Tensor | None) -> Style:
    """The style of one other picture: source [L, w_dim] goes to other [L, w_dim] by `factor`.

    `factor` [L, 1] is as `look_factor` gives it; None for all the way in every layer.
    """
    shift = other - source
    return Style(base, shift=shift if factor is None else shift * factor)


def profile_style(generator: Generator, base: str, others: Tensor, factor: Tensor | None) -> Style:
    """The style of several pictures [K, L, w_dim]: how their mean differs from the average face.

    Adding a difference keeps what is individual in the source, where blending would not.
    """
    shift = others.mean(dim=0) - generator.mapping.w_avg
    return Style(base, shift=shift if factor is None else shift * factor)


def look_factor(generator: Generator) -> Tensor:
    """[L, 1]: pose and shape stay (coarse), features move a little (middle), the look is taken."""
    factor = torch.zeros([generator.num_ws, 1], device=generator.mapping.w_avg.device)
    for band, layers in bands(generator.img_resolution).items():
        factor[list(layers)] = LOOK[band]
    return factor


@torch.no_grad()
def generator_style(base: Generator, fingerprint: str, other: Generator, name: str) -> Style:
    """The style of a generator that was trained on from the base: the difference of weights.

    Raises StylemixError for unrelated generators (layer swapping, arXiv 2010.05334).
    """
    if other.config != base.config:
        raise StylemixError(
            f"{name}: got a generator of other sizes than the base; expected one trained on from "
            "it; use it as --model instead"
        )
    ours = dict(base.synthesis.named_parameters())
    weights = {key: value - ours[key] for key, value in other.synthesis.named_parameters()}
    change = sum(float(value.square().sum()) for value in weights.values())
    size = sum(float(value.square().sum()) for value in ours.values())
    distance = (change / size) ** 0.5
    if distance > RELATED:
        raise StylemixError(
            f"{name}: got a generator unrelated to the base (weights differ by {distance:.1f} of "
            "their size); expected one trained on from it; use it as --model instead"
        )
    return Style(fingerprint, weights=weights)
