"""Students: sizes, locality, and the tone curve that evens out the light."""

import math

import pytest
import torch

from stylemix.networks.student import (
    BRIGHTEST,
    DARKEST,
    LUMA,
    MIDDLE,
    Student,
    StudentConfig,
    even_light,
    soften_curve,
    tone_curve,
)

SMALL = StudentConfig((8, 12, 16))


def luma(images):
    return ((images + 1) / 2 * torch.tensor(LUMA).view(3, 1, 1)).sum(dim=1)


def face(light=1.0, gamma=1.0, size=64):
    """Smooth blobs of colour from almost black to almost white."""
    rng = torch.Generator().manual_seed(3)
    coarse = torch.rand([1, 3, 5, 5], generator=rng)
    image = torch.nn.functional.interpolate(coarse, [size, size], mode="bicubic").clamp(0.02, 0.98)
    return light * image**gamma * 2 - 1


@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 50), (8, 9)])
def test_drawings_have_twice_the_size(height, width):
    torch.manual_seed(0)
    assert Student(SMALL)(torch.rand([2, 3, height, width])).shape == (2, 3, 2 * height, 2 * width)


def test_the_usual_student_is_small():
    count = sum(parameter.numel() for parameter in Student().parameters())
    assert 800_000 < count < 1_000_000


def test_a_part_is_drawn_as_in_the_whole():
    """Nothing depends on the whole image, so it learns from parts and draws whole photos."""
    torch.manual_seed(0)
    student = Student(SMALL).eval()
    image = torch.rand([1, 3, 192, 192]) * 2 - 1
    whole = student.draw(image)
    part = student.draw(image[:, :, 32:160, 32:160])
    # 64 px from the border of the part nothing of what lies beyond it is seen.
    inside = whole[:, :, 64 + 120 : 64 + 136, 64 + 120 : 64 + 136]
    torch.testing.assert_close(part[:, :, 120:136, 120:136], inside, atol=1e-5, rtol=1e-5)


def test_even_light_spreads_the_luma():
    dark = face(light=0.45, gamma=1.3)
    lit = even_light(dark, tone_curve(dark))
    values = luma(lit).flatten()
    low, high = torch.quantile(values, torch.tensor([0.005, 0.99]))
    assert float(low) == pytest.approx(DARKEST, abs=0.02)
    assert float(high) == pytest.approx(BRIGHTEST, abs=0.03)
    middle = luma(lit)[:, 12:52, 12:52].median()
    assert float(middle) == pytest.approx(MIDDLE, abs=0.05)


def test_even_light_keeps_hues():
    grey = (face(light=0.9).mean(dim=1, keepdim=True) + 1) / 2
    tint = torch.tensor([1.0, 0.8, 0.65]).view(3, 1, 1)
    skin = grey * tint * 2 - 1
    lit = (even_light(skin, tone_curve(skin)) + 1) / 2
    mild = (luma(lit * 2 - 1) < 2.4 * luma(skin))[:, None] & (lit.amax(dim=1, keepdim=True) < 0.99)
    assert float(mild.float().mean()) > 0.3  # a small gain, and no colour clipped
    hues = lit / lit[:, :1]
    assert float(((hues - tint).abs() * mild).max()) < 0.01


@pytest.mark.parametrize(
    ("color", "gain"),
    [
        ((0.05, 0.08, 0.25), 1.0),  # a dark blue wall stays as blue as it is
        ((0.10, 0.03, 0.02), 1.09),
        ((0.20, 0.12, 0.06), 1.95),  # brown hair: chroma is .56 of luma
        ((0.20, 0.16, 0.13), 2.0),  # skin in little light becomes lighter with its luma
    ],
)
def test_strong_colors_of_dark_places_stay(color, gain):
    """A curve that doubles the luma, and what becomes of the distance to grey."""
    image = torch.tensor(color).view(1, 3, 1, 1).expand(-1, -1, 4, 4) * 2 - 1
    light = float(luma(image)[0, 0, 0])
    exponent = math.log((2 * light - DARKEST) / (BRIGHTEST - DARKEST)) / math.log(light)
    lit = even_light(image, torch.tensor([[0.0, 1.0, exponent]]))
    assert float(luma(lit)[0, 0, 0]) == pytest.approx(2 * light, abs=1e-4)
    before, after = ((x - luma(x * 2 - 1)[:, None]) for x in ((image + 1) / 2, (lit + 1) / 2))
    torch.testing.assert_close(after, gain * before, atol=1e-3, rtol=5e-3)


def test_strong_colors_of_a_dark_photo_become_lighter():
    """Where its brightest places are dark, too, as in a dark room: its light is doubled."""
    image = torch.tensor((0.05, 0.08, 0.25)).view(1, 3, 1, 1) * 2 - 1
    lit = even_light(image, torch.tensor([[0.0, BRIGHTEST / 2, 1.0]]))
    light = float(luma(image))
    expected = DARKEST + (BRIGHTEST - DARKEST) * light / (BRIGHTEST / 2)
    assert float(luma(lit)) == pytest.approx(expected, abs=1e-4)
    before, after = ((x + 1) / 2 - luma(x)[:, None] for x in (image, lit))
    torch.testing.assert_close(after, 2 * before)


def test_the_same_face_in_other_light_becomes_alike():
    day, night = face(), face(light=0.6, gamma=1.2)
    assert float((day - night).abs().mean()) > 0.3
    day, night = (even_light(image, tone_curve(image)) for image in (day, night))
    assert float((day - night).abs().mean()) < 0.08


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
def test_an_even_image_stays_finite(value):
    image = torch.full([1, 3, 32, 32], value)
    assert even_light(image, tone_curve(image)).isfinite().all()


def test_a_curve_of_another_crop_applies():
    """So that a whole photo is drawn in the light of its face."""
    torch.manual_seed(0)
    student, image = Student(SMALL), face(light=0.5)
    own = tone_curve(image)
    torch.testing.assert_close(student(image), student(image, own))
    other = student(image, tone_curve(face()))
    assert float((student(image) - other).detach().abs().mean()) > 0.01


def test_a_channels_last_student_draws_the_same():
    torch.manual_seed(0)
    student, image = Student(SMALL), face()
    plain = student(image)
    other = student.to(memory_format=torch.channels_last)
    torch.testing.assert_close(other(image), plain, atol=1e-5, rtol=1e-4)


def test_a_curve_goes_a_share_of_the_way():
    dark = face(light=0.45, gamma=1.3)
    curve = tone_curve(dark)
    torch.testing.assert_close(soften_curve(curve, 1.0), curve)
    middles = [float(luma(even_light(dark, soften_curve(curve, s))).median()) for s in (0, 0.5, 1)]
    assert middles[0] < middles[1] < middles[2]
    # At 0 only the ends of the range move, by the margins of DARKEST and BRIGHTEST.
    untouched = even_light(dark, soften_curve(curve, 0.0))
    moved = (luma(untouched) - luma(dark)).abs().max()
    assert float(moved) < max(DARKEST, 1 - BRIGHTEST) + 0.01


def test_a_softer_curve():
    curve = torch.tensor([[0.2, 0.5, 1.21]])
    torch.testing.assert_close(soften_curve(curve, 0.5), torch.tensor([[0.1, 0.75, 1.1]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_and_photos_of_another_dtype(dtype):
    torch.manual_seed(0)
    student, image = Student(SMALL), face()
    expected = student(image)
    drawn = student.to(dtype)(image.to(dtype))
    assert drawn.dtype == dtype
    assert (drawn - expected).abs().max() < 0.03 * expected.abs().max()
