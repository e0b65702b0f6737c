"""Hands: what they make of a schematic face, and that each part is drawn as in the whole."""

import math

import numpy as np
import pytest
import torch

from stylemix.images.hands import (
    COARSE,
    HANDS,
    NIGHT,
    PERIOD,
    PLAIN,
    POP,
    _levels,
    _strokes,
    _waves,
    draw_by_hand,
    paint_for,
)
from stylemix.images.lab import from_lab, to_lab


def face():
    """A painted face as far as filters care: a bright oval with dark eyes and mouth on blue."""
    y, x = np.mgrid[0:512, 0:512] / 512
    image = np.full([512, 512, 3], [0.1, 0.15, 0.45], np.float32)
    image[((x - 0.5) / 0.33) ** 2 + ((y - 0.52) / 0.42) ** 2 < 1] = [0.85, 0.65, 0.55]
    for cx, cy, rx, ry in (
        (0.32, 0.3, 0.06, 0.03),
        (0.68, 0.3, 0.06, 0.03),
        (0.5, 0.7, 0.15, 0.03),
    ):
        image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = [0.15, 0.08, 0.08]
    return torch.from_numpy(image).permute(2, 0, 1)[None] * 2 - 1


@pytest.fixture(scope="module")
def drawn():
    images = {name: draw_by_hand(name, face())[0] for name in HANDS}
    return {name: ((image + 1) / 2).permute(1, 2, 0).numpy() for name, image in images.items()}


def test_six_drawings(drawn):
    for image in drawn.values():
        assert image.shape == (512, 512, 3)
        assert np.isfinite(image).all()
    cheek, eye, wall = (slice(280, 300), slice(150, 170)), (154, 164), (20, 20)
    assert (drawn["ink"][cheek] > 0.8).all()  # paper, a little wash
    assert (drawn["ink"][eye] < 0.2).all()
    assert drawn["pencil"].max(axis=2).min() > 0.1
    assert np.ptp(drawn["pencil"], axis=2).max() < 0.05  # grey
    assert drawn["comic"][wall][2] > drawn["comic"][wall][0] + 0.3  # dark, but not made black
    assert drawn["comic"][eye].max() < 0.06
    assert (drawn["comic"][cheek][..., 0] > drawn["comic"][cheek][..., 2] + 0.2).all()
    colors = np.array([NIGHT, *POP])
    nearest = np.abs(drawn["pop"][:, :, None] - colors).max(axis=3).min(axis=2)
    assert (nearest < 0.05).mean() > 0.8  # flat, in four colours
    edge = drawn["comic"][266, 75:95].mean(axis=1)  # where the face meets the wall
    assert edge.min() < 0.25


@pytest.mark.parametrize("name", list(HANDS))
def test_a_part_is_drawn_as_in_the_whole(name):
    image = face()
    whole = draw_by_hand(name, image)[:, :, 200:300, 190:290]
    part = draw_by_hand(name, image[:, :, PERIOD:400, PERIOD:400])[:, :, 72:172, 62:162]
    torch.testing.assert_close(part, whole, atol=1e-3, rtol=0)


def test_the_plain_hand_changes_nothing():
    torch.testing.assert_close(draw_by_hand(PLAIN, face()), face(), atol=0.01, rtol=0)


def test_a_coarse_hand_gets_planes_of_twice_the_size():
    """Its painter sees each 2 x 2 px as one; for all others it sees the image itself."""
    torch.manual_seed(0)
    seen = []

    def paint(images):
        seen.append(images)
        return images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    images = torch.rand([1, 3, 12, 8])
    for name in HANDS:
        assert paint_for(name, paint, images).shape == (1, 3, 24, 16)
        halved = images.unflatten(2, (6, 2)).unflatten(4, (4, 2)).mean(dim=(3, 5))
        torch.testing.assert_close(seen.pop(), halved if name in COARSE else images)
    assert paint_for("toon", paint, torch.rand([1, 3, 13, 7])).shape == (1, 3, 26, 14)


def grey(lightness):
    """An even image of one lightness, L*."""
    return from_lab(torch.tensor([lightness, 0.0, 0.0]).view(1, 3, 1, 1)).expand(1, 3, 256, 256)


