"""Scores of a style: how far it goes towards its images, and what it leaves of the person."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.recognition import SAME_PERSON, embed, identity_distance
from stylemix.images.tensors import as_rgb
from stylemix.metrics.style_distance import style_statistics
from stylemix.models.model import Model
from stylemix.networks.latents import sample_ws
from stylemix.styles.style import Style

FACES_SEED = 2024  # of the generated faces that styles are scored on


@torch.no_grad()
def score_style(model: Model, style: Style, pictures: Tensor, count: int = 64) -> dict[str, float]:
    """Scores of a style on `count` generated faces against its images [K, C, H, W].

    "style accuracy" is 1 - d(styled, images) / d(plain, images) for squared distances of
    `style_statistics`: 0 for no change, 1 for the same statistics. "identity distance" is the
    mean distance of face descriptors to the plain faces; below .6 two photos show one person.
    """
    parts = sample_ws(model.generator, count, FACES_SEED, psi=0.8).split(16)
    plain = torch.cat([render(model.generator, part) for part in parts])
    styled = torch.cat([render(model.generator, part, [AppliedStyle(style)]) for part in parts])
    wanted = style_statistics(pictures.to(plain))
    before = (style_statistics(plain) - wanted).square().sum()
    after = (style_statistics(styled) - wanted).square().sum()
    out = {"style accuracy": round(float(1 - after / before), 3)}
    if model.template.kind != "none":
        descriptors = [embed(as_rgb(images), model.template) for images in (plain, styled)]
        distance = identity_distance(*descriptors)
        out["identity distance"] = round(float(distance.mean()), 3)
    return out


def worth(scores: dict[str, float]) -> float:
    """Both scores as one, 0 to 1: style accuracy times what is kept of the person.

    A style that draws anew loses much of any descriptor, so this compares styles of one set of
    images only.
    """
    kept = 1 - scores.get("identity distance", 0.0) / (2 * SAME_PERSON)
    return max(scores["style accuracy"], 0.0) * max(kept, 0.0)
