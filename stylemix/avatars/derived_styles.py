"""Styles derived from other styles, latents and models, for one image."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.latent import Latent
from stylemix.networks.generator import Generator
from stylemix.networks.latents import bands
from stylemix.styles.style import Style

# How far each band of a person's latent moves towards that of another image, by default.
LOOK_FACTORS = {"coarse": 0.0, "middle": 0.35, "fine": 1.0}
MAX_WEIGHT_DISTANCE = 1.0  # relative; beyond it two generators have no common training


def blend_style(base: str, source: Tensor, other: Tensor, factor: Tensor | None) -> Style:
    """The style of one other image: source [L, w_dim] moves to other [L, w_dim] by `factor`.

    `factor` [L, 1] is as `look_factor` returns it; None for 1 in every layer.
    """
    shift = other - source
    return Style(base, shift=shift if factor is None else shift * factor)


def person_style(generator: Generator, base: str, person: Latent, other: Latent) -> Style:
    """The style that turns a person into another, with the weights of their residuals."""
    style = blend_style(base, person.w, other.w.to(person.w), None)
    own, theirs = (one.detail.weights if one.detail else {} for one in (person, other))
    for name in {**own, **theirs}:
        like = generator.synthesis.get_parameter(name)
        first, second = (weights.get(name, torch.zeros_like(like)) for weights in (own, theirs))
        style.weights[name] = second.to(like) - first.to(like)
    return style


def profile_style(generator: Generator, base: str, others: Tensor, factor: Tensor | None) -> Style:
    """The style of several images [K, L, w_dim]: how their mean differs from the average face.

    Adding a difference keeps what is individual in the source, where blending would not.
    """
    shift = others.mean(dim=0) - generator.mapping.w_avg
    return Style(base, shift=shift if factor is None else shift * factor)


def look_factor(generator: Generator) -> Tensor:
    """[L, 1]: coarse layers stay (pose, shape), middle ones move a little, fine ones fully."""
    factor = torch.zeros([generator.num_ws, 1], device=generator.device)
    for band, layers in bands(generator.img_resolution).items():
        factor[list(layers)] = LOOK_FACTORS[band]
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
    if distance > MAX_WEIGHT_DISTANCE:
        raise StylemixError(
            f"{name}: got a generator unrelated to the base (weights differ by {distance:.1f} of "
            "their size); expected one trained on from it; use it as --model instead"
        )
    return Style(fingerprint, weights=weights)
