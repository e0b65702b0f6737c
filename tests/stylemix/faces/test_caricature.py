"""Exaggerated shapes: eyes grow, jaws narrow, and the rest stays."""

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.faces.caricature import Shape, exaggerate

SIZE = 128


def points():
    """Landmarks of a schematic face: eyes at (40, 45) and (88, 45), nose at 70, chin at 115."""
    out = torch.zeros(68, 2)
    for index in range(36, 42):
        angle = torch.tensor(index * 1.0472)
        offset = torch.stack([5 * angle.cos(), 3 * angle.sin()])
        out[index] = torch.tensor([40.0, 45]) + offset
        out[index + 6] = torch.tensor([88.0, 45]) + offset
    out[30], out[8] = torch.tensor([64.0, 70]), torch.tensor([64.0, 115])
    return out


def disc(x, y, radius):
    places = torch.arange(SIZE) + 0.5
    distance = ((places[None, :] - x) ** 2 + (places[:, None] - y) ** 2).sqrt()
    return (radius + 0.5 - distance).clamp(0, 1)[None, None]


def width(image):
    return float(image[0, 0].sum(dim=0).gt(0.5).sum())


def test_no_shape_changes_nothing():
    torch.manual_seed(0)
    image = torch.rand([1, 3, SIZE, SIZE])
    assert not Shape()
    torch.testing.assert_close(exaggerate(image, points(), Shape()), image, atol=1e-4, rtol=0)
    shape = Shape(0.6, 0.5)
    assert shape
    torch.testing.assert_close(exaggerate(image, points(), shape, 0.0), image, atol=1e-4, rtol=0)


@pytest.mark.parametrize("x", [40, 88])
def test_eyes_grow_where_they_are(x):
    eye = disc(x, 45 - 0.06 * 48, 2.5)
    larger = exaggerate(eye, points(), Shape(eyes=0.6))
    assert float(larger.sum()) == pytest.approx(float(eye.sum()) * 1.6**2, rel=0.12)
    places = torch.arange(SIZE) + 0.5
    centre = float((larger[0, 0].sum(dim=0) * places).sum() / larger.sum())
    assert centre == pytest.approx(x, abs=1.0)
    half = exaggerate(eye, points(), Shape(eyes=0.6), 0.5)
    assert float(eye.sum()) < float(half.sum()) < float(larger.sum())


def test_the_jaw_narrows_at_the_chin_and_not_at_the_eyes():
    bar = torch.zeros([1, 1, SIZE, SIZE])
    bar[:, :, :, 40:88] = 1
    narrow = exaggerate(bar, points(), Shape(jaw=0.5))[0, 0]
    assert float(narrow[40].sum()) == pytest.approx(48, abs=0.5)
    assert float(narrow[112].sum()) < 40


def test_what_is_far_away_stays():
    torch.manual_seed(0)
    image = torch.rand([1, 3, SIZE, SIZE])
    moved = exaggerate(image, points(), Shape(1.0, 1.0))
    torch.testing.assert_close(moved[:, :, :8], image[:, :, :8], atol=1e-4, rtol=0)
    assert float((moved - image).abs().mean()) > 0.01


@pytest.mark.parametrize("values", [(-0.1, 0), (0, 1.1), (float("nan"), 0)])
def test_shapes_out_of_range_are_refused(values):
    with pytest.raises(StylemixError, match=r"expected .*0 to 1"):
        Shape(*values)
