"""Attributes read from an image of a face: smile, pose, light and colour."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.landmarks import EXPRESSIONS, LEFT_EYE, RIGHT_EYE, expressions, landmarks, yaw
from stylemix.faces.templates import Template

MOST_LOGIT = 6.0  # a network that is surer than that is not more right
UPPER_LIP, LOWER_LIP = 62, 66
MOUTH = slice(48, 68)


def readings(images: Tensor, template: Template) -> dict[str, Tensor]:
    """What is read from aligned faces [N, 3, H, H] in [-1, 1], by name: [N] each.

    smile: log-odds of a happy expression. yaw: the nose's way to the viewer's right. pitch: the
    nose's way from the eyes to the mouth. mouth: the gap between the lips, in distances of the
    eyes. light: brightness right of the nose less that on the left, of their sum.
    """
    points = landmarks(images, template)
    left, right = points[:, LEFT_EYE].mean(dim=1), points[:, RIGHT_EYE].mean(dim=1)
    eyes, mouth = (left + right) / 2, points[:, MOUTH].mean(dim=1)
    apart = (right - left).norm(dim=1)
    gap = (points[:, LOWER_LIP] - points[:, UPPER_LIP]).norm(dim=1)
    return {
        "smile": smile_log_odds(images, template).clamp(-MOST_LOGIT, MOST_LOGIT),
        "yaw": yaw(points),
        "pitch": (points[:, 30, 1] - eyes[:, 1]) / (mouth[:, 1] - eyes[:, 1]),
        "mouth": gap / apart,
        "light": _light(images, template),
    }


def smile_log_odds(images: Tensor, template: Template) -> Tensor:
    """Log-odds [N] of a happy expression of aligned faces [N, 3, H, H], within +-20.7."""
    happy = expressions(images, template)[:, EXPRESSIONS.index("happy")]
    return torch.logit(happy.double(), 1e-9).to(images)


def _light(images: Tensor, template: Template) -> Tensor:
    """How much brighter the right half of the face is than the left one, [N] in -1..1."""
    if template.eyes is None:
        raise StylemixError(f"got template {template.name!r} without eyes; expected one for faces")
    (x0, y0), (x1, _) = template.eyes
    size, apart = images.shape[3], x1 - x0
    middle = (x0 + x1) / 2
    rows = slice(round(y0 * size), round((y0 + apart) * size))
    grey = (images[:, :, rows].mean(dim=1) + 1) / 2
    left = grey[:, :, round(x0 * size) : round(middle * size)].mean(dim=(1, 2))
    right = grey[:, :, round(middle * size) : round(x1 * size)].mean(dim=(1, 2))
    return (right - left) / (right + left).clamp(min=1e-3)
