"""A discriminator on frozen features, beside the usual one.

Few images are enough for it, since it need not learn to see (Projected GAN, arXiv 2111.01007;
ensembles with a discriminator of its own: arXiv 2112.09130).
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

SMALLEST = 128  # px of the shorter side; the network was trained on 224
WIDTHS = (24, 32, 96, 320)  # of the features at 1/4, 1/8, 1/16 and 1/32 of the image's side
MIXED = 64  # channels after the random projection of each
WIDEST = 256
LAST = 4  # px of the finest scores that a head gives, and of the coarsest features it halves
SLOPE = 0.2


class FeatureDiscriminator(nn.Module):
    """Scores of images at four scales of the features of MobileNetV2, which stay as they are.

    Fixed random projections mix channels, and from coarse to fine also scales, so that no head can
    look at a few telling features alone (section 3.2 of the paper). Weights are spectrally
    normalised; `renew` makes a step of the power iteration.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.mix = nn.ModuleList(nn.Conv2d(width, MIXED, 1) for width in WIDTHS)
        self.blend = nn.ModuleList(nn.Conv2d(MIXED, MIXED, 3, padding=1) for _ in WIDTHS)
        for projection in (*self.mix, *self.blend):
            nn.init.kaiming_normal_(projection.weight, nonlinearity="linear")
            projection.requires_grad_(False)
        side = max(min(size), SMALLEST)
        self.heads = nn.ModuleList(_head(side / stride) for stride in (4, 8, 16, 32))
        self.eval()

    @torch.no_grad()
    def renew(self) -> None:
        """One power iteration for the norm of each weight: once a step, however it is split."""
        self.heads.train()
        for module in self.heads.modules():
            if isinstance(module, nn.Conv2d):
                _ = module.weight
        self.heads.eval()

    def forward(self, images: Tensor, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """Scores [N, k] of images [N, C, H, W] in [-1, 1] at each scale, k a patch each."""
        images = bring_within(as_rgb(images), SMALLEST, sys.maxsize)
        network = load_feature_network(images.device)
        plain = dtype == torch.float32 or images.is_meta  # that device has no autocast
        with nullcontext() if plain else torch.autocast(images.device.type, dtype):
            maps = self._projected(network.maps(images, STAGES[1:]))
            return [head(x).flatten(1).float() for head, x in zip(self.heads, maps, strict=True)]

    def _projected(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Features of all scales, finest first, each mixed with those that are coarser."""
        x: Tensor | None = None
        found: list[Tensor] = []
        for features, mix, blend in list(zip(maps, self.mix, self.blend, strict=True))[::-1]:
            y = mix(features)
            if x is not None:
                y = y + functional.interpolate(x, size=y.shape[2:], mode="bilinear")
            x = blend(y)
            found.insert(0, x)
        return found


def _head(side: float) -> nn.Sequential:
    """Convolutions that halve the features down to about `LAST` px, then one score a place."""
    layers: list[nn.Module] = []
    width = MIXED
    while side > LAST:
        out = min(width * 2, WIDEST)
        layers += [spectral_norm(nn.Conv2d(width, out, 4, 2, 1)), nn.LeakyReLU(SLOPE)]
        width, side = out, side / 2
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 3, padding=1)))


def d_hinge(reals: Sequence[Tensor], fakes: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the discriminator, summed over scales: reals above 1, fakes below -1."""
    losses = [
        functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        for real, fake in zip(reals, fakes, strict=True)
    ]
    return torch.stack(losses).sum()


def g_hinge(fakes: Sequence[Tensor]) -> Tensor:
    """The generator's side of it."""
    return -torch.stack([fake.mean() for fake in fakes]).sum()
