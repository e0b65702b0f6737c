"""A discriminator on frozen features, in addition to the usual one.

It needs few images, since its features are pretrained (Projected GAN, arXiv 2111.01007; used
together with a trained discriminator: arXiv 2112.09130).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from stylemix.images.tensors import as_rgb, bring_within
from stylemix.metrics.mobilenet import STAGES, load_feature_network

MIN_SIDE = 128  # px of the shorter side; the network was trained on 224
WIDTHS = (24, 32, 96, 320)  # channels of the features at 1/4, 1/8, 1/16 and 1/32 resolution
PROJECTED_CHANNELS = 64  # after the random projection of each scale
MAX_CHANNELS = 256
SCORE_SIDE = 4  # px; heads downsample features until they are no larger
SLOPE = 0.2  # of leaky ReLU


class FeatureDiscriminator(nn.Module):
    """Scores images at four scales of frozen MobileNetV2 features.

    Fixed random projections mix channels, and from coarse to fine also scales, so that no head
    relies on a few discriminative features (section 3.2 of the paper). Weights have spectral
    normalization; `renew` runs a step of the power iteration.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        channels = PROJECTED_CHANNELS
        self.mix = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in WIDTHS)
        self.blend = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in WIDTHS)
        for projection in (*self.mix, *self.blend):
            nn.init.kaiming_normal_(projection.weight, nonlinearity="linear")
            projection.requires_grad_(False)
        side = max(min(size), MIN_SIDE)
        self.heads = nn.ModuleList(_head(side / stride) for stride in (4, 8, 16, 32))
        self.eval()

    @torch.no_grad()
    def renew(self) -> None:
        """Runs one power iteration for the norm of each weight, once per training step."""
        self.heads.train()
        for module in self.heads.modules():
            if isinstance(module, nn.Conv2d):
                _ = module.weight
        self.heads.eval()

    def forward(self, images: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """Returns patch scores [N, k] of images [N, C, H, W] in [-1, 1] at each scale."""
        images = bring_within(as_rgb(images), MIN_SIDE, sys.maxsize)
        network = load_feature_network(images.device)
        full = dtype == torch.float32 or images.is_meta  # the meta device has no autocast
        with nullcontext() if full else torch.autocast(images.device.type, dtype):
            maps = self._projected(network.maps(images, STAGES[1:]))
            return [head(x).flatten(1).float() for head, x in zip(self.heads, maps, strict=True)]

    def _projected(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Returns features of all scales, finest first, each mixed with the coarser scales."""
        x: Tensor | None = None
        projected: list[Tensor] = []
        for features, mix, blend in list(zip(maps, self.mix, self.blend, strict=True))[::-1]:
            y = mix(features)
            if x is not None:
                y = y + functional.interpolate(x, size=y.shape[2:], mode="bilinear")
            x = blend(y)
            projected.insert(0, x)
        return projected


def _head(side: float) -> nn.Sequential:
    """Returns convolutions that downsample to about `SCORE_SIDE` px, then one score per pixel."""
    layers: list[nn.Module] = []
    width = PROJECTED_CHANNELS
    while side > SCORE_SIDE:
        out = min(width * 2, MAX_CHANNELS)
        layers += [spectral_norm(nn.Conv2d(width, out, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
        width, side = out, side / 2
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))


def d_hinge(reals: Sequence[Tensor], fakes: Sequence[Tensor]) -> Tensor:
    """Returns the hinge loss of the discriminator, summed over scales."""
    losses = [
        functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        for real, fake in zip(reals, fakes, strict=True)
    ]
    return torch.stack(losses).sum()


def g_hinge(fakes: Sequence[Tensor]) -> Tensor:
    """Returns the hinge loss of the generator, summed over scales."""
    return -torch.stack([fake.mean() for fake in fakes]).sum()
