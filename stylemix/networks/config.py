"""Network configurations: all sizes that are needed to build a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stylemix.errors import StylemixError, check_choice

ARCHITECTURES = ("skip", "resnet", "orig")
HEADS = ("rgb", "haar")
MAX_RESOLUTION = 1024  # nominal px
MIN_BASE, MAX_BASE = 3, 16  # px, sides of the coarsest block in `network_size`


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
    base: tuple[int, int] = (4, 4)  # height and width of the coarsest block
    channel_min: int = 0
    head: str = "rgb"

    def __post_init__(self) -> None:
        res = self.img_resolution
        if not 4 <= res <= MAX_RESOLUTION or res & (res - 1):
            raise StylemixError(
                f"got resolution {res}; expected a power of two from 4 to {MAX_RESOLUTION}; "
                "choose one"
            )
        if len(self.base) != 2 or not all(1 <= side <= MAX_BASE for side in self.base):
            raise StylemixError(
                f"got base {self.base}; expected a height and a width from 1 to {MAX_BASE}; "
                "change it"
            )
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_choice("head", self.head, HEADS)
        if self.channels(res) < 1:
            raise StylemixError(
                f"got channel base {self.channel_base}; expected at least the resolution {res}"
            )

    @property
    def resolutions(self) -> list[int]:
        """The nominal resolutions of the blocks, coarsest first: [4, 8, ...]."""
        return [2**i for i in range(2, self.img_resolution.bit_length())]

    def channels(self, resolution: int) -> int:
        """Returns the number of feature channels of the block at `resolution` px."""
        return min(max(self.channel_base // resolution, self.channel_min), self.channel_max)

    def block_size(self, resolution: int) -> tuple[int, int]:
        """Returns height and width in px of the block of nominal `resolution`."""
        return self.base[0] * resolution // 4, self.base[1] * resolution // 4

    @property
    def upsampling(self) -> int:
        """The factor from the size of the finest block to that of the image."""
        return 2 if self.head == "haar" else 1

    def color_channels(self, resolution: int) -> int:
        """Returns the image channels of a block: colours, or four subbands of each colour."""
        finest = resolution == self.img_resolution
        return self.img_channels * (self.upsampling**2 if finest else 1)

    @property
    def height(self) -> int:
        """Height of the image in px."""
        return self.block_size(self.img_resolution)[0] * self.upsampling

    @property
    def width(self) -> int:
        """Width of the image in px."""
        return self.block_size(self.img_resolution)[1] * self.upsampling

    @property
    def longer_side(self) -> int:
        """The longer side of the image in px."""
        return max(self.height, self.width)

    @property
    def colors(self) -> str:
        """The colour format of the image: "grey", "RGB" or "RGBA"."""
        names = {1: "grey", 3: "RGB", 4: "RGBA"}
        return names.get(self.img_channels, f"{self.img_channels} channels")

    @property
    def size_text(self) -> str:
        """The size of the image for messages: "64 px", "160x96 px (width x height)"."""
        if self.height == self.width:
            return f"{self.height} px"
        return f"{self.width}x{self.height} px (width x height)"


@dataclass(frozen=True)
class GeneratorConfig(_NetworkConfig):
    """Configuration of a generator (StyleGAN2, arXiv 1912.04958).

    `img_resolution` is that of the finest block. With `head` "haar" this block predicts the four
    Haar subbands of an image of twice its size (SWAGAN, arXiv 2102.06108, section 3).
    """

    z_dim: int = 512
    w_dim: int = 512

    @property
    def num_ws(self) -> int:
        """The number of w vectors of the synthesis network."""
        return 2 * len(self.resolutions)


@dataclass(frozen=True)
class DiscriminatorConfig(_NetworkConfig):
    """Configuration of a discriminator; `cmap_dim` None is the width of its last block.

    With `head` "haar" its finest block takes the four Haar subbands of an image of twice its size.
    The blocks `fromrgb_at` also take the image, downsampled to their size, so that a trained
    discriminator has the same inputs after finer blocks are added.
    """

    architecture: str = "resnet"
    cmap_dim: int | None = None
    mbstd_group_size: int = 4
    mbstd_num_channels: int = 1
    fromrgb_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        inner = () if self.architecture == "skip" else self.resolutions[1:-1]
        if not set(self.fromrgb_at) <= set(inner):
            raise StylemixError(
                f"got fromrgb_at {self.fromrgb_at}; expected coarser blocks, some of "
                f"{', '.join(map(str, inner)) or 'none'}"
            )
        if self.head == "haar" and self.architecture == "skip":
            raise StylemixError(
                "got head haar for a discriminator of architecture skip, which takes colours at "
                "every block; expected resnet or orig; choose one"
            )


def network_size(height: int, width: int) -> tuple[int, tuple[int, int]]:
    """Returns nominal resolution and base of a network for images of `height` x `width` px.

    Both sides are halved up to 8 times, while they are even and stay at 3 px or more. The result is
    the base, of at most 16 px a side: 64x64 is (64, (4, 4)), 96x160 is (128, (3, 5)). Raises
    StylemixError with the nearest valid sizes otherwise.
    """
    halvings = 0
    while (
        4 << halvings < MAX_RESOLUTION
        and height % (2 << halvings) == width % (2 << halvings) == 0
        and min(height, width) >= MIN_BASE << (halvings + 1)
    ):
        halvings += 1
    base = height >> halvings, width >> halvings
    if all(MIN_BASE <= side <= MAX_BASE for side in base):
        return 4 << halvings, base
    sizes = dict.fromkeys(_nearest(height, width, up) for up in (False, True))
    choices = " or ".join(f"{size[1]}x{size[0]}" for size in sizes if size)
    raise StylemixError(
        f"got an image size of {width}x{height} (width x height); expected sides of "
        f"{MIN_BASE} to {MAX_BASE} px doubled alike up to 8 times, such as {choices}; "
        "choose one of these"
    )


def _nearest(height: int, width: int, up: bool) -> tuple[int, int] | None:
    """Returns the nearest valid size with sides no smaller (with `up`) or no larger, or None."""
    sizes = []
    for step in (2**i for i in range((MAX_RESOLUTION // 4).bit_length())):
        sides = [max(-(-n // step), MIN_BASE) if up else n // step for n in (height, width)]
        sides = sides if up else [min(side, MAX_BASE) for side in sides]
        if all(MIN_BASE <= side <= MAX_BASE for side in sides):
            sizes.append((sides[0] * step, sides[1] * step))
    return min(sizes, key=lambda s: abs(s[0] - height) + abs(s[1] - width), default=None)


def channel_rule(table: Mapping[int, int], name: str) -> tuple[int, int]:
    """Returns (channel_base, channel_max) for {resolution px: channels}.

    The widths of a StyleGAN2 network are min(base // resolution, max). Raises StylemixError if no
    such pair exists.
    """
    widest = max(table.values())
    # The smallest base that reaches every width; a larger one only increases some widths.
    base = max(channels * resolution for resolution, channels in table.items())
    if all(min(base // r, widest) == channels for r, channels in table.items()):
        return base, widest
    widths = ", ".join(f"{r} px: {channels}" for r, channels in sorted(table.items()))
    raise StylemixError(
        f"{name}: got layers of uncommon widths ({widths}); expected min(base // px, max) for some "
        "base and max; this network cannot be converted, choose another"
    )
