"""A person in styles, ready to be drawn: a network with the style vectors that go into it.

For a region two of them are drawn side by side, from where they share their features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.networks.generator import FeatureOverride, SynthesisNetwork
from stylemix.networks.layers import block_dtypes

# Where two drawings meet: about a third of the way between the eyes. Later, parts of a shape that
# ends outside the region stay behind; earlier, the styles reach too far beyond it (docs/log.md).
MEET_PX, MEET_PX_LARGE = 8, 16
LARGE = 256  # px of models whose faces fill less of the picture


@dataclass
class Drawing:
    """What a synthesis network draws.

    Attributes:
        network: with the weights of the styles added.
        styles: as `SynthesisNetwork.styles` gives them, {"b4.conv1": [N, C], ...}.
        noise: as the network takes it.
        kept: features of a photo.
    """

    network: SynthesisNetwork
    styles: dict[str, Tensor]
    noise: str | Tensor = "const"
    kept: FeatureOverride | None = None

    def draw(self) -> Tensor:
        """Images [N, C, H, W] in about [-1, 1]."""
        return self.network.from_styles(self.styles, self.noise, kept=self.kept)

    def start(self) -> Tensor:
        """What the first block takes, [N, C, h, w]."""
        const = self.network.get_parameter("b4.const")
        x = const.unsqueeze(0).expand(len(self.styles["b4.conv1"]), -1, -1, -1)
        return x.contiguous(memory_format=torch.channels_last)

    def step(self, name: str, x: Tensor, img: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features and picture so far -> those behind the block of this name."""
        own = {k.split(".")[1]: v for k, v in self.styles.items() if k.split(".")[0] == name}
        features, picture = self.network.blocks()[name](x, img, own, self.noise, self.kept)
        return features, picture


def draw_region(plain: Drawing, styled: Drawing, mask: Tensor, meet: int | None = None) -> Tensor:
    """Images [N, C, H, W] of `styled` where mask [1 or N, 1, H, W] is 1, of `plain` where it is 0.

    Behind the block of `meet` px both go on from one blend of their features, each in its own
    style, so that shapes join at the border; colours are blended at the end.
    """
    config = plain.network.config
    meet = meet or (MEET_PX if config.img_resolution < LARGE else MEET_PX_LARGE)
    a, b = plain.start(), styled.start()
    img_a: Tensor | None = None
    img_b: Tensor | None = None
    names = list(plain.network.blocks())
    for name, kind in zip(names, block_dtypes(a.dtype, len(names)), strict=True):
        a, img_a = plain.step(name, a.to(kind), img_a)
        b, img_b = styled.step(name, b.to(kind), img_b)
        if name == f"b{meet}":
            share = functional.interpolate(mask, size=a.shape[2:], mode="area")
            a = b = a.lerp(b, share.to(a))
    assert img_a is not None
    assert img_b is not None
    return img_a.lerp(img_b, mask.to(img_a))
