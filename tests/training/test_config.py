"""The settings of a run: automatic values, and what is refused."""

import json
import math
from dataclasses import asdict, fields, replace

import pytest

from stylemix.errors import StylemixError
from stylemix.training.config import RANGES, TrainConfig


@pytest.mark.parametrize(
    ("resolution", "batch", "channel_base", "lr", "r1_gamma", "ema_kimg"),
    [
        (64, 32, 16384, 0.0025, 0.0256, 10),
        (256, 16, 16384, 0.0025, 0.8192, 5),
        (512, 8, 32768, 0.0025, 6.5536, 2.5),
        (1024, 4, 32768, 0.002, 52.4288, 1.25),
    ],
)
def test_automatic_values(resolution, batch, channel_base, lr, r1_gamma, ema_kimg):
    config = TrainConfig(resolution).resolve()
    assert (config.batch, config.channel_base, config.lr) == (batch, channel_base, lr)
    assert config.r1_gamma == pytest.approx(r1_gamma)
    assert config.ema_kimg == pytest.approx(ema_kimg)
    assert {name for name, value in asdict(config).items() if value is None} == {"d_channel_base"}
    assert config.resolve() == config


def test_fixed_defaults():
    config = TrainConfig()
    assert (config.d_reg_interval, config.g_reg_interval) == (16, 4)
    assert (config.path_length_weight, config.style_mixing) == (2, 0.9)
    assert (config.ada_target, config.ada_kimg, config.ema_rampup) == (0.6, 500, 0.05)
    assert (config.mapping_layers, config.z_dim, config.w_dim) == (2, 512, 512)
    assert (config.augment, config.augment_pipe, config.augment_p) == ("ada", "bgc", 0)


def test_values_of_ones_own_stay_and_count():
    config = TrainConfig(64, batch=8, lr=0.01, channel_base=512, r1_gamma=0).resolve()
    assert (config.batch, config.lr, config.channel_base) == (8, 0.01, 512)
    assert config.r1_gamma == 0
    assert config.ema_kimg == 2.5
    assert TrainConfig(64, batch=8).resolve().r1_gamma == pytest.approx(0.1024)


def test_only_the_named_values_are_automatic():
    unset = {field.name for field in fields(TrainConfig) if field.default is None}
    assert unset == {"batch", "channel_base", "d_channel_base", "lr", "r1_gamma", "ema_kimg"}


def test_json_and_back():
    config = TrainConfig(128, kimg=12.5, mirror=True, augment="fixed").resolve()
    assert TrainConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_sizes_of_the_networks():
    config = TrainConfig(
        32, z_dim=5, w_dim=6, mapping_layers=3, channel_base=640, channel_max=48,
        g_architecture="resnet", d_architecture="skip",
    ).resolve()  # fmt: skip
    G, D = config.generator(c_dim=7), config.discriminator(c_dim=7)
    assert (G.img_resolution, G.z_dim, G.w_dim, G.mapping_layers, G.c_dim) == (32, 5, 6, 3, 7)
    assert (D.img_resolution, D.c_dim) == (32, 7)
    assert (G.architecture, D.architecture) == ("resnet", "skip")
    assert [G.channels(r) for r in G.resolutions] == [48, 48, 40, 20]
    assert [D.channels(r) for r in D.resolutions] == [48, 48, 40, 20]
    narrow = replace(config, d_channel_base=320).discriminator()
    assert [narrow.channels(r) for r in narrow.resolutions] == [48, 40, 20, 10]


@pytest.mark.parametrize("name", list(RANGES))
def test_numbers_out_of_range(name):
    low, high = RANGES[name]
    for value in (low - 1, high + 1, math.nan, math.inf, -math.inf):
        with pytest.raises(StylemixError, match=f"^got {name} ") as caught:
            TrainConfig(**{name: value})
        assert "\n" not in str(caught.value)
        assert f"expected a number from {low} to {high}" in str(caught.value)
    for value in (low, high):
        assert getattr(TrainConfig(4, **{name: value}), name) == value


def test_every_number_has_a_range():
    numbers = {field.name for field in fields(TrainConfig) if "int" in str(field.type)}
    numbers |= {field.name for field in fields(TrainConfig) if "float" in str(field.type)}
    assert numbers - set(RANGES) == {"resolution"}  # which the networks check


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"resolution": 48}, "got resolution 48; expected a power of two"),
        ({"resolution": 0}, "got resolution 0; expected a power of two"),
        ({"resolution": 64, "channel_base": 32}, "got channel base 32; expected at least"),
        ({"resolution": 64, "d_channel_base": 32}, "got channel base 32; expected at least"),
        ({"augment": "yes"}, "got augment 'yes'; expected one of ada, fixed, none"),
        ({"augment_pipe": "bgcf"}, "got augment_pipe 'bgcf'; expected one of blit, geom"),
        ({"augment_filter": "box"}, "got augment_filter 'box'; expected one of sym6, bilinear"),
        ({"precision": "fp16"}, "got precision 'fp16'; expected one of fp32, bf16"),
        ({"g_architecture": "vit"}, "got g_architecture 'vit'; expected one of skip"),
        ({"d_architecture": "vit"}, "got d_architecture 'vit'; expected one of skip"),
    ],
)
def test_wrong_choices(options, expected):
    with pytest.raises(StylemixError, match=expected):
        TrainConfig(**options)
