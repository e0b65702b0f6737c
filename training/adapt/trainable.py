"""The trainable parameters of a style: offsets in style space, affine layers, or all weights.

With fewer parameters a style needs fewer images and overfits less (StyleDomain, arXiv
2212.10229): a look trains offsets and toRGB layers, "Affine+" all affine layers and one block, a
transfer everything but the noise strengths.
"""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.avatars.render import layer_indices
from stylemix.networks.generator import Generator, SynthesisNetwork
from stylemix.networks.latents import layer_resolutions

PARTS = ("offsets", "affine", "all")
COLORS = ("torgb.weight", "torgb.bias")
FIRST_PX = 16  # lowest resolution with offsets, so that pose and structure are preserved
BLOCK_PX = 64  # the block whose convolutions "affine" trains; the last block of smaller models


def style_offsets(generator: Generator) -> dict[str, Tensor]:
    """Returns trainable offsets of zero for the layers from 16 px on: {"b16.conv0": [C], ...}."""
    pixels = layer_resolutions(generator.img_resolution)
    average = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    styles = generator.synthesis.styles(average)
    return {
        f"{name}.{kind}": torch.zeros_like(styles[name][kind][0]).requires_grad_(True)
        for name, indices in layer_indices(generator).items()
        if pixels[min(indices.values())] >= min(FIRST_PX, pixels[-1])
        for kind in indices
    }


def style_weights(network: SynthesisNetwork, part: str) -> dict[str, Tensor]:
    """Returns the parameters that a style of this part trains; only they get gradients.

    toRGB layers are always among them. Noise strengths never are: the constant noise would be
    learned as a pattern on every image.
    """
    free = f"b{min(BLOCK_PX, network.config.img_resolution)}."

    def is_free(name: str) -> bool:
        if name.endswith("noise_strength"):
            return False
        if part == "all" or name.endswith(COLORS):
            return True
        return part == "affine" and (".affine." in name or name.startswith(free))

    network.requires_grad_(False)
    parameters = {k: v for k, v in network.named_parameters() if is_free(k)}
    return {name: parameter.requires_grad_(True) for name, parameter in parameters.items()}


def sparsify(offsets: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Returns masks {layer: [C] of 0 and 1} that keep this share, the largest of each layer."""
    masks = {}
    for name, value in offsets.items():
        threshold = value.detach().abs().topk(max(round(share * len(value)), 1)).values[-1]
        masks[name] = (value.detach().abs() >= threshold).to(value)
    return masks
