"""Crops and soft edges by their values; whole photos are in test_alignment."""

import numpy as np
import pytest
from PIL import Image

from stylemix.faces.warp import FEATHER, _soft_edges, crop_rectangle, paste_back


def test_sides_and_corners_are_rounded():
    image = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    crop, corner = crop_rectangle(image, (1.6, 2.6, 2.4, 0.2))
    assert corner == (2, 3)
    assert np.asarray(crop).tolist() == [[32, 33]]


def test_beyond_the_photo_it_is_mirrored():
    image = Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10))
    crop, corner = crop_rectangle(image, (-1, 8, 2, 4))
    assert corner == (-1, 8)
    assert np.asarray(crop).tolist() == [[80, 80], [90, 90], [90, 90], [80, 80]]


def test_the_edge_is_a_smooth_step():
    row = np.asarray(_soft_edges(200, 300))[150] / 255
    steps = (np.arange(20) + 0.5) / (200 * FEATHER)
    assert row[:20] == pytest.approx(3 * steps**2 - 2 * steps**3, abs=0.003)
    assert (row[20:180] == 1).all()
    assert row.tolist() == row[::-1].tolist()


@pytest.mark.parametrize("size", [(40, 20), (20, 40)])
def test_an_oblong_crop_is_pasted_into_its_rectangle(size):
    photo = Image.new("RGB", (100, 100), "blue")
    matrix = np.array([[1, 0, -10], [0, 1, -30], [0, 0, 1.0]])  # from (10, 30) on
    pasted = np.asarray(paste_back(photo, Image.new("RGB", size, "red"), matrix)).astype(int)
    assert pasted[30 + size[1] // 2, 10 + size[0] // 2].tolist() == [255, 0, 0]
    assert (pasted[..., 0] + pasted[..., 2] >= 250).all()  # nothing is black
    changed = np.argwhere(pasted[..., 0] > 0)
    assert changed.min(axis=0).tolist() == [30, 10]
    assert (changed.max(axis=0) - [30, 10] + 1).tolist() == [size[1], size[0]]
