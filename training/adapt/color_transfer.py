"""The colours of a set of drawings, for photos: a smooth map between two sets of colours.

The map sends the distribution of one set of colours to that of the other by iterative distribution
transfer (Pitie, Kokaram and Dahyot 2007): along random axes, values are replaced by those of the
same rank. A polynomial through the result is the same for all images, and has no steps.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.images.filters import mirrored_blur
from stylemix.images.lab import from_lab, to_lab

SAMPLES = 8000  # colours of each set
ROTATIONS = 60
RIDGE = 0.01  # of the polynomial's coefficients, for colours in units of about 1
EXTREMES = 0.003  # share of a drawing's lightest, darkest, reddest ... colours that is not reached
BLUR, CELL = 2.5, 4  # px of 256; what is finer than that is lines and strokes, not colour


class ColorTransfer:
    """Maps the colours of photos to those of drawings.

    Args:
        photos: [N, 3, 256, 256] in [-1, 1].
        drawings: [K, 3, 512, 512] in [-1, 1].
    """

    def __init__(self, photos: Tensor, drawings: Tensor) -> None:
        rng = torch.Generator().manual_seed(0)
        halves = functional.avg_pool2d(drawings, 2)
        source, target = (_colors(images, rng) for images in (photos, halves))
        terms = _terms(source)
        moved = transfer(source, target, rng)
        ridge = RIDGE * len(terms) * torch.eye(terms.shape[1])
        self.coefficients = torch.linalg.solve(terms.T @ terms + ridge, terms.T @ moved)
        self.low, self.high = (target.quantile(q, dim=0) for q in (EXTREMES, 1 - EXTREMES))

    def __call__(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] in [-1, 1] in the colours of the drawings."""
        lab = to_lab(images).permute(0, 2, 3, 1)
        moved = _terms(lab.reshape(-1, 3)) @ self.coefficients.to(lab)
        moved = moved.clamp(self.low.to(lab), self.high.to(lab))
        return from_lab(moved.view(lab.shape).permute(0, 3, 1, 2))


def transfer(source: Tensor, target: Tensor, rng: torch.Generator) -> Tensor:
    """Colours [N, 3], moved so that they are distributed like the N colours of `target`."""
    moved = source
    for number in range(ROTATIONS):
        axes = torch.linalg.qr(torch.randn(3, 3, generator=rng))[0]
        ours, theirs = moved @ axes, target @ axes
        ranked = torch.empty_like(ours)
        ranked.scatter_(0, ours.argsort(dim=0), theirs.sort(dim=0).values)
        # Half a step each time: whole ones jump to and fro.
        moved = moved + (1.0 if number == ROTATIONS - 1 else 0.5) * ((ranked - ours) @ axes.T)
    return moved


def _colors(images: Tensor, rng: torch.Generator) -> Tensor:
    """`SAMPLES` blurred colours [N, 3] of images, as L*, a*, b*."""
    cells = [
        functional.avg_pool2d(to_lab(mirrored_blur(part, BLUR)), CELL) for part in images.split(16)
    ]
    colors = torch.cat(cells).permute(0, 2, 3, 1).reshape(-1, 3)
    return colors[torch.randint(len(colors), [SAMPLES], generator=rng)]


def _terms(colors: Tensor) -> Tensor:
    """The terms of the polynomial for colours [N, 3] as L*, a*, b*: to degree 2, and L* ** 3."""
    light, a, b = colors[:, 0] / 50 - 1, colors[:, 1] / 30, colors[:, 2] / 30
    terms = [light**0, light, a, b, light * light, light * a, light * b, a * a, b * b, a * b]
    return torch.stack([*terms, light**3], dim=1)
