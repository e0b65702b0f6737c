"""Teeth in one piece, as bold pens draw them: gaps between them would become black lines."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.faces.landmarks import LEFT_EYE, RIGHT_EYE

INNER_LIPS = slice(60, 68)  # landmarks around the opening of the mouth, clockwise on the screen
# Eye distances: a gap's width at most, and how far beyond the lips, which are found roughly, the
# change fades.
GAP, FADE = 0.12, 0.04


def close_gaps(images: Tensor, points: Tensor) -> Tensor:
    """Images [1, 3, H, W] in [-1, 1] without dark gaps between teeth.

    A closing of the lightness (Serra 1982) along the line of the eyes, within the lips: what is
    dark and narrower than `GAP` becomes as light as what is beside it. What lies along that line,
    such as the opening between the rows of teeth, stays. `points` [68, 2] are landmarks in px.
    """
    points = points.to(images)
    axis = points[LEFT_EYE].mean(dim=0) - points[RIGHT_EYE].mean(dim=0)
    distance = axis.norm().clamp(min=1.0)
    lips, reach = points[INNER_LIPS], round(float(GAP * distance) / 2)
    size = points.new_tensor([images.shape[3], images.shape[2]])
    low = (lips.amin(dim=0) - 0.2 * distance).floor().clamp(min=0)
    high = torch.minimum((lips.amax(dim=0) + 0.2 * distance).ceil(), size)
    if reach < 1 or bool((high - low < 2).any()):
        return images
    (left, top), (right, bottom) = ([int(v) for v in corner] for corner in (low, high))
    light = images[:, :, top:bottom, left:right].mean(dim=1, keepdim=True)
    across = axis / distance
    closed = -_brightest(-_brightest(light, across, reach), across, reach)
    inside = _inside(lips - low, (bottom - top, right - left), float(FADE * distance))
    out = images.clone()
    out[:, :, top:bottom, left:right] += inside * (closed - light)
    return out.clamp(-1, 1)


def _brightest(light: Tensor, across: Tensor, reach: int) -> Tensor:
    """The largest values of planes [1, 1, H, W] within `reach` px along a direction."""
    height, width = light.shape[2:]
    places, size = _places((height, width), light), light.new_tensor([width, height])
    found = light
    for step in range(-reach, reach + 1):
        grid = ((places + step * across) / size * 2 - 1)[None]
        beside = functional.grid_sample(light, grid, padding_mode="border", align_corners=False)
        found = torch.maximum(found, beside)
    return found


def _inside(polygon: Tensor, size: tuple[int, int], fade: float) -> Tensor:
    """1 in a convex polygon [K, 2] in px, clockwise on the screen, 0 from `fade` px beyond it."""
    places = _places(size, polygon)
    depth = polygon.new_full(size, float("inf"))
    for start, end in zip(polygon, polygon.roll(-1, dims=0), strict=True):
        side = end - start
        inward = torch.stack([-side[1], side[0]]) / side.norm().clamp(min=1e-6)
        depth = torch.minimum(depth, (places - start) @ inward)
    return (1 + depth / max(fade, 1e-6)).clamp(0, 1)


def _places(size: tuple[int, int], like: Tensor) -> Tensor:
    """The middles [H, W, 2] of pixels, x first."""
    ys, xs = (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5 for n in size)
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=2)