@pytest.mark.parametrize(
    ("name", "paper", "tones"),
    [("ink", 80.0, (65.0, 55.0, 45.0, 35.0)), ("pencil", 80.0, (65.0, 55.0, 45.0, 35.0)),
     ("comic", 60.0, (51.0, 48.0, 45.0, 42.5))],
)  # fmt: skip
def test_darker_tones_have_wider_strokes(name, paper, tones):
    """Where nothing is but tone: even paper above a border, and below it strokes, ever wider."""
    bright = draw_by_hand(name, grey(paper))
    assert float(bright.std(dim=(2, 3)).max()) < 0.02
    drawn = [draw_by_hand(name, grey(tone)) for tone in tones]
    means = [float(image.mean()) for image in (bright, *drawn)]
    assert means == sorted(means, reverse=True)
    for image in drawn:
        assert float(image.std(dim=(2, 3)).max()) > 0.025  # 0 for an even image
        torch.testing.assert_close(image[..., :PERIOD, :], image[..., PERIOD:, :])


def toon_of(*lab):
    """L*, a*, b* that `toon` makes of an even colour."""
    image = from_lab(torch.tensor(lab).view(1, 3, 1, 1)).expand(1, 3, 32, 32)
    return to_lab(draw_by_hand("toon", image))[0, :, 16, 16]


@pytest.mark.parametrize("lightness", [30.0, 38.0, 46.0, 50.0])
@pytest.mark.parametrize("colors", [(14.0, 20.0), (18.0, 18.0), (12.0, 26.0)])
def test_toon_leaves_brown_skin_brown(lightness, colors):
    """Not rosy, and lifted no more than planes of one lightness ask for."""
    drawn = toon_of(lightness, *colors)
    hue, before = (math.degrees(math.atan2(b, a)) for a, b in (drawn[1:].tolist(), colors))
    assert abs(hue - before) < 2
    assert lightness < drawn[0] < lightness + 15 + 17 / 2


def test_toon_has_violet_darks_and_rosy_lights():
    dark, lit = toon_of(15.0, 0.0, 0.0), toon_of(85.0, 0.0, 0.0)
    assert dark[0] < 36  # black hair is not grey
    assert dark[1] > 15 > -15 > dark[2]
    assert 8 < lit[1] < 15
    assert -12 < lit[2] < -5


@pytest.mark.parametrize("name", list(HANDS))
def test_colors_are_finite_and_in_range(name):
    torch.manual_seed(0)
    extremes = torch.stack([torch.full([3, 32, 32], v) for v in (-1.0, 0.0, 1.0)])
    for images in (extremes, torch.rand([2, 3, 32, 32]) * 2 - 1):
        drawn = draw_by_hand(name, images)
        assert drawn.shape == images.shape
        assert drawn.isfinite().all()
        assert float(drawn.abs().max()) <= 1


def test_levels_are_steps():
    light = torch.tensor([0.0, 11.5, 23.0, 34.5])
    torch.testing.assert_close(_levels(light, 23, 8), light)  # in the middle and at the borders
    assert float(_levels(torch.tensor(17.0), 23, 8)) == pytest.approx(23, abs=0.7)  # flat between


@pytest.mark.parametrize(("way", "width"), [((1, 0), 8), ((1, 1), 10), ((2, 1), 6)])
def test_waves_have_their_length(way, width):
    wave = _waves(torch.zeros(1, 1, PERIOD, PERIOD), way, width, uneven=0)[0, 0]
    spectrum = torch.fft.rfft2(wave).abs()
    y, x = divmod(int(spectrum.argmax()), spectrum.shape[1])
    y = min(y, PERIOD - y)
    assert (x, y) == (round(x / way[0]) * way[0], round(x / way[0]) * way[1])
    assert PERIOD / math.hypot(x, y) == pytest.approx(width, rel=0.05)


def test_strokes_are_as_wide_as_the_tone_is_dark():
    tones = [torch.full([1, 1, PERIOD, PERIOD], tone) for tone in (80.0, 58.0, 38.0)]
    paper, half, dark = (_strokes(tone, 78, 40, (1, 1)) for tone in tones)
    assert paper.min() > 0.98
    assert 0.3 < half.mean() < 0.95
    assert dark.max() < 0.51
    assert dark.mean() < 0.15
