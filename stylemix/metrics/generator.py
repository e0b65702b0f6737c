"""Metrics of a generator: its images compared with real images, and perceptual path length."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.cache import cache_folder
from stylemix.io.files import StrPath
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
    ImageSet,
    generator_features,
    load_extractor,
)
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.metrics.path_length import mean_path_length, path_lengths
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator

METRICS = ("fd", "kid", "pr", "dc", "ppl")


def score(
    generator: Generator,
    reals: ImageSet,
    metrics: Sequence[str] = ("fd",),
    count: int | None = None,
    features: str | Extractor = "mobilenet",
    batch: int = 32,
    seed: int = 0,
    device: Device | None = None,
    cache: StrPath | bool = True,
    show: bool = False,
) -> dict[str, float]:
    """Return metrics of a generator on a dataset, by name ("FD-MobileNetV2").

    The random state is neither used nor changed.

    Args:
        generator: the generator; images are generated on its device.
        reals: the dataset, of which all images are used; labels are sampled from it.
        metrics: names from `METRICS`.
        count: number of generated images; None for the number of real images.
        features: as for `load_extractor`.
        batch: images at a time.
        seed: seed of the first generated image; the others follow.
        device: device of the feature extractor; None for that of the generator.
        cache: folder for the features of the reals; True for the default folder, False for none.
        show: whether to show progress bars.
    """
    check_metrics(metrics)
    seeds = range(seed, seed + (count or len(reals)))
    values: dict[str, float] = {}
    if set(metrics) - {"ppl"}:
        extractor = load_extractor(features, device or generator.device)
        folder = cache_folder("features") if cache is True else Path(cache) if cache else None
        real = cached_real_features(reals, extractor, folder, batch, show)
        fake = generator_features(generator, seeds, extractor, batch, reals=reals, show=show)
        values |= compare(fake, real, metrics, extractor.name)
    if "ppl" in metrics:
        values |= path_length(generator, seeds, batch, reals, show)
    return values


def check_metrics(metrics: Sequence[str]) -> None:
    """Raise StylemixError for unknown metrics, or without any."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise StylemixError(
            f"got metrics {', '.join(unknown) or 'none'}; expected some of {', '.join(METRICS)}; "
            "separate them with commas"
        )


def compare(
    fake: Features, real: Features, metrics: Sequence[str], extractor: str, interval: bool = False
) -> dict[str, float]:
    """Return metrics of generated and real features, [N, K] and [M, K], by name.

    "ppl" is ignored. `interval` adds the 95 % interval of the Frechet distance.
    """
    values: dict[str, float] = {}
    if "fd" in metrics:
        values["FD"] = frechet(fake, real)
        if interval:
            values["FD-low"], values["FD-high"] = frechet_interval(fake, real)
    if "kid" in metrics:
        values["KID"], values["KID-std"] = kernel_distance(fake, real)
    if "pr" in metrics:
        values["precision"], values["recall"] = precision_recall(fake, real)
    if "dc" in metrics:
        values["density"], values["coverage"] = density_coverage(fake, real)
    return {_full_name(name, extractor): value for name, value in values.items()}


def _full_name(name: str, extractor: str) -> str:
    """Add the extractor to a name, except for FID and KID, which are defined on Inception."""
    if extractor == INCEPTION and name.startswith(("FD", "KID")):
        return name.replace("FD", "FID")
    return f"{name}-{extractor}"


def path_length(
    generator: Generator,
    seeds: Sequence[int],
    batch: int = 32,
    reals: ImageSet | None = None,
    show: bool = False,
) -> dict[str, float]:
    """Return the perceptual path length over one path per seed, by name."""
    batch = batch_size(generator, batch)
    lengths = path_lengths(generator, seeds, batch=batch, reals=reals, show=show)
    return {"PPL-MobileNetV2": mean_path_length(lengths)}
