"""Network configurations: base and resolution of an image size, and the sizes of blocks."""

import pytest

from stylemix.errors import StylemixError
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig, network_size


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((96, 160), (128, (3, 5))),
        ((160, 96), (128, (5, 3))),
        ((96, 96), (128, (3, 3))),
        ((256, 128), (128, (8, 4))),
        ((1024, 512), (512, (8, 4))),
        ((768, 1280), (1024, (3, 5))),
        ((208, 208), (64, (13, 13))),
        ((3, 7), (4, (3, 7))),
        ((4096, 2048), (1024, (16, 8))),
    ],
)
def test_an_image_size_is_a_base_doubled(size, expected):
    assert network_size(*size) == expected
    config = GeneratorConfig(expected[0], base=expected[1])
    assert (config.height, config.width) == size


def test_squares_of_powers_of_two_have_base_4():
    for size in (4, 8, 16, 32, 64, 128, 256, 512, 1024):
        assert network_size(size, size) == (size, (4, 4))


@pytest.mark.parametrize(
    ("size", "instead"),
    [
        ((100, 70), "such as 64x96 or 72x104;"),
        ((1080, 1920), "such as 1920x1024 or 1920x1152;"),
        ((17, 17), "such as 16x16 or 18x18;"),
        ((2, 2), "such as 3x3;"),
        ((0, 64), "such as 64x12;"),
        ((5000, 5000), "such as 4096x4096;"),
    ],
)
def test_invalid_sizes_raise_with_the_nearest_sizes(size, instead):
    with pytest.raises(StylemixError) as caught:
        network_size(*size)
    message = str(caught.value)
    assert message.startswith(f"got an image size of {size[1]}x{size[0]} (width x height); ")
    assert instead in message
    assert "\n" not in message
    for text in instead.removeprefix("such as ").rstrip(";").split(" or "):
        width, height = map(int, text.split("x"))
        resolution, base = network_size(height, width)  # what is named can be used
        config = GeneratorConfig(resolution, base=base)
        assert (config.height, config.width) == (height, width)


def test_each_block_is_half_of_the_next():
    config = GeneratorConfig(128, base=(3, 5))
    sizes = [config.block_size(r) for r in config.resolutions]
    assert sizes == [(3, 5), (6, 10), (12, 20), (24, 40), (48, 80), (96, 160)]
    assert config.num_ws == 12  # as for any model of six blocks


def test_size_text_and_colors():
    assert GeneratorConfig(64).size_text == "64 px"
    assert GeneratorConfig(128, base=(3, 3)).size_text == "96 px"
    assert GeneratorConfig(128, base=(3, 5)).size_text == "160x96 px (width x height)"
    assert GeneratorConfig(128, base=(3, 5)).longer_side == 160
    assert GeneratorConfig(128, base=(5, 3), head="haar").longer_side == 320
    words = [GeneratorConfig(4, img_channels=c).colors for c in (1, 2, 3, 4)]
    assert words == ["grey", "2 channels", "RGB", "RGBA"]


@pytest.mark.parametrize("base", [(0, 4), (4, 17), (4,), (4, 4, 4)])
def test_an_invalid_base_raises(base):
    for kind in (GeneratorConfig, DiscriminatorConfig):
        with pytest.raises(StylemixError, match=r"got base .*expected a height and a width from 1"):
            kind(16, base=base)
