"""Features of real images, kept between runs and found by what the images hold."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.metrics.extractors import Extractor, PictureSet, real_features

Floats = NDArray[np.float32]

FORMAT = "stylemix-features-1"


def cached_real_features(
    dataset: PictureSet,
    extractor: Extractor,
    folder: Path | None,
    batch: int = 32,
    show: bool = False,
) -> Floats:
    """Features [N, K] of all images of a dataset: from `folder` where it has them.

    The key is the fingerprint of content and size, and the extractor's name and version: never a
    path. Without a folder or a version nothing is kept.
    """

    def compute() -> Floats:
        return real_features(dataset, range(len(dataset)), extractor, batch, show)

    if folder is None or not extractor.version:
        return compute()
    key = cache_key(dataset, extractor)
    return _cached(folder, key, compute)


def cache_key(dataset: PictureSet, extractor: Extractor) -> str:
    """What features depend on, as JSON."""
    return json.dumps(
        {
            "format": FORMAT,
            "data": dataset.fingerprint(),
            "pictures": len(dataset),
            "extractor": extractor.name,
            "version": extractor.version,
        }
    )


def _cached(folder: Path, key: str, compute: Callable[[], Floats]) -> Floats:
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    found = _read(path, key)
    if found is None:
        found = compute()
        _write(path, key, found)
    return found


def _read(path: Path, key: str) -> Floats | None:
    """The features in a file; None, with a word where it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as handle:
            metadata = handle.metadata() or {}
            features: Floats = handle.get_tensor("features")
    except (OSError, SafetensorError):
        metadata, features = {}, np.zeros(0, np.float32)
    if metadata != {"key": key, "sha256": _digest(features)}:
        print(f"{path}: got damaged features; computing them again", file=sys.stderr)
        return None
    return features


def _write(path: Path, key: str, features: Floats) -> None:
    features = np.ascontiguousarray(features)
    try:
        with atomic_write(path) as temporary:
            metadata = {"key": key, "sha256": _digest(features)}
            save_file({"features": features}, temporary, metadata)
    except StylemixError as error:  # a cache is a convenience
        print(f"Features of the images are not kept: {error}", file=sys.stderr)


def _digest(features: Floats) -> str:
    return hashlib.sha256(features.tobytes()).hexdigest()
