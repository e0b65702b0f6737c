"""Real images for tests of metrics: in memory, and as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylemix.metrics.extractors import Extractor


class Pictures:
    """An image set in memory: noise of a seed, uint8 [N, C, H, W], with labels where wanted."""

    def __init__(self, count=12, seed=0, shape=(3, 32, 32), labels: torch.Tensor | None = None):
        rng = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 256, [count, *shape], generator=rng, dtype=torch.uint8)
        self.labels = labels
        self.name = f"noise {count} {seed} {shape}"

    @property
    def c_dim(self) -> int:
        return 0 if self.labels is None else self.labels.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def floats(self) -> torch.Tensor:
        """The images in [-1, 1]."""
        return self.images / 127.5 - 1

    def batch(self, indices: Sequence[int]):
        return self.images[list(indices)], self.labels_at(indices)

    def labels_at(self, indices: Sequence[int]):
        return None if self.labels is None else self.labels[list(indices)]

    def fingerprint(self) -> str:
        return self.name


def pixels(images: torch.Tensor) -> torch.Tensor:
    """Features that are the pixels themselves."""
    return images.flatten(1)


def colors(images: torch.Tensor) -> torch.Tensor:
    """Six features that cost nothing: mean and deviation of each channel."""
    return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)


PIXELS = Extractor("Pixels", pixels, "1")
COLORS = Extractor("Colours", colors, "1")


def write_pictures(folder: Path, count=12, seed=0, side=32) -> Path:
    """Writes noisy PNG files of random brightness into a folder."""
    folder.mkdir(parents=True)
    random = np.random.RandomState(seed)
    for index in range(count):
        noise = random.randint(0, 200, [side, side, 3]) + random.randint(0, 56, 3)
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{index:03}.png")
    return folder


def flat_drawings(count: int, side: int) -> torch.Tensor:
    """Faces of four flat colours with eyes and a mouth, [N, 3, H, H] in [-1, 1]."""
    rng = torch.Generator().manual_seed(0)
    line = (torch.arange(side) + 0.5) / side
    y, x = line[:, None], line[None, :]
    images = []
    for ground, skin, eyes, mouth in torch.rand([count, 4, 3, 1, 1], generator=rng) * 2 - 1:
        image = ground.expand(3, side, side)
        image = torch.where(((x - 0.5) / 0.35) ** 2 + ((y - 0.5) / 0.45) ** 2 < 1, skin, image)
        for at in (0.33, 0.67):
            image = torch.where((x - at) ** 2 + (y - 0.35) ** 2 < 0.006, eyes, image)
        images.append(torch.where((abs(x - 0.5) < 0.15) & (abs(y - 0.7) < 0.03), mouth, image))
    return torch.stack(images)
