"""Scores of a style: how well it matches its images, and how well it preserves identity."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.drawing import draw_students, image_canvas
from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.recognition import SAME_PERSON, embed, identity_distance
from stylemix.images.tensors import as_rgb
from stylemix.metrics.style_distance import style_statistics
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import sample_ws
from stylemix.progress import track
from stylemix.styles.style import Style

FACES_SEED = 2024  # seed of the generated faces that styles are scored on
MAX_JUDGED = 64  # images that show what a style looks like; a second, larger reading of them


@torch.no_grad()
def score_style(
    model: Model, style: Style, images: Tensor, count: int = 64, show: bool = False
) -> dict[str, float]:
    """Returns scores of a style on `count` generated faces against its images [K, C, H, W].

    "style accuracy" is 1 - d(styled, images) / d(plain, images) for squared distances of
    `style_statistics`: 0 for no change, 1 for the same statistics. "identity distance" is the
    mean distance of face descriptors to the plain faces; below .6 two photos show one person.
    `show` for a progress bar where students draw, since that takes a while.
    """
    plain, styled = faces_in_style(model, style, count, show)
    target = style_statistics(resized(images.to(plain), plain.shape[2:]))
    before = (style_statistics(plain) - target).square().sum()
    after = (style_statistics(styled) - target).square().sum()
    out = {"style accuracy": round(float(1 - after / before), 3)}
    if model.template.kind != "none":
        descriptors = [embed(as_rgb(faces), model.template) for faces in (plain, styled)]
        distance = identity_distance(*descriptors)
        out["identity distance"] = round(float(distance.mean()), 3)
    return out


def faces_in_style(
    model: Model, style: Style, count: int, show: bool = False
) -> tuple[Tensor, Tensor]:
    """Generated faces [N, C, H, W] in [-1, 1], without a style and with it.

    They have the size of the model, but for a student that of the photos that it redraws.
    """
    ws = sample_ws(model.generator, count, FACES_SEED, psi=0.8)
    applied = [AppliedStyle(style)]
    if not applied[0].by_student:
        batches = ws.split(batch_size(model.generator, 16))
        return (
            torch.cat([render(model.generator, part) for part in batches]),
            torch.cat([render(model.generator, part, applied) for part in batches]),
        )
    pairs = []
    for one in track(ws.split(1), "Scoring", count, "face", show, leave=False):
        canvas = image_canvas(render(model.generator, one), model.template)
        drawn, plain = draw_students(canvas, applied, model.generator.device)
        pairs.append(torch.cat([resized(each, canvas.image.shape[2:]) for each in (plain, drawn)]))
    plain, styled = torch.stack(pairs, dim=1)
    return plain, styled


def resized(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images [N, C, H, W] in another size; themselves if they have it."""
    if images.shape[2:] == torch.Size(size):
        return images
    return functional.interpolate(images, list(size), mode="bilinear", antialias=True)


def image_size(model: Model, smallest: int = 0) -> tuple[int, int]:
    """Height and width of a model's images, enlarged to a shorter side of `smallest` px."""
    height, width = model.generator.config.height, model.generator.config.width
    scale = max(1.0, smallest / min(height, width))
    return round(scale * height), round(scale * width)


def worth(scores: dict[str, float]) -> float:
    """Combines both scores into one, 0 to 1: style accuracy times preserved identity.

    Drawn styles change any face descriptor a lot, so this only compares styles learned from one
    set of images.
    """
    identity = 1 - scores.get("identity distance", 0.0) / (2 * SAME_PERSON)
    return max(scores["style accuracy"], 0.0) * max(identity, 0.0)
