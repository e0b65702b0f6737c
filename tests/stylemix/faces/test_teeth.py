"""Gaps between teeth: closed within the lips, and nowhere else."""

import math

import pytest
import torch

from stylemix.avatars.drawing import Canvas, draw_students
from stylemix.avatars.render import AppliedStyle
from stylemix.faces.teeth import GAP, close_gaps
from stylemix.networks.student import tone_curve
from stylemix.styles.style import load_style

SIDE, DISTANCE = 200, 80


def face(turned=0.0, x=100.0, y=140.0):
    """Landmarks [68, 2] of a face of 200 px with an open mouth, turned by some degrees."""
    points = torch.zeros([68, 2])
    points[36:42] = torch.tensor([60.0, 80.0])
    points[42:48] = torch.tensor([140.0, 80.0])
    lips = [(-24, 0), (-12, -8), (0, -9), (12, -8), (24, 0), (12, 8), (0, 9), (-12, 8)]
    points[60:68] = torch.tensor(lips) + torch.tensor([x, y])
    angle = math.radians(turned)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (points - SIDE / 2) @ turn + SIDE / 2


def bar(points, along, down, length, width, upright):
    """A mask of a bar in eye coordinates about the middle of the mouth, [1, 1, H, W]."""
    axis = points[42] - points[36]
    across = axis / axis.norm()
    ys, xs = (torch.arange(SIDE) + 0.5 for _ in range(2))
    places = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=2)
    offset = places - points[60:68].mean(dim=0)
    u = offset @ across - along
    v = offset @ torch.stack([-across[1], across[0]]) - down
    u, v = (v, u) if upright else (u, v)
    return ((u.abs() < length / 2) & (v.abs() < width / 2))[None, None]


@pytest.mark.parametrize("turned", [0, 30, -75])
def test_gaps_between_teeth_are_closed(turned):
    points = face(turned)
    gap = bar(points, 4, 0, 8, 4, upright=True)
    teeth = torch.full([1, 3, SIDE, SIDE], 0.6)
    closed = close_gaps(teeth.masked_fill(gap, -0.6), points)
    assert float((closed - teeth).abs().max()) < 0.05


def test_the_opening_of_a_mouth_stays():
    points = face()
    opening = bar(points, 0, 0, 30, 5, upright=False)
    image = torch.full([1, 3, SIDE, SIDE], 0.6).masked_fill(opening, -0.6)
    assert float((close_gaps(image, points) - image).abs().max()) < 1e-5
    wide = bar(points, 0, 0, 12, 2 * GAP * DISTANCE, upright=True)
    image = torch.full([1, 3, SIDE, SIDE], 0.6).masked_fill(wide, -0.6)
    assert float(close_gaps(image, points)[0, 0, 140, 100]) == pytest.approx(-0.6)


def test_nothing_else_changes():
    image = torch.rand([1, 3, SIDE, SIDE], generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = image.clone()
    closed = close_gaps(image, face())
    changed = (closed != image).any(dim=1)[0].nonzero()
    assert changed[:, 0].min() >= 140 - 9 - 8
    assert changed[:, 0].max() <= 140 + 9 + 8
    assert changed[:, 1].min() >= 100 - 24 - 12
    assert changed[:, 1].max() <= 100 + 24 + 12
    assert torch.equal(image, before)  # the caller's
    assert float((closed - image).min()) > -1e-5  # nothing becomes darker


@pytest.mark.parametrize(("x", "y"), [(-90.0, 140.0), (100.0, 400.0), (198.0, 198.0)])
def test_a_mouth_beside_the_image_is_no_error(x, y):
    image = torch.zeros([1, 3, SIDE, SIDE])
    assert torch.equal(close_gaps(image, face(x=x, y=y)), image)


def test_bold_pens_draw_teeth_in_one_piece():
    """The canvas that a hand of bold lines paints of has no gap between teeth; others have it."""
    points = face()
    image = torch.full([1, 3, SIDE, SIDE], 0.6).masked_fill(bar(points, 0, 0, 8, 4, True), -0.8)
    seen = {}
    for name in ("comic", "ink", "pencil"):
        style = load_style(name)
        style.drawing = lambda images, curve, name=name: (
            seen.update({name: images}) or torch.zeros([1, 3, 2 * SIDE, 2 * SIDE])
        )
        canvas = Canvas(image, tone_curve(image), points)
        draw_students(canvas, [AppliedStyle(style)], torch.device("cpu"))
    assert torch.equal(seen["pencil"], image)
    for name in ("comic", "ink"):
        assert float((seen[name] - 0.6).abs().max()) < 0.05
