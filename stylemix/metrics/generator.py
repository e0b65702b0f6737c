"""Figures for a generator: its images against real ones, and the smoothness of its w space."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.cache import cache_folder
from stylemix.metrics.distances import (
    Features,
    density_coverage,
    frechet,
    frechet_interval,
    kernel_distance,
    precision_recall,
)
from stylemix.metrics.extractors import (
    INCEPTION,
    Device,
    Extractor,
    PictureSet,
    generator_features,
    load_extractor,
)
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.metrics.path_length import mean_path_length, path_lengths
from stylemix.networks.generator import Generator

METRICS = ("fd", "kid", "pr", "dc", "ppl")


def score(
    generator: Generator,
    reals: PictureSet,
    metrics: Sequence[str] = ("fd",),
    count: int | None = None,
    features: str | Extractor = "mobilenet",
    batch: int = 32,
    seed: int = 0,
    device: Device | None = None,
    cache: str | os.PathLike[str] | bool = True,
    show: bool = False,
) -> dict[str, float]:
    """Return the figures of a generator against a dataset, by name ("FD-MobileNetV2").

    Random state is neither used nor changed.

    Args:
        generator: in the state to be judged; its device is where images are made.
        reals: all of its images count; labels are drawn from it.
        metrics: some of `METRICS`.
        count: generated images; None for as many as there are real ones.
        features: as for `load_extractor`.
        batch: images at a time.
        seed: of the first generated image; the others follow.
        device: where features are computed; None for the generator's.
        cache: folder for the features of the reals; True for the usual one, False for none.
        show: progress on the screen.
    """
    check_metrics(metrics)
    seeds = range(seed, seed + (count or len(reals)))
    found: dict[str, float] = {}
    if set(metrics) - {"ppl"}:
        extractor = load_extractor(features, device or generator.device)
        folder = cache_folder("features") if cache is True else Path(cache) if cache else None
        real = cached_real_features(reals, extractor, folder, batch, show)
        fake = generator_features(generator, seeds, extractor, batch, reals=reals, show=show)
        found |= compare(fake, real, metrics, extractor.name)
    if "ppl" in metrics:
        found |= path_length(generator, seeds, batch, reals, show)
    return found


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise StylemixError for names that are no metrics, or for none."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise StylemixError(
            f"got metrics {', '.join(unknown) or 'none'}; expected some of {', '.join(METRICS)}; "
            "separate them with commas"
        )


def compare(
    fake: Features, real: Features, metrics: Sequence[str], extractor: str, interval: bool = False
) -> dict[str, float]:
    """Return figures of generated against real features, [N, K] and [M, K], by name.

    "ppl" is passed over. `interval` adds a 95 % interval to the Frechet distance.
    """
    found: dict[str, float] = {}
    if "fd" in metrics:
        found["FD"] = frechet(fake, real)
        if interval:
            found["FD-low"], found["FD-high"] = frechet_interval(fake, real)
    if "kid" in metrics:
        found["KID"], found["KID-std"] = kernel_distance(fake, real)
    if "pr" in metrics:
        found["precision"], found["recall"] = precision_recall(fake, real)
    if "dc" in metrics:
        found["density"], found["coverage"] = density_coverage(fake, real)
    return {_full_name(name, extractor): value for name, value in found.items()}


def _full_name(name: str, extractor: str) -> str:
    """Only with the Inception network of the papers do the bare names FID and KID hold."""
    if extractor == INCEPTION and name.startswith(("FD", "KID")):
        return name.replace("FD", "FID")
    return f"{name}-{extractor}"


def path_length(
    generator: Generator,
    seeds: Sequence[int],
    batch: int = 32,
    reals: PictureSet | None = None,
    show: bool = False,
) -> dict[str, float]:
    """Return the perceptual path length over a path for each seed, by name."""
    lengths = path_lengths(generator, seeds, batch=batch, reals=reals, show=show)
    return {"PPL-MobileNetV2": mean_path_length(lengths)}
