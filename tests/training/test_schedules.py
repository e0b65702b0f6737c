"""Schedules: values at each number of images."""

import math

import pytest

from stylemix.errors import StylemixError
from stylemix.training.schedules import parse_schedule


@pytest.mark.parametrize(
    ("text", "nimg", "value"),
    [
        (0.002, 10**9, 0.002),
        ("0.5", 0, 0.5),
        ("0:1,10:3", 0, 1),
        ("0:1,10:3", 2500, 1.5),
        ("0:1,10:3", 10_000, 3),
        ("0:1,10:3", 99_000, 3),
        ("5:2,10:0", 1000, 2),
        ("0:1,8:1,10:0", 9000, 0.5),
        ("0:2~10:0", 5000, 1),
        ("0:2~10:0", 2500, 1 + math.cos(math.pi / 4)),
        ("0:4~10:2,20:0", 15_000, 1),
        ("0:.0025,800:.0025,1000:0", 900_000, 0.00125),
    ],
)
def test_values(text, nimg, value):
    assert parse_schedule(text).at(nimg) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["fast", "1:2:3", "10:1,5:2", "0:1,0:2", "0:nan", "1,2", "0:1~", ""]
)
def test_invalid_schedules(text):
    with pytest.raises(StylemixError, match="expected a number, or rising points") as caught:
        parse_schedule(text, "lr")
    assert str(caught.value).startswith(f"got lr {text!r}")
