"""Exaggerated shapes of a face: large eyes, a narrow jaw, by a smooth warp about the landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.errors import check_range
from stylemix.faces.landmarks import CHIN, LEFT_EYE, NOSE_TIP, RIGHT_EYE

EYE_REACH = 0.62  # eye distances from an eye's centre to where it is not enlarged any more
EYE_RISE = 0.06  # eye distances that the centre of the warp lies above the eye, for its lid
JAW_REACH = 1.9  # eye distances beside the face where the jaw's warp has faded


@dataclass(frozen=True)
class Shape:
    """How much a drawing exaggerates: parts by which eyes grow and the jaw narrows, 0 to 1."""

    eyes: float = 0.0
    jaw: float = 0.0

    def __post_init__(self) -> None:
        check_range("eyes of a shape", self.eyes, 0, 1, "")
        check_range("jaw of a shape", self.jaw, 0, 1, "")

    def __bool__(self) -> bool:
        return self.eyes > 0 or self.jaw > 0


def exaggerate(images: Tensor, points: Tensor, shape: Shape, amount: float = 1.0) -> Tensor:
    """Images [1, C, H, W] with `amount` times the shape; `points` [68, 2] are landmarks in px."""
    height, width = images.shape[2:]
    points = points.to(images)
    left, right = points[LEFT_EYE].mean(dim=0), points[RIGHT_EYE].mean(dim=0)
    axis = right - left
    distance = axis.norm().clamp(min=1.0)
    across, down = axis / distance, torch.stack([-axis[1], axis[0]]) / distance
    ys, xs = (torch.arange(n, device=images.device) + 0.5 for n in (height, width))
    places = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=2)
    source = places.clone()
    for eye in (left, right):
        offset = places - (eye - EYE_RISE * distance * down)
        part = (offset.norm(dim=2, keepdim=True) / (EYE_REACH * distance)).clamp(max=1)
        shrink = 1 - 1 / (1 + shape.eyes * amount)
        source = source - offset * shrink * (1 - part**2) ** 2
    nose, chin = points[NOSE_TIP], points[CHIN]
    offset = places - nose
    aside, below = offset @ across, offset @ down
    length = ((chin - nose) @ down).clamp(min=1.0)
    rise = (below / length).clamp(0, 1)
    fall = (1 - (below / length - 1) / 1.2).clamp(0, 1)
    near = (1 - (aside.abs() / (JAW_REACH * distance)) ** 2).clamp(min=0)
    weight = rise**1.5 * fall * near
    widen = 1 / (1 - 0.5 * shape.jaw * amount) - 1
    source = source + (weight * widen * aside)[:, :, None] * across
    grid = source / source.new_tensor([width, height]) * 2 - 1
    return functional.grid_sample(
        images, grid[None], mode="bicubic", padding_mode="reflection", align_corners=False
    )
