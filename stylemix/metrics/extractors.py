"""Feature extraction for metrics, from real and generated images."""

from __future__ import annotations

import hashlib
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

from stylemix.errors import StylemixError
from stylemix.images.tensors import as_rgb
from stylemix.io.files import StrPath
from stylemix.metrics.mobilenet import FEATURE_SIZE, load_feature_network
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator
from stylemix.networks.latents import z_from_seed
from stylemix.progress import track

INCEPTION = "Inception"  # distances are named FID and KID only with its published weights
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
Device = str | torch.device


@dataclass(frozen=True)
class Extractor:
    """A function from RGB images [N, 3, H, W] in [-1, 1] to features, float [N, K].

    `name` is part of the names of metrics. Features are cached by `name` and `version`, but not
    without a version.
    """

    name: str
    extract: Callable[[Tensor], Tensor]
    version: str = ""


class ImageSet(Protocol):
    """The dataset interface for metrics, such as `ImageDataset`."""

    @property
    def c_dim(self) -> int:
        """Width of the labels; 0 without labels."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Returns images, uint8 [N, C, H, W], and their labels."""

    def labels_at(self, indices: Sequence[int]) -> Tensor | None:
        """Returns the labels [N, c_dim] of images."""

    def fingerprint(self) -> str:
        """Returns a hash of the content and the image size."""


def load_extractor(
    features: str | Extractor, device: Device = "cpu", weights: StrPath | None = None
) -> Extractor:
    """Returns the extractor named "mobilenet", "inception" or "module:name".

    The last is a Python object of the user: an `Extractor`, or a function such as its `extract`.
    `weights` is the file with the weights of Inception.
    """
    if isinstance(features, Extractor):
        return features
    if features == "mobilenet":
        return _mobilenet(device)
    if features == "inception":
        return _inception(device, weights)
    return _import_extractor(features)


def _mobilenet(device: Device) -> Extractor:
    def extract(images: Tensor) -> Tensor:
        return load_feature_network(device).pooled(feature_input(images.to(device)))

    # Increment the version when the weights or `feature_input` change.
    return Extractor("MobileNetV2", extract, "1")


def feature_input(images: Tensor) -> Tensor:
    """Resizes images [N, 3, H, W] to squares of 224 px for the network, with antialiasing."""
    size = (FEATURE_SIZE, FEATURE_SIZE)
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def _inception(device: Device, weights: StrPath | None) -> Extractor:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import (
            URL_INCEPTION_V3,
            FeatureExtractorInceptionV3,
        )
    except (ImportError, RuntimeError) as error:  # RuntimeError: an incompatible torchvision
        raise StylemixError(
            f"got no torch-fidelity ({error}); expected it for Inception features; "
            "pip install stylemix[fid]"
        ) from error
    default = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    path = Path(weights or default)
    if not path.is_file():
        raise StylemixError(
            f"got no Inception weights at {path}; expected the file of {URL_INCEPTION_V3}; "
            "download it to this path, or pass its path with --weights"
        )
    # The library unpickles the file, so only the published file is allowed.
    if hashlib.sha256(path.read_bytes()).hexdigest() != INCEPTION_SHA256:
        raise StylemixError(
            f"{path}: got other weights than the published ones; expected SHA-256 "
            f"{INCEPTION_SHA256}; download {URL_INCEPTION_V3}"
        )
    network = FeatureExtractorInceptionV3("inception", ["2048"], str(path)).to(device)

    def extract(images: Tensor) -> Tensor:
        pixels = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)  # by the definition of FID
        features: Tensor = network(pixels.to(device))[0]
        return features

    return Extractor(INCEPTION, extract, INCEPTION_SHA256[:16])


