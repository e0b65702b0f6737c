"""Styles derived from latents and from other generators."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.latent import Latent
from stylemix.models.blend import MAX_WEIGHT_DISTANCE, weight_distance
from stylemix.networks.generator import Generator
from stylemix.networks.latents import bands
from stylemix.styles.style import Style

# Default interpolation factor of each band, from a person's latent to that of another image.
LOOK_FACTORS = {"coarse": 0.0, "middle": 0.35, "fine": 1.0}


def blend_style(base: str, source: Tensor, other: Tensor, factor: Tensor | None) -> Style:
    """The style of another image: interpolates from source [L, w_dim] to other [L, w_dim].

    `factor` [L, 1] is the result of `look_factor`; None for 1 in every layer.
    """
    shift = other - source
    return Style(base, shift=shift if factor is None else shift * factor)


def person_style(generator: Generator, base: str, person: Latent, other: Latent) -> Style:
    """The style that turns a person into another, including the weights of their residuals."""
    style = blend_style(base, person.w, other.w.to(person.w), None)
    own, theirs = (p.detail.weights if p.detail else {} for p in (person, other))
    for name in {**own, **theirs}:
        like = generator.synthesis.get_parameter(name)
        first, second = (weights.get(name, torch.zeros_like(like)) for weights in (own, theirs))
        style.weights[name] = second.to(like) - first.to(like)
    return style


def profile_style(generator: Generator, base: str, others: Tensor, factor: Tensor | None) -> Style:
    """The style of several images [K, L, w_dim]: the difference between their mean and w_avg.

    Adding a difference preserves the individual features of the source; interpolation would not.
    """
    shift = others.mean(dim=0) - generator.mapping.w_avg
    return Style(base, shift=shift if factor is None else shift * factor)


def look_factor(generator: Generator) -> Tensor:
    """Interpolation factors [L, 1]: 0 for coarse layers (pose, shape), 1 for fine layers."""
    factor = torch.zeros([generator.num_ws, 1], device=generator.device)
    for band, layers in bands(generator.img_resolution).items():
        factor[list(layers)] = LOOK_FACTORS[band]
    return factor


@torch.no_grad()
def generator_style(base: Generator, fingerprint: str, other: Generator, name: str) -> Style:
    """The style of a generator fine-tuned from the base: the difference of their weights.

    Used as in layer swapping (arXiv 2010.05334). Raises StylemixError for unrelated generators.
    """
    if other.config != base.config:
        raise StylemixError(
            f"{name}: got a generator of other sizes than the base; expected a generator "
            "fine-tuned from it; use it as --model instead"
        )
    ours = dict(base.synthesis.named_parameters())
    weights = {key: value - ours[key] for key, value in other.synthesis.named_parameters()}
    distance = weight_distance(base, other)
    if distance > MAX_WEIGHT_DISTANCE:
        raise StylemixError(
            f"{name}: got a generator unrelated to the base (weights differ by {distance:.1f} of "
            "their norm); expected a generator fine-tuned from it; use it as --model instead"
        )
    return Style(fingerprint, weights=weights)
