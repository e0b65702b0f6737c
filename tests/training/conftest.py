"""A run that takes a second: ten random pictures, networks of 8 px with a few channels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylemix.dataset import ImageDataset
from stylemix.training.config import TrainConfig
from tests.toy_runs import run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.RandomState(0)
    for i in range(10):
        pixels = draw.randint(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def dataset(pictures: Path) -> ImageDataset:
    return ImageDataset(pictures, 8)


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """Both regularisations, style mixing and adaptive augmentation take part in 16 steps."""
    return TrainConfig(
        resolution=8, kimg=0.064, batch=4, z_dim=8, w_dim=8, channel_base=64, channel_max=16,
        precision="fp32", d_reg_interval=3, g_reg_interval=2, ada_kimg=0.05, ada_target=0,
        tick_kimg=0.016, state_minutes=0, snapshot_kimg=20,
    )  # fmt: skip


@pytest.fixture(scope="session")
def straight(
    tiny: TrainConfig, dataset: ImageDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run of 64 images without a stop."""
    folder = tmp_path_factory.mktemp("straight")
    run(tiny, dataset, folder)
    return folder
