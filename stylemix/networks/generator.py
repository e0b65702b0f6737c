"""The generator: a mapping network and a modulated-convolution synthesis network.

StyleGAN2, arXiv 1912.04958. Parameter names are those of the public StyleGAN2 files, so that
their weights can be copied by name.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError, check_choice
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.latents import Styles, flatten_styles
from stylemix.networks.layers import (
    Conv2d,
    FullyConnected,
    Modulation,
    band_scales,
    block_dtypes,
    inverse_haar,
    modulated_colors,
    modulated_conv2d,
    modulation,
)
from stylemix.networks.mapping import MappingNetwork
from stylemix.ops import bias_act, setup_filter, upsample2d

NOISE_MODES = ("random", "const", "none")

BlockState = tuple[Tensor, Tensor | None]  # features [N, C, h, w], image so far [N, C, h, w]


class FeatureOverride(NamedTuple):
    """Features that replace the generator's after the last convolution of their size."""

    features: Tensor  # [1 or N, C, h, w]
    mask: Tensor  # [1 or N, 1, h, w]: 1 for these features, 0 for the generator's


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, resolution: int, up: int, config: GeneratorConfig
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.conv_clamp = resolution, up, config.conv_clamp
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, 3, 3]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(config.block_size(resolution)))
        self.register_buffer("resample_filter", setup_filter(config.resample_filter))

    noise_const: Tensor
    resample_filter: Tensor
    noise_start = 0  # offset of its values in a row of noise for all layers
    groups = 1  # of channels, for several networks in parallel (grouped convolution)

    def modulation(self, style: Tensor, dtype: torch.dtype) -> Modulation:
        """Returns the modulation of this layer by a style [N, I], for features of a dtype."""
        return modulation(self.weight, style, dtype, self.groups)

    def forward(
        self,
        x: Tensor,
        m: Modulation,
        noise_mode: str | Tensor,
        gain: float = 1.0,
        scaled: bool = False,
        post: Tensor | None = None,
    ) -> Tensor:
        """Maps x [N, I, H, W] to [N, O, H*up, W*up], times `post` [N, O]; see modulated_conv2d."""
        noise = strength = None
        if isinstance(noise_mode, Tensor):
            strength = self.noise_strength
            end = self.noise_start + self.noise_const.numel()
            noise = noise_mode[:, self.noise_start : end].unflatten(1, (1, *self.noise_const.shape))
        elif noise_mode != "none":
            strength = self.noise_strength
            noise = self.noise_const[None, None]
            if noise_mode == "random":
                noise = torch.randn([x.shape[0], 1, *self.noise_const.shape], device=x.device)
        return modulated_conv2d(
            x,
            m,
            self.resample_filter,
            self.up,
            padding=1,
            scaled=scaled,
            groups=self.groups,
            noise=noise,
            strength=strength,
            b=self.bias,
            act="lrelu",
            gain=math.sqrt(2) * gain,
            clamp=None if self.conv_clamp is None else self.conv_clamp * gain,
            post=post,
        )


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to colours, without demodulation."""

    def __init__(self, in_channels: int, out_channels: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.conv_clamp = config.conv_clamp
        self.affine = FullyConnected(config.w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn([out_channels, in_channels, 1, 1]))
        self.bias = nn.Parameter(torch.zeros([out_channels]))
        self.weight_gain = 1 / math.sqrt(in_channels)

    groups = 1  # as in SynthesisLayer

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Maps x [N, C, H, W] with style [N, C] to float32 colours [N, out_channels, H, W]."""
        x = modulated_colors(x, self.weight, style * self.weight_gain, self.groups)
        return bias_act(x, self.bias, clamp=self.conv_clamp).float()


