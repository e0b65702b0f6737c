"""Metrics of the snapshots, computed by all ranks; the best one is kept, old ones are removed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from stylemix.io.atomic import atomic_write
from stylemix.io.cache import cache_folder
from stylemix.metrics.extractors import ImageSet, check_labels, generator_features, load_extractor
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.metrics.generator import check_counts, compare, path_length
from stylemix.training.config import TrainConfig
from stylemix.training.distributed import Ranks
from stylemix.training.snapshots import list_snapshots
from stylemix.training.state import TrainState

FEATURES = "mobilenet"


@dataclass(frozen=True)
class Evaluation:
    """Which metrics are computed, and on which images."""

    metrics: tuple[str, ...]
    reals: ImageSet
    count: int

    @classmethod
    def of(cls, config: TrainConfig, reals: ImageSet, c_dim: int = 0) -> Evaluation | None:
        """Returns the evaluation that the settings request, or None.

        Raises StylemixError for images that cannot be compared with those of a model with labels
        of width `c_dim`: now, and not at the first snapshot.
        """
        names = config.metric_names
        if not names:
            return None
        check_labels(c_dim, reals)
        count = config.metrics_count or len(reals)
        check_counts(names, count, len(reals))
        return cls(names, reals, count)

    def __call__(self, state: TrainState, batch: int, ranks: Ranks) -> dict[str, float]:
        """Returns metrics of the averaged generator; every rank generates its share of images.

        Only rank 0 gets metrics, the others an empty dict.
        """
        generator = state.generator_ema
        device = state.sign_sum.device
        metrics: dict[str, float] = {}
        if set(self.metrics) - {"ppl"}:
            extractor = load_extractor(FEATURES, device)
            share = range(
                ranks.rank * self.count // ranks.world, (ranks.rank + 1) * self.count // ranks.world
            )
            seeds = share or range(1)  # the number of features is known only from an image
            local = generator_features(generator, seeds, extractor, batch, reals=self.reals)
            fake = torch.zeros([self.count, local.shape[1]], device=device)
            fake[share.start : share.stop] = torch.as_tensor(local[: len(share)], device=device)
            ranks.all_reduce_([fake])
            if ranks.lead:
                real = cached_real_features(self.reals, extractor, cache_folder("features"), batch)
        for name in self.metrics if ranks.lead else ():
            if name == "ppl":
                metrics |= path_length(generator, range(self.count), batch, self.reals)
            else:
                metrics |= compare(fake.cpu().numpy(), real, name, extractor.name)
        return metrics


def keep_best(folder: Path, state: TrainState, snapshot: Path, metrics: dict[str, float]) -> bool:
    """Copies the snapshot to best.safetensors when its first metric is the lowest so far."""
    counters = state.counters
    value = next(iter(metrics.values()))
    improved = counters.best is None or value < counters.best
    counters.stale = 0 if improved else counters.stale + 1
    if improved:
        counters.best, counters.best_kimg = value, counters.cur_nimg / 1000
        with atomic_write(folder / "best.safetensors") as temporary:
            shutil.copyfile(snapshot, temporary)
    return improved


def prune(folder: Path, keep: int) -> None:
    """Removes all but the last `keep` snapshots, none for 0, and never best.safetensors."""
    for path in list_snapshots(folder)[:-keep] if keep else ():
        path.unlink()
