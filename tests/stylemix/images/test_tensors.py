"""Images as tensors: colours and sizes."""

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_rgb
from stylemix.images.tensors import as_rgb, bring_within, picture, resize, to_pil
from tests.support.images import Pictures


def test_grey_and_transparent_images_become_rgb():
    grey = Pictures(2, shape=(1, 8, 6)).floats
    assert torch.equal(as_rgb(grey), torch.cat([grey] * 3, dim=1))
    rgba = Pictures(2, shape=(4, 8, 6))
    for image, colors in zip(rgba.images, as_rgb(rgba.floats), strict=True):
        on_white = to_rgb(Image.fromarray(image.permute(1, 2, 0).numpy(), "RGBA"))
        difference = np.asarray(on_white, dtype=int) - np.asarray(to_pil(colors), dtype=int)
        assert abs(difference).max() <= 1
    with pytest.raises(StylemixError, match="got images of 2 channels"):
        as_rgb(rgba.floats[:, :2])


def test_colors_of_grey_and_of_transparent_images():
    grey = torch.rand(2, 1, 4, 6)
    assert torch.equal(as_rgb(grey), torch.cat([grey] * 3, dim=1))
    color = torch.rand(2, 3, 4, 6) * 2 - 1
    assert as_rgb(color) is color
    for alpha, expected in ((1, color), (-1, torch.ones_like(color)), (0, (color + 1) / 2)):
        clear = torch.cat([color, torch.full_like(color[:, :1], alpha)], dim=1)
        assert torch.allclose(as_rgb(clear), expected)


def test_the_shorter_side_is_brought_within_bounds():
    shapes = [((64, 64), (32, 32)), ((8, 16), (16, 32)), ((60, 48), (40, 32)), ((20, 90), (20, 90))]
    for size, expected in shapes:
        assert bring_within(torch.zeros(1, 3, *size), 16, 32).shape[2:] == expected
    square = torch.rand(1, 3, 64, 64)
    plain = torch.nn.functional.interpolate(square, 32, mode="bilinear", antialias=True)
    assert torch.equal(bring_within(square, 0, 32), plain)


@pytest.mark.parametrize(
    "values",
    [
        torch.full([3, 32, 32], 255.0),
        torch.full([3, 32, 32], torch.nan),
        torch.full([3, 32, 32], 256),
        torch.ones([3, 32, 32], dtype=torch.bool),
        torch.ones([3, 32, 32], dtype=torch.complex64),
        torch.ones([3, 32, 32], device="meta"),
        torch.ones([3, 32, 32]).to_sparse(),
    ],
)
def test_tensors_that_are_no_image_in_the_expected_range_are_refused(values):
    with pytest.raises(StylemixError, match=r"got a tensor of .*; expected uint8, or floating"):
        picture(values)


def test_tensors_of_bytes_and_of_generators_are_images():
    bytes_ = torch.arange(3 * 16 * 16).remainder(256).to(torch.uint8).view(3, 16, 16)
    as_floats = (bytes_.float() / 127.5 - 1).requires_grad_()
    for values in (bytes_, bytes_.long(), as_floats, as_floats[None].double()):
        assert np.array_equal(np.asarray(picture(values)), bytes_.permute(1, 2, 0).numpy())
    assert picture(torch.full([1, 16, 16], 1.5)).getextrema() == (255, 255)


@pytest.mark.parametrize("size", [(30, 90), (90, 30)])
def test_the_centre_is_what_stays(size):
    image = Image.new("RGB", size, "blue")
    corner = ((size[0] - 30) // 2, (size[1] - 30) // 2)
    image.paste(Image.new("RGB", (30, 30), "red"), corner)
    assert resize(image, 30).getcolors() == [(900, (255, 0, 0))]
