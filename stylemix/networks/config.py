"""Sizes of the networks: everything that is needed to build one before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stylemix.errors import StylemixError

ARCHITECTURES = ("skip", "resnet", "orig")
HEADS = ("rgb", "haar")
LARGEST = 1024  # nominal resolution
SMALLEST_BASE, LARGEST_BASE = 3, 16  # sides that `network_size` chooses from


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
        if not 4 <= res <= LARGEST or res & (res - 1):
            raise StylemixError(
                f"got resolution {res}; expected a power of two from 4 to {LARGEST}; choose one"
            )
        if len(self.base) != 2 or not all(1 <= side <= LARGEST_BASE for side in self.base):
            raise StylemixError(
                f"got base {self.base}; expected a height and a width from 1 to {LARGEST_BASE}; "
                "choose others"
            )
        if self.architecture not in ARCHITECTURES:
            raise StylemixError(
                f"got architecture {self.architecture!r}; "
                f"expected one of {', '.join(ARCHITECTURES)}"
            )
        if self.head not in HEADS:
            raise StylemixError(f"got head {self.head!r}; expected one of {', '.join(HEADS)}")
        if self.channels(res) < 1:
            raise StylemixError(
                f"got channel base {self.channel_base}; expected at least the resolution {res}"
            )

    @property
    def resolutions(self) -> list[int]:
        """The nominal resolutions that name the blocks, coarsest first: [4, 8, ...]."""
        return [2**i for i in range(2, self.img_resolution.bit_length())]

    def channels(self, resolution: int) -> int:
        """Feature channels of the block at `resolution` px."""
        return min(max(self.channel_base // resolution, self.channel_min), self.channel_max)

    def block_size(self, resolution: int) -> tuple[int, int]:
        """Height and width in px of the block that is called `resolution`."""
        return self.base[0] * resolution // 4, self.base[1] * resolution // 4

    @property
    def enlarged(self) -> int:
        """How many times larger than the finest block the image is."""
        return 2 if self.head == "haar" else 1

    def colour_channels(self, resolution: int) -> int:
        """What a block gives or takes of the image: its channels, or four subbands of each."""
        finest = resolution == self.img_resolution
        return self.img_channels * (self.enlarged**2 if finest else 1)

    @property
    def height(self) -> int:
        """Height of the image in px."""
        return self.block_size(self.img_resolution)[0] * self.enlarged

    @property
    def width(self) -> int:
        """Width of the image in px."""
        return self.block_size(self.img_resolution)[1] * self.enlarged

    @property
    def colours(self) -> str:
        """What the channels of the image are: "grey", "RGB" or "RGBA"."""
        names = {1: "grey", 3: "RGB", 4: "RGBA"}
        return names.get(self.img_channels, f"{self.img_channels} channels")

    @property
    def size_text(self) -> str:
        """The image's size for messages: "64 px", "160x96 px (width x height)"."""
        if self.height == self.width:
            return f"{self.height} px"
        return f"{self.width}x{self.height} px (width x height)"


@dataclass(frozen=True)
class GeneratorConfig(_NetworkConfig):
    """Sizes of a generator (StyleGAN2, arXiv 1912.04958).

    `img_resolution` is that of the finest block. With `head` "haar" this block predicts the four
    Haar subbands of an image of twice its size (SWAGAN, arXiv 2102.06108, section 3).
    """

    z_dim: int = 512
    w_dim: int = 512

    @property
    def num_ws(self) -> int:
        """Number of w vectors that the synthesis network takes."""
        return 2 * len(self.resolutions)


@dataclass(frozen=True)
class DiscriminatorConfig(_NetworkConfig):
    """Sizes of a discriminator; `cmap_dim` None means the width of its last block.

    With `head` "haar" its finest block takes the four Haar subbands of an image of twice its size.
    The blocks `fromrgb_at` take the image, too, reduced to their size: a trained discriminator that
    finer blocks were added to goes on seeing what it knows.
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
    """Nominal resolution and base of a network for images of `height` x `width` px.

    The image is halved as often as its sides allow, up to 8 times, while both stay at 3 px or more;
    what remains is the base, of at most 16 px a side: 64x64 is (64, (4, 4)), 96x160 is
    (128, (3, 5)). StylemixError with usable sizes near by where that leaves more.
    """
    halvings = 0
    while (
        4 << halvings < LARGEST
        and height % (2 << halvings) == width % (2 << halvings) == 0
        and min(height, width) >= SMALLEST_BASE << (halvings + 1)
    ):
        halvings += 1
    base = height >> halvings, width >> halvings
    if all(SMALLEST_BASE <= side <= LARGEST_BASE for side in base):
        return 4 << halvings, base
    near = dict.fromkeys(_nearest(height, width, up) for up in (False, True))
    choices = " or ".join(f"{size[1]}x{size[0]}" for size in near if size)
    raise StylemixError(
        f"got an image size of {width}x{height} (width x height); expected sides of "
        f"{SMALLEST_BASE} to {LARGEST_BASE} px doubled alike up to 8 times, such as {choices}; "
        "choose one of these"
    )


def _nearest(height: int, width: int, up: bool) -> tuple[int, int] | None:
    """The usable size next to an unusable one, with both sides no smaller (or no larger)."""
    found = []
    for step in (2**i for i in range((LARGEST // 4).bit_length())):
        sides = [max(-(-n // step), SMALLEST_BASE) if up else n // step for n in (height, width)]
        sides = sides if up else [min(side, LARGEST_BASE) for side in sides]
        if all(SMALLEST_BASE <= side <= LARGEST_BASE for side in sides):
            found.append((sides[0] * step, sides[1] * step))
    return min(found, key=lambda s: abs(s[0] - height) + abs(s[1] - width), default=None)


def channel_rule(table: Mapping[int, int], name: str) -> tuple[int, int]:
    """Return (channel_base, channel_max) for {resolution px: channels}.

    The widths of a StyleGAN2 network are min(base // resolution, max); StylemixError when no such
    pair exists.
    """
    widest = max(table.values())
    # The least base that reaches every width; any larger one only adds to some of them.
    base = max(channels * resolution for resolution, channels in table.items())
    if all(min(base // r, widest) == channels for r, channels in table.items()):
        return base, widest
    widths = ", ".join(f"{r} px: {channels}" for r, channels in sorted(table.items()))
    raise StylemixError(
        f"{name}: got layers of uncommon widths ({widths}); expected min(base // px, max) for some "
        "base and max; this network cannot be converted, choose another"
    )
