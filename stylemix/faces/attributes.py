"""Attributes measured on images of faces: smile, yaw, pitch, mouth opening and light."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.landmarks import (
    EXPRESSIONS,
    LEFT_EYE,
    NOSE_TIP,
    RIGHT_EYE,
    expressions,
    landmarks,
    yaw,
)
from stylemix.faces.templates import Template

MAX_LOG_ODDS = 6.0  # the confidence of the network beyond this means little
UPPER_LIP, LOWER_LIP = 62, 66
MOUTH = slice(48, 68)


def readings(images: Tensor, template: Template) -> dict[str, Tensor]:
    """Measures attributes of aligned faces [N, 3, H, H] in [-1, 1], [N] each, by name.

    smile: log-odds of a happy expression. yaw: see `landmarks.yaw`. pitch: position of the nose tip
    from the eyes (0) to the mouth (1). mouth: the gap between the lips, in eye distances. light:
    the difference of brightness, right minus left of the nose, over the sum.
    """
    points = landmarks(images, template)
    left, right = points[:, LEFT_EYE].mean(dim=1), points[:, RIGHT_EYE].mean(dim=1)
    eyes, mouth = (left + right) / 2, points[:, MOUTH].mean(dim=1)
    eye_distance = (right - left).norm(dim=1)
    gap = (points[:, LOWER_LIP] - points[:, UPPER_LIP]).norm(dim=1)
    return {
        "smile": smile_log_odds(images, template).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS),
        "yaw": yaw(points),
        "pitch": (points[:, NOSE_TIP, 1] - eyes[:, 1]) / (mouth[:, 1] - eyes[:, 1]),
        "mouth": gap / eye_distance,
        "light": _light(images, template),
    }


def smile_log_odds(images: Tensor, template: Template) -> Tensor:
    """Returns log-odds [N] of a happy expression for aligned faces [N, 3, H, H], within 20.7."""
    happy = expressions(images, template)[:, EXPRESSIONS.index("happy")]
    return torch.logit(happy.double(), 1e-9).to(images)


def _light(images: Tensor, template: Template) -> Tensor:
    """Returns how much brighter the right half of the face is than the left, [N] in -1..1."""
    if template.eyes is None:
        raise StylemixError(
            f"got template {template.name!r} without eyes; expected one for faces; "
            "use a model of faces, or say --template faces128 or ffhq if it is one"
        )
    (x0, y0), (x1, _) = template.eyes
    size, eye_distance = images.shape[3], x1 - x0
    middle = (x0 + x1) / 2
    rows = slice(round(y0 * size), round((y0 + eye_distance) * size))
    grey = (images[:, :, rows].mean(dim=1) + 1) / 2
    left = grey[:, :, round(x0 * size) : round(middle * size)].mean(dim=(1, 2))
    right = grey[:, :, round(middle * size) : round(x1 * size)].mean(dim=(1, 2))
    return (right - left) / (right + left).clamp(min=1e-3)
