"""Geometric transforms: exact on the pixel grid, else equal to a float64 reference."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from stylemix.training.augment.geometry import HALF, SYM6, fold, rotate, scale, translate, warp

TURN = torch.tensor([math.pi / 2])


def _images(count=2, height=12, width=12, channels=3, seed=0):
    torch.manual_seed(seed)
    return torch.rand([count, channels, height, width], dtype=torch.float64) * 2 - 1


def _transform(angle=0.4, stretch=(1.2, 0.9), shift=(1.3, -2.6)):
    return rotate(torch.tensor([angle])) @ scale(*stretch) @ translate(*shift)


def _coordinates(inverse, rows, columns, h, w):
    y, x = np.meshgrid(rows - (h - 1) / 2, columns - (w - 1) / 2, indexing="ij")
    m = inverse[0].double().numpy()
    px, py = (m[k, 0] * x + m[k, 1] * y + m[k, 2] for k in range(2))
    return py + (h - 1) / 2, px + (w - 1) / 2


def _warp_with_scipy(image, inverse):
    """Bilinear, of one channel [H, W]."""
    h, w = image.shape
    where = _coordinates(inverse, np.arange(h), np.arange(w), h, w)
    return ndimage.map_coordinates(image, where, order=1, mode="mirror")


def _warp_as_the_paper(image, inverse, pad):
    """Pads by reflection, upsamples, samples, downsamples: of one channel [H, W], in float64."""
    (h, w), taps = image.shape, np.array(SYM6) / np.sum(SYM6)
    delay = 5  # the tap that an input pixel's own place meets
    x = np.pad(image, pad, mode="reflect")
    doubled = np.zeros([2 * side for side in x.shape])
    doubled[::2, ::2] = x
    for axis in (0, 1):
        doubled = 2 * ndimage.convolve1d(doubled, taps, axis, mode="constant", origin=delay - 6)
    rows, columns = (np.arange(-2 * HALF, 2 * (side + HALF)) / 2 for side in (h, w))
    py, px = _coordinates(inverse, rows, columns, h, w)
    out = ndimage.map_coordinates(doubled, [(py + pad) * 2, (px + pad) * 2], order=1)
    for axis in (0, 1):
        out = ndimage.correlate1d(out, taps, axis, mode="constant", origin=delay - 6)
    return out[2 * HALF : -2 * HALF : 2, 2 * HALF : -2 * HALF : 2]


def test_sym6_is_the_wavelet():
    taps = np.array(SYM6)
    assert taps.sum() == pytest.approx(math.sqrt(2))
    assert (taps**2).sum() == pytest.approx(1)
    for shift in (2, 4, 6, 8, 10):  # orthogonal to its own even shifts
        assert (taps[shift:] * taps[:-shift]).sum() == pytest.approx(0, abs=1e-12)
    wave = taps[::-1] * (-1) ** np.arange(12)
    for power in range(6):  # six vanishing moments
        assert (wave * (np.arange(12) / 12) ** power).sum() == pytest.approx(0, abs=1e-9)


def test_fold():
    positions = torch.arange(-9, 13)
    assert fold(positions, 4).tolist() == np.pad(np.arange(4), 9, mode="reflect").tolist()
    assert fold(torch.tensor([-0.25, 3.75]), 4).tolist() == [0.25, 2.25]


@pytest.mark.parametrize("sharp", [True, False])
@pytest.mark.parametrize("size", [(12, 12), (13, 13), (8, 16)])
def test_moves_by_whole_pixels_are_exact(sharp, size):
    images = _images(1, *size)

    def moved(inverse):
        return warp(images, inverse.reshape(1, 3, 3), sharp)

    near = {"atol": 2e-5, "rtol": 0}
    assert torch.allclose(moved(scale(-1, 1)), images.flip(3), **near)
    assert torch.allclose(moved(rotate(TURN * 2)), images.flip([2, 3]), **near)
    padded = np.pad(images.numpy(), [(0, 0), (0, 0), (3, 3), (5, 5)], mode="reflect")
    shifted = torch.tensor(padded[:, :, 1 : size[0] + 1, 9 : size[1] + 9])
    assert torch.allclose(moved(translate(4, -2)), shifted, **near)
    if size[0] == size[1]:
        for turns in (1, 2, 3):
            turned = moved(rotate(TURN * turns))
            assert torch.allclose(turned, images.rot90(turns, [2, 3]), **near)


def test_unmoved_images_are_the_same_object():
    images = _images()
    assert warp(images, torch.eye(3).repeat(2, 1, 1)) is images


@pytest.mark.parametrize("size", [(24, 24), (17, 30)])
def test_bilinear_is_scipys(size):
    images = _images(1, *size)
    inverse = _transform(shift=(30.3, -2.6))  # mirrored twice
    out = warp(images, inverse, sharp=False)
    expected = np.stack([_warp_with_scipy(channel, inverse) for channel in images[0].numpy()])
    assert np.abs(out[0].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("size", [(24, 24), (21, 32)])
def test_sharp_is_the_papers(size):
    images = _images(1, *size)
    inverse = _transform()
    out = warp(images, inverse)[0].numpy()
    expected = np.stack([_warp_as_the_paper(c, inverse, size[0] - 1) for c in images[0].numpy()])
    # Inside the image. Beyond its edges we mirror after the filter, which is not quite symmetric.
    py, px = _coordinates(inverse, np.arange(size[0]), np.arange(size[1]), *size)
    inside = (py > 4) & (py < size[0] - 5) & (px > 4) & (px < size[1] - 5)
    assert inside.mean() > 0.25
    assert np.abs(out - expected)[:, inside].max() < 1e-4
    assert np.abs(out - expected)[:, ~inside].mean() < 0.05
    soft = warp(images, inverse, sharp=False)[0].numpy()
    assert np.abs(soft - expected)[:, inside].mean() > 0.05


def test_sharp_and_bilinear_agree_where_all_is_smooth():
    axis = torch.arange(48, dtype=torch.float64) / 48 * 2 * math.pi
    image = (axis.sin()[:, None] * (2 * axis).cos()).expand(1, 1, 48, 48)
    outs = [warp(image, _transform(), sharp) for sharp in (True, False)]
    assert (outs[0] - outs[1]).abs().max() < 0.05
    assert (outs[0] - image).abs().max() > 0.5


def test_an_image_does_not_depend_on_the_others():
    images = _images(3, 16, 20)
    inverse = torch.cat([_transform(), _transform(2, (0.1, 0.2), (90.0, 40.0)), rotate(TURN * 2)])
    out = warp(images, inverse)
    for k in range(3):
        alone = warp(images[k : k + 1], inverse[k : k + 1])
        assert torch.allclose(out[k : k + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sharp", [True, False])
def test_gradgradcheck(sharp):
    images = _images(2, 5, 6, channels=1).requires_grad_()
    inverse = torch.cat([_transform(), rotate(TURN * 2)])

    def squares(x):
        return warp(x, inverse, sharp).square().sum(dim=[2, 3])

    assert torch.autograd.gradcheck(squares, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(squares, images, fast_mode=True)