def _import_extractor(name: str) -> Extractor:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise StylemixError(
            f"got features {name!r}; expected mobilenet, inception or module:name of a Python "
            "object of yours; see docs/metrics.md"
        )
    try:
        extractor = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise StylemixError(
            f"got features {name!r}, which cannot be imported ({error}); expected a name in a "
            "module on Python's path; set PYTHONPATH"
        ) from error
    if isinstance(extractor, Extractor):
        return extractor
    if not callable(extractor):
        raise StylemixError(
            f"got features {name!r}, which is no function; expected a function or an Extractor; "
            "name another object"
        )
    return Extractor(attribute, extractor)


@torch.no_grad()
def real_features(
    dataset: ImageSet,
    indices: Sequence[int],
    extractor: Extractor,
    batch: int = 32,
    show: bool = False,
) -> NDArray[np.float32]:
    """Returns features [N, K] of the images `indices` of a dataset."""
    starts = range(0, len(indices), batch)
    parts = [
        features_of(dataset.batch(indices[start : start + batch])[0] / 127.5 - 1, extractor)
        for start in track(starts, "Real", len(starts), show=show)
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
    reals: ImageSet | None = None,
    show: bool = False,
) -> NDArray[np.float32]:
    """Returns features [N, K] of generated images, which are not rounded to 8 bits.

    Each image depends only on its seed; labels of a conditional generator are sampled from `reals`.
    """
    parts = []
    batch = batch_size(generator, batch)
    starts = range(0, len(seeds), batch)
    for start in track(starts, "Generated", len(starts), show=show):
        images = generated_images(generator, seeds[start : start + batch], psi, reals)
        parts.append(features_of(images, extractor))
    features: NDArray[np.float32] = np.concatenate(parts)
    return features


@torch.no_grad()
def generated_images(
    generator: Generator, seeds: Sequence[int], psi: float = 1.0, reals: ImageSet | None = None
) -> Tensor:
    """Returns the images [N, C, H, W] of seeds in one batch, clamped to [-1, 1]; see above."""
    z = torch.cat([z_from_seed(seed, generator.z_dim) for seed in seeds])
    ws = map_with_labels(generator, z, seeds, reals, psi)
    images: Tensor = generator.synthesis(ws, noise_mode="const")
    return images.clamp(-1, 1)


def check_labels(c_dim: int, images: ImageSet | None) -> None:
    """Raises StylemixError for images without the labels of a model, which have width `c_dim`."""
    width = 0 if images is None else images.c_dim
    if c_dim and width != c_dim:
        raise StylemixError(
            f"got labels of width {width} (0: none) for a model with labels of width {c_dim}; "
            "expected the same width; use a dataset with such labels; where it has images of fewer "
            f'classes, write "classes": {c_dim} into its dataset.json'
        )


def map_with_labels(
    generator: Generator,
    z: Tensor,
    seeds: Sequence[int],
    reals: ImageSet | None,
    psi: float = 1.0,
) -> Tensor:
    """Maps z [N, z_dim] to ws [N, L, w_dim], with labels sampled from `reals` by seed."""
    c = None
    if generator.c_dim:
        check_labels(generator.c_dim, reals)
        assert reals is not None
        indices = [int(np.random.default_rng([seed, 1]).integers(len(reals))) for seed in seeds]
        c = reals.labels_at(indices)
    c = None if c is None else c.to(generator.device, generator.dtype)
    z = z.to(generator.device, generator.dtype)
    return generator.mapping(z, c, truncation_psi=psi)  # type: ignore[no-any-return]


def features_of(images: Tensor, extractor: Extractor) -> NDArray[np.float32]:
    """Returns features [N, K] of images [N, C, H, W] in [-1, 1]; StylemixError if invalid."""
    output = extractor.extract(as_rgb(images))
    if output.ndim != 2 or len(output) != len(images) or not bool(torch.isfinite(output).all()):
        raise StylemixError(
            f"got features of shape {list(output.shape)} (or not finite) from {extractor.name}; "
            f"expected finite values [{len(images)}, K]; check the extractor and the images"
        )
    features: NDArray[np.float32] = output.to("cpu", torch.float32).numpy()
    return features
