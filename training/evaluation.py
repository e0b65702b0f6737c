"""Figures of the snapshots: measured by all ranks, the best one kept, old ones removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.io.cache import cache_folder
from stylemix.metrics.extractors import PictureSet, generator_features, load_extractor
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.metrics.generator import check_metrics, compare, path_length
from stylemix.training.config import TrainConfig
from stylemix.training.distributed import Ranks
from stylemix.training.state import TrainState

FEATURES = "mobilenet"
LOWER_IS_BETTER = ("fd", "kid", "ppl")
SAVED_WORDS = ("none", "")


@dataclass(frozen=True)
class Evaluation:
    """Which figures are measured on which images."""

    metrics: tuple[str, ...]
    reals: PictureSet
    count: int

    @classmethod
    def of(cls, config: TrainConfig, reals: PictureSet) -> Evaluation | None:
        """What the settings ask for; None for nothing."""
        if config.metrics in SAVED_WORDS:
            return None
        names = tuple(name.strip() for name in config.metrics.split(","))
        check_metrics(names)
        if names[0] not in LOWER_IS_BETTER:
            raise StylemixError(
                f"got {names[0]} as the first of the metrics, by which the best snapshot is kept; "
                f"expected {', '.join(LOWER_IS_BETTER)} first"
            )
        return cls(names, reals, config.metrics_count or len(reals))

    def __call__(self, state: TrainState, batch: int, ranks: Ranks) -> dict[str, float]:
        """Figures of the averaged generator; every rank makes its share of the images.

        Only rank 0 gets figures, the others an empty dict.
        """
        generator = state.generator_ema
        device = state.sign_sum.device
        found: dict[str, float] = {}
        if set(self.metrics) - {"ppl"}:
            extractor = load_extractor(FEATURES, device)
            share = range(
                ranks.rank * self.count // ranks.world, (ranks.rank + 1) * self.count // ranks.world
            )
            mine = generator_features(generator, share, extractor, batch, reals=self.reals)
            fake = torch.zeros([self.count, mine.shape[1]], device=device)
            fake[share.start : share.stop] = torch.as_tensor(mine, device=device)
            ranks.all_reduce_([fake])
            if ranks.lead:
                real = cached_real_features(self.reals, extractor, cache_folder("features"), batch)
                found |= compare(fake.cpu().numpy(), real, self.metrics, extractor.name)
        if "ppl" in self.metrics and ranks.lead:
            found |= path_length(generator, range(self.count), batch, self.reals)
        return found


def keep_best(folder: Path, state: TrainState, snapshot: Path, figures: dict[str, float]) -> bool:
    """Copies the snapshot to best.safetensors when its first figure is the lowest so far."""
    counters = state.counters
    value = next(iter(figures.values()))
    better = counters.best is None or value < counters.best
    counters.stale = 0 if better else counters.stale + 1
    if better:
        counters.best, counters.best_kimg = value, counters.cur_nimg / 1000
        with atomic_write(folder / "best.safetensors") as temporary:
            shutil.copyfile(snapshot, temporary)
    return better


def prune(folder: Path, keep: int) -> list[Path]:
    """Removes all but the last `keep` snapshots (0 for none), never best.safetensors."""
    files = sorted(folder.glob("snapshot-*.safetensors"))
    old: Sequence[Path] = files[:-keep] if keep else []
    for path in old:
        os.unlink(path)
    return list(old)
