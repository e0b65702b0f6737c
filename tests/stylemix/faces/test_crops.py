"""Crops aligned by the eyes, and 8-bit weights."""

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.faces.crops import crop_faces, dequantise
from stylemix.faces.templates import FACES128, NO_TEMPLATE

EYES = ((0.25, 0.375), (0.75, 0.375))


@pytest.mark.parametrize("side", [32, 256])
def test_eyes_are_at_the_requested_positions(side):
    line = (torch.arange(side) + 0.5) / side  # the colour of a pixel is its position
    y, x = torch.meshgrid(line, line, indexing="ij")
    images = torch.stack([x, y, y])[None] * 2 - 1
    crop = crop_faces(images, FACES128, EYES, 64, "border")[0] / 255
    (x0, y0), (x1, _) = FACES128.eyes
    for row, column, position in ((24, 16, (x0, y0)), (24, 48, (x1, y0))):
        color = crop[:2, row - 1 : row + 1, column - 1 : column + 1].mean(dim=(1, 2))
        assert color.tolist() == pytest.approx(position, abs=0.01)


def test_padding():
    images = torch.full([1, 3, 32, 32], -1.0)
    images[:, :, 8:] = 1
    wide = ((0.4, 0.6), (0.6, 0.6))  # a crop larger than the image
    border, mirrored = (
        crop_faces(images, FACES128, wide, 64, outside)[0, 0]
        for outside in ("border", "reflection")
    )
    assert float(border[0].max()) == 0  # repeats the edge
    assert float(mirrored[0].max()) > 200
    with pytest.raises(StylemixError, match="has no eye positions"):
        crop_faces(images, NO_TEMPLATE, wide, 64, "border")


def test_8_bit_weights():
    weights = {"a.raw": torch.tensor([0, 255], dtype=torch.uint8), "a.range": torch.tensor([2, -1])}
    assert dequantise(weights, "a").tolist() == [-1, 509]
