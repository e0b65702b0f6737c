"""Presets: the public settings of the papers, and the automatic ones by size and processes."""

from types import NoneType
from typing import get_args, get_type_hints

import pytest

from stylemix.errors import StylemixError
from stylemix.ops import architectures
from stylemix.training.config import ResolvedConfig, TrainConfig
from stylemix.training.presets import PRESETS, TABLE

# preset, batch, mbstd, base, lr, gamma, ema kimg, ramp-up, mapping layers, path length, mixing
PUBLIC = [
    ("stylegan2", 32, 4, 32768, 0.002, 10, 10, 0, 8, 2, 0.9),
    ("paper256", 64, 8, 16384, 0.0025, 1, 20, 0, 8, 2, 0.9),
    ("paper512", 64, 8, 32768, 0.0025, 0.5, 20, 0, 8, 2, 0.9),
    ("paper1024", 32, 4, 32768, 0.002, 2, 10, 0, 8, 2, 0.9),
    ("cifar", 64, 32, 32768, 0.0025, 0.01, 500, 0.05, 2, 0, 0),
]
NAMES = (
    "batch", "mbstd_group", "channel_base", "lr", "r1_gamma", "ema_kimg", "ema_rampup",
    "mapping_layers", "path_length_weight", "style_mixing",
)  # fmt: skip


@pytest.fixture(autouse=True)
def any_processor(monkeypatch):
    """The automatic precision is not that of the processor here."""
    monkeypatch.setattr(architectures, "cpu_features", set)


@pytest.mark.parametrize("row", PUBLIC, ids=lambda row: row[0])
def test_the_papers_settings(row):
    config = TrainConfig(row[0], 256).resolve()
    assert tuple(getattr(config, name) for name in NAMES) == row[1:]
    assert (config.channel_max, config.z_dim, config.w_dim) == (512, 512, 512)
    assert config.d_architecture == ("orig" if row[0] == "cifar" else "resnet")


@pytest.mark.parametrize(
    ("side", "world", "batch", "mbstd", "base", "lr", "gamma", "ema"),
    [
        (64, 1, 32, 4, 16384, 0.0025, 0.0256, 10),
        (128, 2, 64, 4, 16384, 0.0025, 0.0512, 20),
        (256, 1, 16, 4, 16384, 0.0025, 0.8192, 5),
        (256, 4, 64, 4, 16384, 0.0025, 0.2048, 20),
        (256, 3, 48, 4, 16384, 0.0025, 0.0002 * 65536 / 48, 15),
        (512, 8, 64, 4, 32768, 0.0025, 0.8192, 20),
        (1024, 1, 4, 4, 32768, 0.002, 52.4288, 1.25),
        (1024, 8, 32, 4, 32768, 0.002, 6.5536, 10),
        (1024, 100, 100, 1, 32768, 0.002, 0.0002 * 1024**2 / 100, 31.25),
    ],
)
def test_automatic_settings(side, world, batch, mbstd, base, lr, gamma, ema):
    config = TrainConfig(resolution=side).resolve(world)
    assert (config.batch, config.mbstd_group, config.channel_base) == (batch, mbstd, base)
    assert (config.lr, config.r1_gamma, config.ema_kimg) == pytest.approx((lr, gamma, ema))
    assert config.kimg == 25000


def test_given_settings_take_precedence():
    config = TrainConfig("paper256", 256, batch=16, r1_gamma=3, kimg=5).resolve()
    assert (config.batch, config.r1_gamma, config.kimg, config.lr) == (16, 3, 5, 0.0025)
    assert TrainConfig(batch=8).resolve().r1_gamma == pytest.approx(0.0002 * 64**2 / 8)


def test_transfer_changes_the_pace():
    plain, moved = TrainConfig().resolve(), TrainConfig(transfer="faces-64").resolve()
    assert (plain.ada_kimg, plain.ema_rampup) == (500, 0.05)
    assert (moved.ada_kimg, moved.ema_rampup) == (100, 0)


def test_the_relativistic_preset_has_both_penalties():
    config = TrainConfig("relativistic").resolve()
    assert config.loss == "relativistic"
    assert config.r2_gamma == config.r1_gamma
    assert TrainConfig("auto").resolve().r2_gamma == 0


def test_the_table_is_aligned():
    head, *rows = TABLE.splitlines()
    starts = [head.index(f" {name}") + 1 for name in PRESETS]
    for row in rows:
        assert len(row.split()) == len(PRESETS) + 1
        assert all(row[start - 1] == " " and row[start] != " " for start in starts), row


def test_every_preset_resolves():
    for preset in PRESETS:
        config = TrainConfig(preset, 64).resolve()
        gaps = {name for name, value in vars(config).items() if value is None}
        assert gaps == {
            "batch_gpu", "d_channel_base", "conv_clamp", "d_lr", "transfer", "transfer_d_lr",
            "metrics_data", "metrics_count",
        }  # fmt: skip
        types = get_type_hints(ResolvedConfig)
        assert gaps == {name for name, type_ in types.items() if NoneType in get_args(type_)}
        assert config.resolve() == config


@pytest.mark.parametrize("world", [1, 2, 3, 5, 7, 8, 11, 16])
def test_the_minibatch_group_divides_the_batch(world):
    for side in (32, 256, 1024):
        config = TrainConfig(resolution=side).resolve(world)
        assert config.batch % config.mbstd_group == 0
        assert config.mbstd_group * world <= config.batch
        assert -(-config.batch // config.part_size(world)) >= world  # a part for every process


def test_a_smaller_batch_has_smaller_groups():
    assert TrainConfig("cifar", batch=8).resolve().mbstd_group == 8
    assert TrainConfig("paper256", 256).resolve(16).mbstd_group == 4
    assert TrainConfig(batch=30).resolve().mbstd_group == 3
    assert TrainConfig(batch=32, batch_gpu=2).resolve().mbstd_group == 2
    assert TrainConfig(batch=32, mbstd_group=8).resolve().mbstd_group == 8


def test_an_unknown_preset():
    with pytest.raises(StylemixError, match="got preset 'big'; expected one of auto, stylegan2"):
        TrainConfig("big")
