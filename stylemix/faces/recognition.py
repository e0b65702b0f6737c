"""Face recognition with dlib's network (residual layout of He et al. 2015, 29 convolutions).

Two descriptors of one person differ by less than about 0.6. Everything here is differentiable, so
that a projection can preserve the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.faces.crops import MEAN_COLOR, crop_faces, dequantise
from stylemix.faces.templates import Template
from stylemix.io.assets import frozen_network, load_weights

CHIP_SIZE = 150
# Positions of the eyes in the network's training set, also as a template for `align_photo`.
CHIP_EYES = ((49 / 150, 57 / 150), (101 / 150, 57 / 150))
DLIB_CHIP = Template("dlib-chip", "points", CHIP_EYES)
SAME_PERSON = 0.6  # L2 distance; the threshold recommended by dlib
_NARROW = ("conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3")
_WIDE = ("conv128_down", "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2")
BLOCKS = (*_NARROW, *_WIDE, "conv256_down_out")


class Convolution(nn.Module):
    """A convolution with scale and bias; stored 8-bit weights are converted to float32."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weights: dict[str, Tensor], name: str, stride: int, padded: bool) -> None:
        super().__init__()
        gain = weights[f"{name}.gain"][:, None, None, None]
        self.register_buffer("weight", dequantise(weights, name) * gain)
        self.register_buffer("bias", weights[f"{name}.bias"])
        self.stride = stride
        self.padding = self.weight.shape[-1] // 2 if padded else 0

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C, H, W] to [N, C', H', W']."""
        return functional.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class Block(nn.Module):
    """A residual block of two convolutions; a `down` block halves the size and may add channels."""

    def __init__(self, weights: dict[str, Tensor], name: str, down: bool) -> None:
        super().__init__()
        self.down = down
        self.first = Convolution(weights, f"{name}.conv1", 2 if down else 1, padded=not down)
        self.second = Convolution(weights, f"{name}.conv2", 1, padded=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x [N, C, H, W] to [N, C', H', W']; the smaller branch is padded with zeros."""
        y = self.second(functional.relu(self.first(x)))
        if self.down:
            x = functional.avg_pool2d(x, 2, 2)
            y = functional.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
            x = functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return functional.relu(x + y)


class IdentityNetwork(nn.Module):
    """Maps RGB chips [N, 3, 150, 150] in 0..255, eyes at `DLIB_CHIP`, to descriptors [N, 128]."""

    mean: Tensor
    head: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights = load_weights("dlib_face")
        self.register_buffer("mean", torch.tensor(MEAN_COLOR)[:, None, None])
        self.register_buffer("head", dequantise(weights, "fc"))
        self.stem = Convolution(weights, "conv32_down", 2, padded=False)
        self.blocks = nn.Sequential(*[Block(weights, name, "down" in name) for name in BLOCKS])

    def forward(self, chips: Tensor) -> Tensor:
        """Maps chips [N, 3, 150, 150] in 0..255 to descriptors [N, 128]."""
        x = ((chips - self.mean) / 256).contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.stem(x))
        x = self.blocks(functional.max_pool2d(x, 3, 2))
        return functional.linear(x.mean(dim=(2, 3)), self.head)


def load_identity_network(device: str | torch.device = "cpu") -> IdentityNetwork:
    """Returns the network, loaded once per device, in evaluation mode and without gradients."""
    return frozen_network("dlib_face", device, IdentityNetwork)


def make_chips(images: Tensor, template: Template) -> Tensor:
    """Crops chips [N, 3, 150, 150] in 0..255 from aligned images [N, 3, H, H] in [-1, 1].

    The eyes are placed at (49, 57) and (101, 57) px; the padding is mirrored. Raises StylemixError
    for a template without eyes.
    """
    return crop_faces(images, template, CHIP_EYES, CHIP_SIZE, "reflection")


def embed(images: Tensor, template: Template) -> Tensor:
    """Returns the descriptors [N, 128] of aligned images [N, 3, H, H] in [-1, 1]; differentiable.

    Raises StylemixError for a template without eyes.
    """
    chips = make_chips(images.float(), template)
    result: Tensor = load_identity_network(images.device)(chips)
    return result


def identity_cosine(a: Tensor, b: Tensor) -> Tensor:
    """Returns the cosine [N] of descriptors [N, 128]; only relative, as strangers reach 0.85."""
    return functional.cosine_similarity(a, b, dim=-1)


def identity_distance(a: Tensor, b: Tensor) -> Tensor:
    """Returns the L2 distance [N] of descriptors [N, 128]; below 0.6 for one person, probably."""
    distance: Tensor = torch.linalg.vector_norm(a - b, dim=-1)
    return distance


def identity_kept(a: Tensor, b: Tensor) -> Tensor:
    """Returns the preserved identity [N], 0 to 1, from descriptors [N, 128] before and after.

    1 is an unchanged image, 0.5 a distance of `SAME_PERSON`.
    """
    return (1 - identity_distance(a, b) / (2 * SAME_PERSON)).clamp(0, 1)
