"""Learning that goes on from a style: a new hand from few drawings begins at one that draws.

What a network learns from eight drawings is not how to draw. A generator that has learned another
illustrator's hand from thousands needs only the difference, and eight can tell that.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from stylemix.avatars.render import AppliedStyle, prepare
from stylemix.errors import StylemixError
from stylemix.models.model import Model
from stylemix.styles.style import Style, load_style, shipped_styles


@torch.no_grad()
def with_style(model: Model, style: Style) -> Model:
    """The model as it draws in a style, at its recommended strength and in its layers.

    Offsets become a part of the biases that make style vectors. Raises StylemixError for a style
    that moves latents, which no weights can do.
    """
    if style.shift is not None:
        raise StylemixError(
            "got a start that moves latents; expected a look or a hand; choose another --start"
        )
    weights = dict(style.weights)
    for name, offset in style.offsets.items():
        bias = f"{name}.affine.bias"
        weights[bias] = weights[bias] + offset if bias in weights else offset
    generator = copy.deepcopy(model.generator)
    ws = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    flat = replace(style, offsets={}, weights=weights)
    changed = prepare(generator, ws, [AppliedStyle(flat)]).weights
    generator.synthesis.load_state_dict(changed, strict=False)
    return replace(model, generator=generator)


@torch.no_grad()
def added(model: Model, started: Model, learned: Style, psi: float) -> Style:
    """What was learned on a `started` model, as a style of the model that it began from."""
    before = dict(model.generator.synthesis.named_parameters())
    weights = dict(learned.weights)
    for name, value in started.generator.synthesis.named_parameters():
        if not torch.equal(value, before[name]):
            change = (value - before[name]).to(weights.get(name, value))
            weights[name] = weights[name] + change if name in weights else change
    psi = min(psi, learned.psi)
    return replace(learned, base=model.fingerprint, psi=psi, weights=weights)


def shipped_hands(model: Model) -> dict[str, Style]:
    """The shipped styles that draw anew, by name; none for other models than the default."""
    hands = {}
    for name in shipped_styles():
        style = load_style(name)
        if style.base == model.fingerprint and style.info.get("method") == "transfer":
            hands[name] = style
    return hands
