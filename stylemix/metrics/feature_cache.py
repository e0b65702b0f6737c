"""The cache of features of real images, by the content of the images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.io.cache import make_private
from stylemix.io.tensor_files import Damaged, read_tensors
from stylemix.messages import note
from stylemix.metrics.extractors import Extractor, ImageSet, real_features

Floats = NDArray[np.float32]

FORMAT = "stylemix-features-1"


def cached_real_features(
    dataset: ImageSet,
    extractor: Extractor,
    folder: Path | None,
    batch: int = 32,
    show: bool = False,
) -> Floats:
    """Returns features [N, K] of all images of a dataset, cached in `folder`.

    The key has the fingerprint of content and size and the extractor's name and version, but no
    path. Without a folder or a version nothing is cached.
    """

    def compute() -> Floats:
        return real_features(dataset, range(len(dataset)), extractor, batch, show)

    if folder is None or not extractor.version:
        return compute()
    key = cache_key(dataset, extractor)
    return _cached(folder, key, compute)


def cache_key(dataset: ImageSet, extractor: Extractor) -> str:
    """Returns all that the features depend on, as JSON."""
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
    features = _read(path, key)
    if features is None:
        features = compute()
        _write(path, key, features)
    return features


def _read(path: Path, key: str) -> Floats | None:
    """Reads the features of a file; None if it is missing, or damaged, with a warning."""
    if not os.path.isfile(path):  # nor where the folder may not be entered
        return None
    try:
        metadata, tensors = read_tensors(path)
        features: Floats = tensors["features"].numpy()
    except (Damaged, KeyError):
        metadata, features = {}, np.zeros(0, np.float32)
    if metadata != {"key": key, "sha256": _digest(features)}:
        note(f"{path}: got damaged features; computing them again")
        return None
    return features


def _write(path: Path, key: str, features: Floats) -> None:
    features = np.ascontiguousarray(features)
    try:
        with suppress(OSError):  # which the writer reports
            make_private(path.parent)
        with atomic_write(path) as temporary:
            metadata = {"key": key, "sha256": _digest(features)}
            save_file({"features": features}, temporary, metadata)
    except StylemixError as error:  # the cache is optional
        note(f"Features of the images are not cached: {error}")


def _digest(features: Floats) -> str:
    return hashlib.sha256(features.tobytes()).hexdigest()
