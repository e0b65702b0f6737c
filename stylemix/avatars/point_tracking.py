"""Points in feature maps: where they are now, and the loss that moves them.

Feature maps are [C, h, w] and positions (x, y) in px of the map, with 0, 0 at the corner of the
image, so that the first pixel's centre is at .5, .5 (DragGAN, arXiv 2305.10973, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PATCH_RADIUS = 1.5  # px, of what is compared around a point
PATCH_SPACING = 0.5
SEARCH_RADIUS = 1.0  # px around the last position where a point is looked for
SEARCH_SPACING = 0.125


def disc(radius: float, spacing: float, like: Tensor) -> Tensor:
    """Offsets [M, 2] of a square lattice within a radius; the first one is 0, 0."""
    count = int(radius / spacing)
    line = torch.arange(-count, count + 1).to(like) * spacing
    offsets = torch.cartesian_prod(line, line)
    distance = torch.linalg.vector_norm(offsets, dim=1)
    order = distance.argsort(stable=True)
    return offsets[order[: int((distance <= radius + 1e-6).sum())]]


def sample(features: Tensor, points: Tensor) -> Tensor:
    """Features [..., C] at points [..., 2], bilinear; the border is continued outwards."""
    size = points.new_tensor([features.shape[2], features.shape[1]])
    grid = (2 * points / size - 1).view(1, 1, -1, 2)
    values = functional.grid_sample(
        features[None], grid, padding_mode="border", align_corners=False
    )
    out: Tensor = values[0, :, 0].t()
    return out.view(*points.shape[:-1], -1)


def patches(features: Tensor, points: Tensor) -> Tensor:
    """Features [..., M, C] of the patch around each of the points [..., 2]."""
    offsets = disc(PATCH_RADIUS, PATCH_SPACING, points)
    return sample(features, points[..., None, :] + offsets)


@torch.no_grad()
def track(features: Tensor, wanted: Tensor, points: Tensor) -> Tensor:
    """Positions [K, 2] near `points` whose patches are most like `wanted` [K, M, C] (equation 2).

    The mean absolute difference is compared at positions `SEARCH_SPACING` apart; of equal ones the
    nearest to the last position wins.
    """
    height, width = features.shape[1:]
    limit = points.new_tensor([width, height])
    near = points[:, None] + disc(SEARCH_RADIUS, SEARCH_SPACING, points)
    near = torch.minimum(near.clamp(min=0), limit)
    found = []
    for candidates, patch in zip(near, wanted, strict=True):  # one at a time, to save memory
        distances = (patches(features, candidates) - patch).abs().mean(dim=(1, 2))
        found.append(candidates[distances.argmin()])
    return torch.stack(found)


def motion_loss(features: Tensor, wanted: Tensor, points: Tensor) -> Tensor:
    """Mean absolute difference of the patches at `points` [K, 2] from `wanted` [K, M, C].

    Motion supervision (equation 1): `points` lie a small step ahead of where the handles are, so
    that the gradient moves the content there. The patches are those of the first image instead of
    the last one, since errors add up over steps otherwise.
    """
    return (patches(features, points) - wanted).abs().mean()
