"""What of a generator a style may change: offsets in style space, affine layers, or every weight.

The fewer numbers a style has, the fewer images it needs, and the less of them it can learn by
heart (StyleDomain, arXiv 2212.10229): a look changes offsets and colours, "Affine+" all affine
layers and one block, an illustrator's hand everything but the noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.avatars.render import layer_indices
from stylemix.networks.generator import Generator, SynthesisNetwork
from stylemix.networks.latents import layer_resolutions

PARTS = ("offsets", "affine", "all")
COLOURS = ("torgb.weight", "torgb.bias")
FIRST_PX = 16  # offsets begin here, so that pose and shape stay
BLOCK_PX = 64  # the block whose convolutions "affine" may change; the last one of smaller models


def style_offsets(generator: Generator) -> dict[str, Tensor]:
    """Offsets of zero, to be learned, for the layers from 16 px on: {"b16.conv0": [C], ...}."""
    pixels = layer_resolutions(generator.img_resolution)
    average = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    styles = generator.synthesis.styles(average)
    return {
        f"{name}.{kind}": torch.zeros_like(styles[name][kind][0]).requires_grad_(True)
        for name, own in layer_indices(generator).items()
        if pixels[min(own.values())] >= min(FIRST_PX, pixels[-1])
        for kind in own
    }


def style_weights(network: SynthesisNetwork, part: str) -> dict[str, Tensor]:
    """The parameters of a network that a style of this part changes; only they get gradients.

    Steps to colours are always among them. The strengths of the noise never are: a stored map
    would be learned as a pattern that lies over every image.
    """
    free = f"b{min(BLOCK_PX, network.config.img_resolution)}."

    def is_free(name: str) -> bool:
        if name.endswith("noise_strength"):
            return False
        if part == "all" or name.endswith(COLOURS):
            return True
        return part == "affine" and (".affine." in name or name.startswith(free))

    network.requires_grad_(False)
    found = {k: v for k, v in network.named_parameters() if is_free(k)}
    return {name: parameter.requires_grad_(True) for name, parameter in found.items()}


def sparsify(offsets: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Which offsets count, {layer: [C] of 0 and 1}: in each layer this share, the largest."""
    masks = {}
    for name, value in offsets.items():
        least = value.detach().abs().topk(max(round(share * len(value)), 1)).values[-1]
        masks[name] = (value.detach().abs() >= least).to(value)
    return masks
