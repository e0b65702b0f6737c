"""Looks at the photo's own resolution: which map of colours is fitted, and where it applies."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.avatars.lift import MAX_MOVEMENT, fit_colors, lift, limit_strength, movement
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor
from stylemix.inversion.portraits import read_portrait
from stylemix.models.checkpoint import load_model
from stylemix.networks.student import luma_of

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"
SIZE = 64


@pytest.fixture(scope="module")
def photo():
    return load_image(PORTRAITS / "obama.jpg")


@pytest.fixture(scope="module")
def aligned(photo):
    return read_portrait(photo, load_model("faces-64"))


def pixels(image):
    return np.asarray(image).astype(float)


def changed(image, change):
    """A crop [1, 3, S, S] in [-1, 1] after a change of its colours in [0, 1]."""
    return change((image[None] + 1) / 2).clamp(0, 1) * 2 - 1


def test_no_change_gives_the_photo_back(photo, aligned, device):
    styled = aligned.image[None].to(device)  # where the generator is; the photo stays here
    same = lift(photo, aligned.alignment.matrix, fit_colors(aligned.image[None], styled))
    difference = np.abs(pixels(same) - pixels(photo))
    assert difference.max() <= 3
    assert difference.mean() < 0.6


def test_a_change_of_all_colors_is_that_of_the_whole_photo(photo, aligned):
    matrix = torch.tensor([[0.8, 0.15, 0.0], [0.05, 0.8, 0.05], [0.0, 0.1, 0.6]])
    styled = changed(aligned.image, lambda x: torch.einsum("ij,njhw->nihw", matrix, x))
    got = pixels(lift(photo, aligned.alignment.matrix, fit_colors(aligned.image[None], styled)))
    expected = np.einsum("ij,hwj->hwi", matrix.numpy(), pixels(photo))
    inside = slice(20, 160), slice(120, 260)  # the face
    assert np.abs(got[inside] - expected[inside]).mean() < 3
    assert np.abs(got - expected).mean() < 12  # colours that the crop does not show


def test_a_look_without_colors_has_none_anywhere(photo, aligned):
    styled = changed(aligned.image, lambda x: x.mean(dim=1, keepdim=True).expand_as(x) ** 1.2)
    got = pixels(lift(photo, aligned.alignment.matrix, fit_colors(aligned.image[None], styled)))
    assert np.abs(got - got.mean(axis=2, keepdims=True)).max() <= 1
    assert pixels(photo).std(axis=2).mean() > 10  # the photo has colours


@pytest.mark.parametrize("angle", [0, 30, 180])
def test_a_local_change_is_where_the_crop_lies(angle):
    rng = np.random.RandomState(0)
    photo = Image.fromarray(rng.randint(90, 160, [240, 300, 3], dtype=np.uint8))
    turn, scale = np.radians(angle), 0.5
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    center = np.array([170.0, 110.0])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = rotation, SIZE / 2 - rotation @ center
    crop = torch.zeros([1, 3, SIZE, SIZE]) + 0.1 * torch.randn([1, 3, SIZE, SIZE])
    styled = crop.clone()
    styled[:, :, :, SIZE // 2 :] += 0.4  # the right half of the crop gets lighter
    change = (pixels(lift(photo, matrix, fit_colors(crop, styled))) - pixels(photo)).mean(axis=2)
    away = np.linalg.inv(rotation) @ np.array([12.0, 0.0])  # to the crop's right, in photo px
    (rx, ry), (lx, ly) = (center + away).astype(int), (center - away).astype(int)
    right, left = (change[y - 4 : y + 4, x - 4 : x + 4].mean() for x, y in ((rx, ry), (lx, ly)))
    assert right - left > 30


def test_nobody_sees_a_box(photo, aligned):
    styled = changed(aligned.image, lambda x: x * torch.linspace(1.3, 0.7, SIZE).view(1, 1, 1, -1))
    colors = fit_colors(aligned.image[None], styled)
    flat = Image.new("RGB", photo.size, (120, 110, 100))
    got = pixels(lift(flat, aligned.alignment.matrix, colors))
    steps = [np.abs(np.diff(got, axis=axis)).max() for axis in (0, 1)]
    assert max(steps) <= 4  # of 255, from pixel to pixel
    assert np.ptp(got) > 20  # and there is a change


def test_a_crop_that_reaches_out_of_the_photo(photo, aligned):
    colors = fit_colors(aligned.image[None], -aligned.image[None])
    for shift in ([-200, -300], [500, 500]):
        matrix = aligned.alignment.matrix @ np.array(
            [[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]]
        )
        assert lift(photo, matrix, colors).size == photo.size


def test_movement_of_a_face(aligned):
    face = aligned.image[None]
    assert movement(face, face, FACES128) == 0
    lighter = (face + 0.2).clamp(-1, 1)
    assert movement(face, lighter, FACES128) < MAX_MOVEMENT
    squeezed = torch.nn.functional.interpolate(face, [SIZE, 44], mode="bilinear")
    squeezed = torch.nn.functional.pad(squeezed, [10, 10, 0, 0], mode="replicate")
    assert movement(face, squeezed, FACES128) > 2 * MAX_MOVEMENT
    assert movement(face, face, NO_TEMPLATE) == 1


@pytest.mark.slow
def test_the_command_of_twelve_megapixels_is_within_memory(aligned):
    photo = Image.new("RGB", (4000, 3000), (100, 90, 80))
    matrix = aligned.alignment.matrix @ np.diag([0.1, 0.1, 1.0])
    colors = fit_colors(aligned.image[None], aligned.image[None])
    assert np.abs(pixels(lift(photo, matrix, colors)) - pixels(photo)).max() <= 3


def test_the_crop_of_the_result_is_what_the_model_draws(photo, aligned):
    styled = changed(aligned.image, lambda x: x.flip(1) * 0.9)
    result = lift(photo, aligned.alignment.matrix, fit_colors(aligned.image[None], styled))
    again = read_portrait(result, load_model("faces-64"))
    assert (again.image - styled[0]).abs().mean() / 2 < 0.06
    assert to_tensor(result).isfinite().all()


@pytest.mark.parametrize(
    ("own", "look", "expected"),
    [
        (0.1, 0.25, 0.25),  # below .3 a look does what it wants
        (0.2, 0.36, 0.30 + 0.12 * np.tanh(0.5)),
        (0.2, 0.90, 0.42),  # never beyond .42
        (0.5, 0.60, 0.50),  # unless the photo is
        (0.5, 0.45, 0.45),  # and weaker colours stay weaker
    ],
)
def test_a_look_makes_strong_colors_hardly_stronger(own, look, expected):
    """Warm skin stays skin under a warm look; `own` and `look` are distances from grey."""
    hue = torch.tensor([0.5, -0.1, -0.65]).view(1, 3, 1, 1)
    hue = hue - luma_of(hue)
    hue = hue / hue.norm()
    done = limit_strength(0.5 + look * hue, 0.5 + own * hue)
    assert float((done - 0.5).norm()) == pytest.approx(expected, abs=1e-3)
    assert torch.allclose((done - 0.5) / (done - 0.5).norm(), hue, atol=1e-5)


def test_half_of_what_the_maps_leave_over_is_added():
    crop = torch.zeros([1, 3, 64, 64])
    spot = crop.clone()
    spot[:, :, 30:34, 30:34] = 0.8  # which no colour of the crop explains
    colors = fit_colors(crop, spot, whole=torch.eye(3, 4))
    assert 0.1 < colors.remainder[:, 31, 31].min() <= colors.remainder.max() < 0.2
