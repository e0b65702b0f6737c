"""Sizes of the networks: everything that is needed to build one before its weights are read."""

from __future__ import annotations

from dataclasses import dataclass

from stylemix.errors import StylemixError

ARCHITECTURES = ("skip", "resnet", "orig")


@dataclass(frozen=True)
class _NetworkConfig:
    img_resolution: int
    img_channels: int = 3
    c_dim: int = 0
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    architecture: str = "skip"
    conv_clamp: float | None = None
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)

    def __post_init__(self) -> None:
        res = self.img_resolution
        if not 4 <= res <= 1024 or res & (res - 1):
            raise StylemixError(
                f"got resolution {res}; expected a power of two from 4 to 1024; choose one"
            )
        if self.architecture not in ARCHITECTURES:
            raise StylemixError(
                f"got architecture {self.architecture!r}; "
                f"expected one of {', '.join(ARCHITECTURES)}"
            )
        if self.channels(res) < 1:
            raise StylemixError(
                f"got channel base {self.channel_base}; expected at least the resolution {res}"
            )

    @property
    def resolutions(self) -> list[int]:
        """The resolutions of the blocks in px, coarsest first: [4, 8, ...]."""
        return [2**i for i in range(2, self.img_resolution.bit_length())]

    def channels(self, resolution: int) -> int:
        """Feature channels of the block at `resolution` px."""
        return min(self.channel_base // resolution, self.channel_max)


@dataclass(frozen=True)
class GeneratorConfig(_NetworkConfig):
    """Sizes of a generator (StyleGAN2, arXiv 1912.04958)."""

    z_dim: int = 512
    w_dim: int = 512

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes."""
        return 2 * len(self.resolutions)


@dataclass(frozen=True)
class DiscriminatorConfig(_NetworkConfig):
    """Sizes of a discriminator; `cmap_dim` None means the width of its last block."""

    architecture: str = "resnet"
    cmap_dim: int | None = None
    mbstd_group_size: int = 4
    mbstd_num_channels: int = 1