class SynthesisBlock(nn.Module):
    """The layers of one resolution: `conv0` (upsampling), `conv1`, and an optional `torgb`."""

    def __init__(self, resolution: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.first = resolution == 4
        self.architecture = config.architecture
        out = config.channels(resolution)
        self.register_buffer("resample_filter", setup_filter(config.resample_filter))
        if self.first:
            self.const = nn.Parameter(torch.randn([out, *config.base]))
        else:
            inner = config.channels(resolution // 2)
            self.conv0 = SynthesisLayer(inner, out, resolution, 2, config)
            if config.architecture == "resnet":
                self.skip = Conv2d(
                    inner, out, 1, bias=False, up=2, resample_filter=config.resample_filter
                )
        self.conv1 = SynthesisLayer(out, out, resolution, 1, config)
        if config.architecture == "skip" or resolution == config.img_resolution:
            self.torgb = ToRGB(out, config.color_channels(resolution), config)
        self.haar = config.head == "haar" and resolution == config.img_resolution

    resample_filter: Tensor

    @property
    def layers(self) -> dict[str, SynthesisLayer | ToRGB]:
        """The modulated layers in order of use."""
        names = ("conv0", "conv1", "torgb")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def forward(
        self,
        x: Tensor,
        img: Tensor | None,
        styles: dict[str, Tensor],
        noise_mode: str | Tensor,
        override: FeatureOverride | None = None,
    ) -> BlockState:
        """Maps features [N, C, H/2, W/2] and the image so far to those of this resolution."""
        m1 = self.conv1.modulation(styles["conv1"], x.dtype)
        if self.first:
            x = self.conv1(x, m1, noise_mode)
        else:
            m0 = self.conv0.modulation(styles["conv0"], x.dtype)
            # conv0 applies the style of conv1 to its output, which saves a pass over the features.
            y = self.conv0(x, m0, noise_mode, post=m1.style)
            if self.architecture == "resnet":
                residual = self.skip(x, gain=math.sqrt(0.5))
                x = residual + self.conv1(y, m1, noise_mode, gain=math.sqrt(0.5), scaled=True)
            else:
                x = self.conv1(y, m1, noise_mode, scaled=True)
        if override is not None and override.features.shape[2:] == x.shape[2:]:
            x = x.lerp(override.features.to(x), override.mask.to(x))
        if img is not None:
            img = upsample2d(img, self.resample_filter)
        if "torgb" in styles:
            rgb = self.torgb(x, styles["torgb"])
            if self.haar:
                rgb = inverse_haar(rgb / band_scales(rgb.shape[1] // 4, rgb))
                img = None if img is None else upsample2d(img, self.resample_filter)
            img = rgb if img is None else img + rgb
        return x, img


class SynthesisNetwork(nn.Module):
    """Maps one w per layer to an image."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.num_ws = config.num_ws
        for resolution in config.resolutions:
            self.add_module(f"b{resolution}", SynthesisBlock(resolution, config))
        self.noise_size = 0
        for layer in self.noise_layers():
            layer.noise_start = self.noise_size
            self.noise_size += layer.noise_const.numel()

    def noise_layers(self) -> list[SynthesisLayer]:
        """The layers that add noise, in the order of a row of noise for all of them."""
        return [layer for layer in self.modules() if isinstance(layer, SynthesisLayer)]

    @property
    def fine_noise_start(self) -> int:
        """The offset of the noise of the finest block in a row of noise for all layers."""
        finest = list(self.blocks().values())[-1]
        return min(m.noise_start for m in finest.modules() if isinstance(m, SynthesisLayer))

    def blocks(self) -> dict[str, SynthesisBlock]:
        """Returns the blocks by name, coarsest first: {"b4": ..., "b8": ...}."""
        return {name: block for name, block in self.named_children() if name.startswith("b")}  # type: ignore[misc]

    def w_indices(self) -> dict[str, dict[str, int]]:
        """Returns the w index of each layer: {"b4": {"conv1": 0, "torgb": 1}, "b8": {...}, ...}.

        The torgb of a block shares its w with conv0 of the next block.
        """
        out: dict[str, dict[str, int]] = {}
        index = 0
        for name, block in self.blocks().items():
            out[name] = {kind: index + offset for offset, kind in enumerate(block.layers)}
            index += 1 if block.first else 2
        return out

    def styles(self, ws: Tensor, offsets: Styles | None = None) -> Styles:
        """Returns the style vectors of ws [N, num_ws, w_dim], plus `offsets` [C] or [N, C].

        Raises StylemixError for another shape, and for offsets of unknown layers.
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.config.w_dim):
            raise StylemixError(
                f"got ws of shape {tuple(ws.shape)}; "
                f"expected [N, {self.num_ws}, {self.config.w_dim}]"
            )
        indices = self.w_indices()
        out = {
            name: {
                kind: layer.affine(ws[:, indices[name][kind]].float())
                for kind, layer in block.layers.items()
            }
            for name, block in self.blocks().items()
        }
        for name, layers in (offsets or {}).items():
            for kind, offset in layers.items():
                if kind not in out.get(name, {}):
                    raise StylemixError(
                        f"got an offset for layer {f'{name}.{kind}'!r}; "
                        f"expected one of {', '.join(flatten_styles(out))}"
                    )
                out[name][kind] = out[name][kind] + offset
        return out

    def run(
        self,
        styles: Styles,
        noise_mode: str | Tensor = "random",
        dtype: torch.dtype | None = None,
        override: FeatureOverride | None = None,
        start: int = 0,
        stop: int | None = None,
        state: BlockState | None = None,
    ) -> BlockState:
        """Runs the blocks from `start` (0 for 4 px) to `stop` (exclusive) on their style vectors.

        `state` is the output of the block before `start`; None for the learned constant. The other
        arguments are those of `forward`. Colours are summed in float32 for any dtype.
        """
        if not isinstance(noise_mode, Tensor):
            check_choice("noise mode", noise_mode, NOISE_MODES)
        blocks = self.blocks()
        const = blocks["b4"].const
        if state is None:
            x = const.unsqueeze(0).expand(styles["b4"]["conv1"].shape[0], -1, -1, -1)
            state = x.contiguous(memory_format=torch.channels_last), None
        dtypes = block_dtypes(dtype or const.dtype, len(blocks))
        for (name, block), kind in list(zip(blocks.items(), dtypes, strict=True))[start:stop]:
            x, img = state
            state = block(x.to(kind), img, styles[name], noise_mode, override)
        return state

    def forward(
        self,
        ws: Tensor,
        noise_mode: str | Tensor = "random",
        styles_offset: Styles | None = None,
        dtype: torch.dtype | None = None,
        override: FeatureOverride | None = None,
    ) -> Tensor:
        """Renders ws [N, num_ws, w_dim] to images [N, img_channels, H, W] in about [-1, 1].

        Args:
            ws: one w per layer.
            noise_mode: "random", "const" (the stored maps), "none", or Gaussian rows
                [N, noise_size] with the noise of all layers.
            styles_offset: added in style space, {"b8": {"conv0": [C] or [N, C]}, ...}.
            dtype: precision of the features; None for that of the weights.
            override: features of a photo, for content that the generator cannot render.
        """
        _, images = self.run(self.styles(ws, styles_offset), noise_mode, dtype, override)
        assert images is not None  # the last block always has a torgb
        return images


class Generator(nn.Module):
    """A mapping network and a synthesis network."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim = config.z_dim, config.c_dim, config.w_dim
        self.img_resolution, self.img_channels = config.img_resolution, config.img_channels
        self.num_ws = config.num_ws
        self.synthesis = SynthesisNetwork(config)
        self.mapping = MappingNetwork(
            config.z_dim, config.c_dim, config.w_dim, config.mapping_layers, config.num_ws
        )

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.mapping.w_avg.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.mapping.w_avg.dtype

    @property
    def needs_label(self) -> bool:
        """Whether latents can be mapped with a label only (see `labels.at_label`)."""
        return self.c_dim > 0 and self.mapping.label is None

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
    ) -> Tensor:
        """Maps z [N, z_dim] and labels c [N, c_dim] to images [N, img_channels, H, W]."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode)  # type: ignore[no-any-return]
