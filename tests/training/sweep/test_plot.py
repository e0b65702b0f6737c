"""sweep.png: dots where they belong, ticks at round numbers."""

from dataclasses import replace

import pytest
from PIL import Image

from stylemix.training.sweep.plot import BLUE, GREY, RED, Axis, save_plot
from stylemix.training.sweep.search import Trial
from stylemix.training.sweep.space import Vary


def test_the_plot_has_each_trial_in_its_place(tmp_path):
    space = (Vary("lr", 0.001, 0.1, log=True), Vary("augment_pipe", choices=("blit", "bg", "bgc")))
    figures = {0.01: 10.0, 0.1: 20.0, 0.001: 30.0}
    done = [
        Trial(i, {"lr": lr, "augment_pipe": pipe}, figures=[figure])
        for i, ((lr, figure), pipe) in enumerate(
            zip(figures.items(), ("bg", "bgc", "blit"), strict=True)
        )
    ]
    done[1].state = "pruned"
    done.append(replace(done[0], number=3, state="failed"))
    save_plot(tmp_path / "a.png", space, done, done[0], "FD")
    pixels = Image.open(tmp_path / "a.png").convert("RGB")
    assert pixels.size == (1080, 324)
    # Margins of 8 % above and below, of 4 % of the range left and right.
    top, middle, low = (250 - 210 * (value - 8.4) / 23.2 for value in (30, 20, 10))
    left, centre, right = (64 + 280 * (i + 0.04 * 2) / 2.16 for i in range(3))
    assert _near(pixels, 360 + centre, low, RED)
    assert _near(pixels, 360 + left, top, BLUE)
    assert _near(pixels, 360 + right, middle, (255, 255, 255))  # a ring
    assert _near(pixels, 360 + right + 4, middle, GREY, 60)
    for x, y, colour in ((3, low, RED), (1, top, BLUE)):
        assert _near(pixels, 720 + 64 + 280 * x / 6, y, colour)


def _near(pixels, x, y, colour, most=3):
    got = pixels.getpixel((round(x), round(y)))
    return max(abs(a - b) for a, b in zip(got, colour, strict=True)) <= most


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis(0, 1), [0, 0.25, 0.5, 0.75, 1]),
        (Axis(-0.5, 1.5, whole=True), [0, 1]),
        (Axis(-0.5, 11.5, whole=True), [0, 5, 10]),
        (Axis(0.0005, 0.005, log=True), [0.0005, 0.001, 0.002, 0.005]),
        (Axis(0.001, 10, log=True), [0.001, 0.01, 0.1, 1, 10]),
        (Axis(2.1, 2.9, log=True), [2.2, 2.4, 2.6, 2.8]),
    ],
)
def test_ticks(axis, expected):
    assert [value for value, _ in axis.ticks()] == pytest.approx(expected)
    assert [float(label) for _, label in axis.ticks()] == pytest.approx(expected)
