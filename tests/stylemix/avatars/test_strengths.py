"""Parsing of a strength, or of a strength for each band and layer."""

import pytest

from stylemix.avatars.strengths import parse_strength
from stylemix.errors import StylemixError
from stylemix.networks.latents import bands


def test_a_single_number_has_no_shares():
    assert parse_strength("0.5", 64) == (0.5, None)
    assert parse_strength(" -2 ", 64) == (-2.0, None)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("coarse=0,middle=.35,fine=1", [0, 0, 0, 0.35, 0.35, 0.35, 0.35, 1, 1, 1]),
        ("0-3=.5, 7=-1", [0.5, 0.5, 0.5, 0.5, 0, 0, 0, -1, 0, 0]),
        ("16-64px=.2", [0, 0, 0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2]),
        ("all=1,8px=0", [1, 0, 0, 1, 1, 1, 1, 1, 1, 1]),  # the last value counts
        ("8px=0,all=1", [1] * 10),
    ],
)
def test_a_number_for_each_layer(text, shares):
    assert parse_strength(text, 64) == (1.0, tuple(shares))


def test_names_mean_the_bands_of_the_model():
    for resolution in (32, 256):
        shares = parse_strength("middle=.5", resolution)[1]
        middle = bands(resolution)["middle"]
        assert [i for i, share in enumerate(shares) if share] == list(middle)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("half", "got strength 'half'"),
        ("coarse=", "got strength 'coarse='"),
        ("coarse,middle=1", "got strength 'coarse'"),
        ("fnie=1", "got layers 'fnie'"),
        ("nan", "got strength nan"),
        ("fine=101", "got strength 101;"),
        ("", "got strength ''"),
    ],
)
def test_invalid_strengths_are_one_line(text, message):
    with pytest.raises(StylemixError) as error:
        parse_strength(text, 64)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
