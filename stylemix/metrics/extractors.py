"""Features of sets of images, for metrics: which network, and from where the images come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from stylemix.errors import StylemixError
from stylemix.images.tensors import as_rgb
from stylemix.metrics.mobilenet import FEATURE_SIZE, load_feature_network
from stylemix.networks.generator import Generator
from stylemix.networks.latents import z_from_seed

INCEPTION = "Inception"  # only with its published weights may a distance be called FID
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
Device = str | torch.device


@dataclass(frozen=True)
class Extractor:
    """A way from images, RGB [N, 3, H, W] in [-1, 1], to features, float [N, K].

    `name` becomes part of the names of metrics. Features are cached under `name` and `version`;
    without a version they are not.
    """

    name: str
    extract: Callable[[Tensor], Tensor]
    version: str = ""


class PictureSet(Protocol):
    """What metrics need of a dataset; `ImageDataset` is one."""

    @property
    def c_dim(self) -> int:
        """Width of the labels, 0 without."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Images uint8 [N, C, H, W] and their labels."""

    def labels_at(self, indices: Sequence[int]) -> Tensor | None:
        """Labels [N, c_dim] of some images."""

    def fingerprint(self) -> str:
        """Hash of the content and its size."""


def load_extractor(
    features: str | Extractor, device: Device = "cpu", weights: str | os.PathLike[str] | None = None
) -> Extractor:
    """Return the extractor called "mobilenet", "inception" or "module:name".

    The last is a Python object of the user's: an `Extractor`, or a function as in its `extract`.
    `weights` is the file of Inception's weights.
    """
    if isinstance(features, Extractor):
        return features
    if features == "mobilenet":
        return _mobilenet(device)
    if features == "inception":
        return _inception(device, weights)
    return _users(features)


def _mobilenet(device: Device) -> Extractor:
    def extract(images: Tensor) -> Tensor:
        return load_feature_network(device).pooled(feature_input(images.to(device)))

    # The version changes with the weights and with `feature_input`.
    return Extractor("MobileNetV2", extract, "1")


def feature_input(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] as the network takes them: stretched to 224 px a side, antialiased."""
    size = (FEATURE_SIZE, FEATURE_SIZE)
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _inception(device: Device, weights: str | os.PathLike[str] | None) -> Extractor:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (
            URL_INCEPTION_V3,
            FeatureExtractorInceptionV3,
        )
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision for another torch
        raise StylemixError(
            f"got no torch-fidelity ({error}); expected it for Inception features; "
            "pip install stylemix[fid]"
        ) from error
    usual = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    path = Path(weights or usual)
    if not path.is_file():
        raise StylemixError(
            f"got no Inception weights at {path}; expected the file of {URL_INCEPTION_V3}; "
            "download it and put it there, or name it with --weights"
        )
    # The library unpickles the file, so nothing but the published bytes may reach it.
    if hashlib.sha256(path.read_bytes()).hexdigest() != INCEPTION_SHA256:
        raise StylemixError(
            f"{path}: got other weights than the published ones; expected SHA-256 "
            f"{INCEPTION_SHA256}; download {URL_INCEPTION_V3}"
        )
    network = FeatureExtractorInceptionV3("inception", ["2048"], str(path)).to(device)

    def extract(images: Tensor) -> Tensor:
        pixels = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)  # as FID is defined
        features: Tensor = network(pixels.to(device))[0]
        return features

    return Extractor(INCEPTION, extract, INCEPTION_SHA256[:16])


def _users(name: str) -> Extractor:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise StylemixError(
            f"got features {name!r}; expected mobilenet, inception or module:name of a Python "
            "object of yours; see docs/metrics.md"
        )
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise StylemixError(
            f"got features {name!r}, which cannot be imported ({error}); expected a name in a "
            "module on Python's path; set PYTHONPATH"
        ) from error
    if isinstance(found, Extractor):
        return found
    if not callable(found):
        raise StylemixError(f"got features {name!r}, no function; expected one; name another")
    return Extractor(attribute, found)


@torch.no_grad()
def real_features(
    dataset: PictureSet,
    indices: Sequence[int],
    extractor: Extractor,
    batch: int = 32,
    show: bool = False,
) -> NDArray[np.float32]:
    """Features [N, K] of the images `indices` of a dataset."""
    parts = [
        features_of(dataset.batch(indices[start : start + batch])[0] / 127.5 - 1, extractor)
        for start in tqdm(range(0, len(indices), batch), desc="Real", disable=not show)
    ]
    features: NDArray[np.float32] = np.concatenate(parts)
    return features


@torch.no_grad()
def generator_features(
    generator: Generator,
    seeds: Sequence[int],
    extractor: Extractor,
    batch: int = 32,
    psi: float = 1.0,
    reals: PictureSet | None = None,
    show: bool = False,
) -> NDArray[np.float32]:
    """Features [N, K] of generated images, which are not rounded to 8 bits.

    An image depends on its seed alone; a conditional generator draws its labels from `reals`.
    """
    parts = []
    for start in tqdm(range(0, len(seeds), batch), desc="Generated", disable=not show):
        part = seeds[start : start + batch]
        z = torch.cat([z_from_seed(seed, generator.z_dim) for seed in part])
        ws = map_with_labels(generator, z, part, reals, psi)
        images = generator.synthesis(ws, noise_mode="const")
        parts.append(features_of(images.clamp(-1, 1), extractor))
    features: NDArray[np.float32] = np.concatenate(parts)
    return features


def map_with_labels(
    generator: Generator,
    z: Tensor,
    seeds: Sequence[int],
    reals: PictureSet | None,
    psi: float = 1.0,
) -> Tensor:
    """Return ws [N, L, w_dim] of z [N, z_dim]; each seed draws a label from `reals`."""
    c = None
    if generator.c_dim:
        c_dim = 0 if reals is None else reals.c_dim
        if reals is None or c_dim != generator.c_dim:
            raise StylemixError(
                f"got labels of width {c_dim} (0: none) for a model with labels of width "
                f"{generator.c_dim}; expected the same; use data with such labels"
            )
        drawn = [int(np.random.default_rng([seed, 1]).integers(len(reals))) for seed in seeds]
        c = reals.labels_at(drawn)
    c = None if c is None else c.to(generator.device, generator.dtype)
    z = z.to(generator.device, generator.dtype)
    return generator.mapping(z, c, truncation_psi=psi)  # type: ignore[no-any-return]


def features_of(images: Tensor, extractor: Extractor) -> NDArray[np.float32]:
    """Features [N, K] of images [N, C, H, W] in [-1, 1]; StylemixError where they are none."""
    found = extractor.extract(as_rgb(images))
    if found.ndim != 2 or len(found) != len(images) or not bool(torch.isfinite(found).all()):
        raise StylemixError(
            f"got features of shape {list(found.shape)} (or not finite) from {extractor.name}; "
            f"expected finite numbers [{len(images)}, K]; check the extractor and the images"
        )
    features: NDArray[np.float32] = found.to("cpu", torch.float32).numpy()
    return features
