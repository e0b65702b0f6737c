"""Features of an image from MobileNetV2 (Sandler et al. 2018).

The weights are torchvision's IMAGENET1K_V1, feature part only. Distances here are named after
this network: they are neither FID nor LPIPS and compare only with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.images.tensors import as_rgb, bring_within
from stylemix.io.assets import frozen_network, load_weights

CHANNELS = 1280  # of the pooled features
FEATURE_SIZE = 224  # pixels a side that the network was trained on; Frechet distances use it
SMALLEST_SIDE = 32  # below that the last stages see one pixel
SMALLEST_COMPARED, LARGEST_COMPARED = 128, 256  # px, for maps that are compared
# Blocks whose first convolution halves the image, and the stem.
STRIDED = (0, 2, 4, 7, 14)
# The last block at each size: 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's side, with 16, 24,
# 32, 96 and 320 channels.
STAGES = (1, 3, 6, 13, 17)
LAST_BLOCK = 18
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Block(nn.Module):
    """An inverted residual: widen, filter each channel by itself, narrow without activation."""

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
        """[N, C, H, W] to [N, C', H', W']."""
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
        """Outputs of the blocks `stages` (0 to 18), for images [N, 3, H, W] in [-1, 1].

        Raises StylemixError for images under 32 pixels and for other shapes or stages.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < SMALLEST_SIDE:
            raise StylemixError(
                f"got images of shape {list(images.shape)}; expected [N, 3, H, W] with sides of "
                f"{SMALLEST_SIDE} or more; enlarge them first"
            )
        if not stages or min(stages) < 0 or max(stages) > LAST_BLOCK:
            raise StylemixError(
                f"got feature stages {list(stages)}; expected numbers from 0 to {LAST_BLOCK}; "
                "leave them out for the usual five"
            )
        x = ((images.float() + 1) / 2 - self.mean) / self.std
        found: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(stages) + 1]):
            x = block(x)
            if index in stages:
                found[index] = x
        return [found[index] for index in stages]

    def pooled(self, images: Tensor) -> Tensor:
        """Mean features [N, 1280] of images [N, 3, H, W] in [-1, 1], best at `FEATURE_SIZE`."""
        return self.maps(images, (LAST_BLOCK,))[0].mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Same as `pooled`."""
        return self.pooled(images)


def load_feature_network(device: str | torch.device = "cpu") -> FeatureNetwork:
    """The network, loaded once for each device, in evaluation mode and without gradients."""
    return frozen_network("mobilenet_v2", device, FeatureNetwork)


def feature_maps(
    images: Tensor, stages: Sequence[int] = STAGES, smallest: int = SMALLEST_COMPARED
) -> list[Tensor]:
    """Outputs of the blocks `stages` for images [N, 1, 3 or 4, H, W] in [-1, 1]; differentiable.

    Images are first brought to a shorter side of `smallest` to `LARGEST_COMPARED` px.
    """
    images = bring_within(as_rgb(images), smallest, LARGEST_COMPARED)
    return load_feature_network(images.device).maps(images, stages)
