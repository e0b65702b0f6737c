"""Colour transforms: each matrix by its closed form."""

import math

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from stylemix.training.augment.color import add, flip_luma, multiply, recolor, rotate_hue, saturate

NUMBERS = torch.tensor([0.3, -0.7])


def _images(channels=3):
    torch.manual_seed(0)
    return torch.rand([2, channels, 5, 6], dtype=torch.float64) * 2 - 1


def _close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-6)


def _each(numbers):
    return numbers.double()[:, None, None, None]


def test_brightness_adds():
    assert _close(recolor(_images(), add(NUMBERS)), _images() + _each(NUMBERS))


def test_contrast_multiplies():
    assert _close(recolor(_images(), multiply(NUMBERS)), _images() * _each(NUMBERS))


def test_luma_flip_mirrors_grey_and_keeps_color():
    images = _images()
    out = recolor(images, flip_luma(torch.tensor([0.0, 1.0])))
    assert _close(out[0], images[0])
    assert _close(out[1], images[1] - 2 * images[1].mean(dim=0))
    black = torch.full([2, 3, 1, 1], -1.0)
    assert recolor(black, flip_luma(torch.ones(2))).flatten().tolist() == [1] * 6


def test_hue_rotates_about_grey():
    images = _images()
    out = recolor(images, rotate_hue(NUMBERS))
    assert _close(out.mean(dim=1), images.mean(dim=1))
    for k, angle in enumerate(NUMBERS.tolist()):
        turn = Rotation.from_rotvec(np.ones(3) / math.sqrt(3) * angle)
        expected = turn.apply(images[k].flatten(1).T.numpy()).T
        assert _close(out[k].flatten(1), torch.tensor(expected))
    # A rotation by 120 degrees maps red to green to blue to red.
    third = torch.full([2], 2 * math.pi / 3)
    assert _close(recolor(images, rotate_hue(third)), images.roll(1, dims=1))


def test_saturation_multiplies_the_distance_from_grey():
    images = _images()
    grey = images.mean(dim=1, keepdim=True)
    out = recolor(images, saturate(NUMBERS))
    assert _close(out, grey + (images - grey) * _each(NUMBERS))


def test_alpha_stays():
    images = _images(4)
    m = saturate(NUMBERS) @ add(NUMBERS)
    out = recolor(images, m)
    assert torch.equal(out[:, 3], images[:, 3])
    assert torch.equal(out[:, :3], recolor(images[:, :3], m))


def test_grey_becomes_the_grey_of_its_colors():
    images = _images(1)
    m = rotate_hue(NUMBERS) @ flip_luma(torch.ones(2)) @ multiply(NUMBERS) @ add(NUMBERS)
    out = recolor(images, m)
    assert _close(out, recolor(images.expand(-1, 3, -1, -1), m).mean(dim=1, keepdim=True))
    assert _close(out, -(images + _each(NUMBERS)) * _each(NUMBERS))
