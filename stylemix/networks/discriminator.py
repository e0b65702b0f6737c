"""The discriminator (StyleGAN2, arXiv 1912.04958, section 4), conditional by projection."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError
from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.layers import (
    Conv2d,
    FullyConnected,
    MinibatchStddev,
    band_scales,
    block_dtypes,
    haar,
)
from stylemix.networks.mapping import MappingNetwork
from stylemix.ops import downsample2d, setup_filter


class DiscriminatorBlock(nn.Module):
    """Two convolutions at one resolution; the second downsamples by 2."""

    def __init__(self, resolution: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.architecture = config.architecture
        self.first = resolution == config.img_resolution
        width, out = config.channels(resolution), config.channels(resolution // 2)
        common = {"conv_clamp": config.conv_clamp, "resample_filter": config.resample_filter}
        self.register_buffer("resample_filter", setup_filter(config.resample_filter))
        if self.first or config.architecture == "skip" or resolution in config.fromrgb_at:
            colors = config.color_channels(resolution)
            self.fromrgb = Conv2d(colors, width, 1, act="lrelu", **common)  # type: ignore[arg-type]
        self.conv0 = Conv2d(width, width, 3, act="lrelu", **common)  # type: ignore[arg-type]
        self.conv1 = Conv2d(width, out, 3, act="lrelu", down=2, **common)  # type: ignore[arg-type]
        if config.architecture == "resnet":
            self.skip = Conv2d(
                width, out, 1, bias=False, down=2, resample_filter=config.resample_filter
            )

    resample_filter: Tensor

    def forward(
        self, x: Tensor | None, img: Tensor | None, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor | None]:
        """Maps features (None in the first block) and image to features at half the size."""
        if img is not None:
            y = self.fromrgb(img.to(dtype))
            x = y if x is None else x + y
            img = downsample2d(img, self.resample_filter) if self.architecture == "skip" else None
        assert x is not None
        if self.architecture == "resnet":
            y = self.skip(x, gain=math.sqrt(0.5))
            return y + self.conv1(self.conv0(x), gain=math.sqrt(0.5)), img
        return self.conv1(self.conv0(x)), img


class DiscriminatorEpilogue(nn.Module):
    """The last block: minibatch standard deviation, a convolution, two linear layers."""

    def __init__(self, cmap_dim: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.channels(4)
        common = {"conv_clamp": config.conv_clamp, "resample_filter": config.resample_filter}
        if config.architecture == "skip" or config.img_resolution == 4:
            self.fromrgb = Conv2d(config.color_channels(4), width, 1, act="lrelu")
        self.mbstd = MinibatchStddev(config.mbstd_group_size, config.mbstd_num_channels)
        self.conv = Conv2d(width + config.mbstd_num_channels, width, 3, act="lrelu", **common)  # type: ignore[arg-type]
        self.fc = FullyConnected(width * math.prod(config.base), width, act="lrelu")
        self.out = FullyConnected(width, cmap_dim or 1)

    def forward(self, x: Tensor | None, img: Tensor | None) -> Tensor:
        """Maps features [N, C, *base] to [N, 1], or [N, cmap_dim] if conditional; float32."""
        x = None if x is None else x.float()
        if img is not None:
            y = self.fromrgb(img.float())
            x = y if x is None else x + y
        assert x is not None
        x = self.conv(self.mbstd(x))
        return self.out(self.fc(x.flatten(1)))  # type: ignore[no-any-return]


class DiscriminatorTrunk(nn.Module):
    """A discriminator without its last block, which maps images to features."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.img_channels, self.img_resolution = config.img_channels, config.img_resolution
        for resolution in reversed(config.resolutions[1:]):
            self.add_module(f"b{resolution}", DiscriminatorBlock(resolution, config))

    def _blocks(self, img: Tensor, dtype: torch.dtype | None) -> tuple[list[Tensor], Tensor | None]:
        expected = (self.img_channels, self.config.height, self.config.width)
        if img.ndim != 4 or tuple(img.shape[1:]) != expected:
            raise StylemixError(
                f"got images of shape {tuple(img.shape)}; "
                f"expected [N, {', '.join(map(str, expected))}]"
            )
        rest: Tensor | None = img
        if self.config.head == "haar":
            rest = haar(img) * band_scales(self.img_channels, img)
        assert rest is not None
        rest = rest.contiguous(memory_format=torch.channels_last)
        reduced = img.contiguous(memory_format=torch.channels_last)
        x: Tensor | None = None
        maps: list[Tensor] = []
        resolutions = self.config.resolutions[:0:-1]
        kinds = block_dtypes(dtype or img.dtype, len(resolutions))
        for resolution, kind in zip(resolutions, reversed(kinds), strict=True):
            block = self.get_submodule(f"b{resolution}")
            if x is not None and resolution in self.config.fromrgb_at:
                while reduced.shape[2] > x.shape[2]:
                    reduced = downsample2d(reduced, block.resample_filter)  # type: ignore[arg-type]
                rest = reduced
            x, rest = block(x if x is None else x.to(kind), rest, kind)
            maps.append(x)
        return maps, rest

    def features(self, img: Tensor, dtype: torch.dtype | None = None) -> list[Tensor]:
        """Returns block outputs for img [N, C, H, W], finest first: H/2, H/4, ..., base."""
        return self._blocks(img, dtype)[0]


class Discriminator(DiscriminatorTrunk):
    """Maps images to logits, high for real images."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__(config)
        self.c_dim = config.c_dim
        cmap_dim = config.channels(4) if config.cmap_dim is None else config.cmap_dim
        self.cmap_dim = cmap_dim if config.c_dim > 0 else 0
        if config.c_dim > 0:
            self.mapping = MappingNetwork(0, config.c_dim, self.cmap_dim, config.mapping_layers)
        self.b4 = DiscriminatorEpilogue(self.cmap_dim, config)

    def forward(
        self, img: Tensor, c: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Maps img [N, C, H, W] and labels c [N, c_dim] to logits [N, 1]; features in `dtype`."""
        maps, rest = self._blocks(img, dtype)
        x = self.b4(maps[-1] if maps else None, rest)
        if self.c_dim > 0:
            cmap = self.mapping(None, c)
            x = (x * cmap).sum(dim=1, keepdim=True) / math.sqrt(self.cmap_dim)
        return x  # type: ignore[no-any-return]
