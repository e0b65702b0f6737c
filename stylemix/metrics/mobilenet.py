"""Image features of MobileNetV2 (Sandler et al. 2018).

The weights are torchvision's IMAGENET1K_V1 without the classifier. Distances are named after this
network, since they are neither FID nor LPIPS and only comparable with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.images.tensors import as_rgb, bring_within
from stylemix.io.assets import frozen_network, load_weights

FEATURE_SIZE = 224  # px, of the training images; used for Frechet distances
SMALLEST_SIDE = 32  # px; the last maps of a smaller image have no pixels left
MIN_COMPARED_SIDE, MAX_COMPARED_SIDE = 128, 256  # px, of images whose maps are compared
# Blocks with stride 2, the stem included.
STRIDED = (0, 2, 4, 7, 14)
# The last block at each size: 1/2, 1/4, 1/8, 1/16 and 1/32 of the side of the image, with 16, 24,
# 32, 96 and 320 channels.
STAGES = (1, 3, 6, 13, 17)
LAST_BLOCK = 18
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Block(nn.Module):
    """An inverted residual: expansion, depthwise convolution, linear projection."""

    def __init__(self, weights: dict[str, Tensor], index: int) -> None:
        super().__init__()
        kinds = [name for name in weights if name.startswith(f"{index}.") and "weight" in name]
        self.steps = len(kinds)
        self.linear = 0 < index < LAST_BLOCK
        self.stride = 2 if index in STRIDED else 1
        for step in range(self.steps):
            for kind in ("weight", "bias"):
                self.register_buffer(f"{kind}{step}", weights[f"{index}.{step}.{kind}"].float())

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C, H, W] to [N, C', H', W']."""
        y = x
        for step in range(self.steps):
            weight, bias = self.get_buffer(f"weight{step}"), self.get_buffer(f"bias{step}")
            spatial = weight.shape[2] > 1
            groups = y.shape[1] // weight.shape[1]
            stride = self.stride if spatial else 1
            y = functional.conv2d(y, weight, bias, stride, weight.shape[2] // 2, groups=groups)
            if not (self.linear and step == self.steps - 1):
                y = functional.relu6(y)
        return x + y if self.linear and x.shape == y.shape else y


class FeatureNetwork(nn.Module):
    """MobileNetV2 without its classifier; batch normalisation is folded into the weights."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights = load_weights("mobilenet_v2")
        self.blocks = nn.ModuleList(Block(weights, index) for index in range(LAST_BLOCK + 1))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def maps(self, images: Tensor, stages: Sequence[int] = STAGES) -> list[Tensor]:
        """Returns the outputs of the blocks `stages` (0 to 18) for images [N, 3, H, W] in [-1, 1].

        Raises StylemixError for other shapes, sides below 32 px, and other stages.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_SIDE:
            raise StylemixError(
                f"got images of shape {list(images.shape)}; expected [N, 3, H, W] with sides of "
                f"{SMALLEST_SIDE} or more; upsample them first"
            )
        if not stages or min(stages) < 0 or max(stages) > LAST_BLOCK:
            raise StylemixError(
                f"got feature stages {list(stages)}; expected numbers from 0 to {LAST_BLOCK}; "
                "omit them for the default stages"
            )
        x = ((images.float() + 1) / 2 - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)  # in which a CPU convolves faster
        outputs: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(stages) + 1]):
            x = block(x)
            if index in stages:
                outputs[index] = x
        return [outputs[index] for index in stages]

    def pooled(self, images: Tensor) -> Tensor:
        """Returns pooled features [N, 1280] of images [N, 3, H, W] in [-1, 1] of `FEATURE_SIZE`."""
        return self.maps(images, (LAST_BLOCK,))[0].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Returns `pooled`."""
        return self.pooled(images)


def load_feature_network(device: str | torch.device = "cpu") -> FeatureNetwork:
    """Returns the network, loaded once per device, in evaluation mode and without gradients."""
    return frozen_network("mobilenet_v2", device, FeatureNetwork)


def feature_maps(
    images: Tensor, stages: Sequence[int] = STAGES, smallest: int = MIN_COMPARED_SIDE
) -> list[Tensor]:
    """Returns the outputs of blocks for images [N, 1, 3 or 4, H, W] in [-1, 1]; differentiable.

    Images are first scaled to a shorter side of `smallest` to `MAX_COMPARED_SIDE` px.
    """
    images = bring_within(as_rgb(images), smallest, MAX_COMPARED_SIDE)
    return load_feature_network(images.device).maps(images, stages)
