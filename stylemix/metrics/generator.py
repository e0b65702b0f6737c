"""Metrics of a generator: its images compared with real images, and perceptual path length."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.cache import cache_folder
from stylemix.io.files import StrPath
from stylemix.metrics.distances import (
    INTERVAL_IMAGES,
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
    check_labels,
    generator_features,
    load_extractor,
)
from stylemix.metrics.feature_cache import cached_real_features
from stylemix.metrics.path_length import mean_path_length, path_lengths
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator

METRICS = ("fd", "kid", "pr", "dc", "ppl")
LOWER_IS_BETTER = ("fd", "kid", "ppl")
MIN_IMAGES = {"fd": 2, "kid": 2, "pr": 4, "dc": 6}  # of each set


@dataclass
class Report:
    """Metrics by name, and the seconds that each step took."""

    scores: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Records the seconds of the block."""
        start = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - start, 2)


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
    """Returns metrics of a generator on a dataset, by name ("FD-MobileNetV2").

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
    extractor = load_extractor(features, device or generator.device)
    folder = cache_folder("features") if cache is True else Path(cache) if cache else None
    return measure(generator, reals, metrics, seeds, extractor, folder, batch, show=show).scores


def measure(
    generator: Generator,
    reals: ImageSet,
    metrics: Sequence[str],
    seeds: Sequence[int],
    extractor: Extractor,
    cache: Path | None = None,
    batch: int = 32,
    psi: float = 1.0,
    interval: bool = False,
    show: bool = True,
) -> Report:
    """Returns metrics of a generator in their order; `seeds` are those of the generated images.

    The other arguments are those of `score`, `psi` that of `generator_features` and `interval` that
    of `compare`.
    """
    report = Report()
    check_counts(metrics, len(seeds), len(reals), interval)
    check_labels(generator.c_dim, reals)
    if set(metrics) - {"ppl"}:
        with report.timed("features of real images"):
            at_once = batch_size(generator, batch)
            real = cached_real_features(reals, extractor, cache, at_once, show)
        with report.timed("features of generated images"):
            fake = generator_features(generator, seeds, extractor, batch, psi, reals, show)
    for name in metrics:
        with report.timed(name):
            if name == "ppl":
                report.scores |= path_length(generator, seeds, batch, reals, show)
            else:
                report.scores |= compare(fake, real, name, extractor.name, interval)
    return report


def parse_metrics(text: object, first: Sequence[str] = METRICS) -> tuple[str, ...]:
    """Returns the metrics of a text such as "fd,kid"; raises StylemixError for unknown ones.

    The first one, by which snapshots are compared, must be one of `first`.
    """
    metrics = tuple(dict.fromkeys(name.strip() for name in str(text).split(",")))
    check_metrics(metrics)
    if metrics[0] not in first:
        raise StylemixError(
            f"got {metrics[0]} as the first metric, which selects the best snapshot; "
            f"expected {', '.join(first)} first"
        )
    return metrics


def check_metrics(metrics: Sequence[str]) -> None:
    """Raises StylemixError for unknown metrics, or without any."""
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise StylemixError(
            f"got metrics {', '.join(unknown) or 'none'}; expected some of {', '.join(METRICS)}; "
            "separate them with commas"
        )


def check_counts(metrics: Sequence[str], generated: int, real: int, interval: bool = False) -> None:
    """Raises StylemixError for fewer images than a metric, or the interval, needs."""
    needed = [(name, MIN_IMAGES.get(name, 0)) for name in metrics]
    for name, least in [*needed, *([("the interval", INTERVAL_IMAGES)] if interval else [])]:
        if min(generated, real) < least:
            raise StylemixError(
                f"got {generated} generated and {real} real images; expected {least} or more of "
                f"each for {name}; add images, or leave it out"
            )


def compare(
    fake: Features, real: Features, metric: str, extractor: str, interval: bool = False
) -> dict[str, float]:
    """Returns the values of a metric of generated and real features, [N, K] and [M, K], by name.

    `interval` adds the 95 % interval of the Frechet distance.
    """
    values: dict[str, float] = {}
    if metric == "fd":
        values["FD"] = frechet(fake, real)
        if interval:
            values["FD-low"], values["FD-high"] = frechet_interval(fake, real)
    elif metric == "kid":
        values["KID"], values["KID-std"] = kernel_distance(fake, real)
    elif metric == "pr":
        values["precision"], values["recall"] = precision_recall(fake, real)
    elif metric == "dc":
        values["density"], values["coverage"] = density_coverage(fake, real)
    return {_full_name(name, extractor): value for name, value in values.items()}


def _full_name(name: str, extractor: str) -> str:
    """Adds the extractor to a name, except for FID and KID, which are defined on Inception."""
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
    """Returns the perceptual path length over one path per seed, by name."""
    batch = batch_size(generator, batch)
    lengths = path_lengths(generator, seeds, batch=batch, reals=reals, show=show)
    return {"PPL-MobileNetV2": mean_path_length(lengths)}
