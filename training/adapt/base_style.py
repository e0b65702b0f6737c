"""Training that is initialized from a style: a new drawn style from few drawings.

Eight drawings are too few to learn a drawn style from photos. A generator already adapted to
another illustrator's style by thousands of drawings has only the difference to learn.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from stylemix.avatars.render import AppliedStyle, prepare
from stylemix.errors import StylemixError
from stylemix.models.model import Model
from stylemix.styles.style import Style


@torch.no_grad()
def with_style(model: Model, style: Style) -> Model:
    """Returns the model with a style merged into its weights, at its recommended strength.

    Offsets are added to the biases of the affine layers. Raises StylemixError for a style that
    weights cannot express: one that shifts latents, or whose student does all.
    """
    if style.is_student:
        raise StylemixError(
            "got a style that redraws photos and leaves the model as it is; expected a look or a "
            "transfer; choose another style"
        )
    if style.shift is not None:
        raise StylemixError(
            "got a start that shifts latents; expected a look or a transfer; choose another --start"
        )
    weights = dict(style.weights)
    for name, offset in style.offsets.items():
        bias = f"{name}.affine.bias"
        weights[bias] = weights[bias] + offset if bias in weights else offset
    generator = copy.deepcopy(model.generator)
    ws = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    merged = replace(style, offsets={}, weights=weights)
    changed = prepare(generator, ws, [AppliedStyle(merged)]).weights
    generator.synthesis.load_state_dict(changed, strict=False)
    return replace(model, generator=generator)


@torch.no_grad()
def rebased(model: Model, started: Model, learned: Style, psi: float) -> Style:
    """Converts a style `learned` on the `started` model into a style of the base `model`."""
    before = dict(model.generator.synthesis.named_parameters())
    weights = dict(learned.weights)
    for name, value in started.generator.synthesis.named_parameters():
        if not torch.equal(value, before[name]):
            change = (value - before[name]).to(weights.get(name, value))
            weights[name] = weights[name] + change if name in weights else change
    psi = min(psi, learned.psi)
    return replace(learned, base=model.fingerprint, psi=psi, weights=weights)
